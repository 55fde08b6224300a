# Functions that several hooks share.
wal_position() {
  cat {{pkg.svc_data_path}}/wal
}

write_wal() {
  echo "$1" >{{pkg.svc_data_path}}/wal
}

is_follower() {
  {{#if svc.me.follower}}return 0{{else}}return 1{{/if}}
}
