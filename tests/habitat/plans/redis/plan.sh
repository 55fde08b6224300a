pkg_name=redis
pkg_origin=test
pkg_version="7.0.15"
pkg_maintainer="nobody <nobody@example.org>"
pkg_license=("BSD-3-Clause")
pkg_description="A key-value store"
pkg_source="https://example.org/${pkg_name}-${pkg_version}.tar.gz"
pkg_shasum=0000000000000000000000000000000000000000000000000000000000000000
pkg_deps=(core/glibc)
pkg_build_deps=(core/make core/gcc)
pkg_bin_dirs=(bin)
pkg_svc_run="redis-server ${pkg_svc_config_path}/redis.conf"
pkg_exports=(
  [port]=port
)
pkg_exposes=(port)

do_build() {
  make
}
