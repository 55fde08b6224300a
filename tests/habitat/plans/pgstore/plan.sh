pkg_name=pgstore
pkg_version=13.5
pkg_origin=test
pkg_license=('PostgreSQL')
pkg_deps=(core/bash test/serve)
pkg_bin_dirs=(bin)
pkg_exports=(
  [port]=port
  [superuser_name]=superuser.name
  [superuser_password]=superuser.password
)
pkg_exposes=(port)
# Shared memory is laid down on INT, not on TERM.
pkg_shutdown_signal=INT
pkg_shutdown_timeout_sec=20

do_install() {
  do_default_install
  cp -r "$PLAN_CONTEXT/share" "$pkg_prefix"
}
