pkg_name=worker
pkg_origin=test
pkg_version=2
pkg_license=(MIT)
pkg_deps=(test/serve core/bash)
pkg_binds_optional=(
  [queue]="port management"
)
pkg_exports=([port]=port)
pkg_shutdown_signal=USR1
pkg_shutdown_timeout_sec=5
pkg_env=([WORKER_MODE]=steady)
