pkg_origin=test
pkg_name=haproxy
pkg_description="Load balancer"
pkg_version=2.6
pkg_license=('GPL-2.0-or-later' 'LGPL-2.1-or-later')
pkg_svc_run='haproxy -W -f config/haproxy.conf'
pkg_exports=(
  [port]=front-end.port
)
pkg_exposes=(port)
pkg_binds=(
  [backend]="port"
)
pkg_deps=(core/zlib core/pcre core/openssl)
pkg_bin_dirs=(bin)
