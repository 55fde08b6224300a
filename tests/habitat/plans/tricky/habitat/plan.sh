# shellcheck shell=bash disable=SC2034
source "$(dirname "${BASH_SOURCE[0]}")/../common/base.sh"
. ../common/ports.sh
pkg_name=tricky
pkg_description=$(cat <<'EOF'
A plan with "quotes", `ticks`,
and two lines.
EOF
)

pkg_version() {
  cat "$SRC_PATH/VERSION"
}

do_before() {
  do_default_before
  update_pkg_version
}

if [[ -n ${HAB_STUDIO_ROOT:-} ]]; then
  pkg_svc_user=studio
fi
case "$pkg_target" in
  *-linux) pkg_deps=(test/serve) ;;
  *) exit_with "not for $pkg_target" 1 ;;
esac
pkg_deps+=(core/bash)
shopt -s extglob
[[ ${#pkg_deps[@]} -eq 2 ]] && pkg_license=("MIT" "Apache-2.0")
pkg_exports=()
for name in "${!tricky_ports[@]}"; do
  pkg_exports[$name]=ports.$name
done
pkg_exports[port]="port"
pkg_exports["db.main"]='db.main.port'
pkg_exposes=("${!pkg_exports[@]}")
pkg_bin_dirs=(bin)
pkg_svc_run="serve \$(cat $pkg_svc_config_path/port) '$pkg_svc_config_path/answer'"
pkg_undefined_helper=$(command -v no-such-command-anywhere || echo none)
