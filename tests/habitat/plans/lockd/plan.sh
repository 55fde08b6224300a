pkg_name=lockd
pkg_origin=test
pkg_version=3.5.1
pkg_license=('Apache-2.0')
pkg_deps=(core/glibc test/serve)
pkg_exports=(
  [client-port]=client-end
  [server-port]=server-end
)
pkg_exposes=(client-port server-port)
pkg_svc_user="root"
# pkg_svc_group="$pkg_svc_user"
