pkg_name=nginx
pkg_origin=test
pkg_version=1.22.1
pkg_license=('BSD-2-Clause')
pkg_source=https://example.org/nginx-${pkg_version}.tar.gz
pkg_deps=(core/glibc core/libedit core/ncurses core/zlib core/bzip2 core/openssl core/pcre)
pkg_lib_dirs=(lib)
pkg_bin_dirs=(sbin)
pkg_include_dirs=(include)
pkg_svc_run="nginx"
pkg_svc_user="root"
pkg_exports=(
  [port]=http.listen.port
)
pkg_exposes=(port)
