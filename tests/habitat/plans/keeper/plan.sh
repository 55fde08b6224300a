pkg_name=keeper
pkg_origin=test
pkg_version=3.5
pkg_license=("Apache-2.0")
pkg_deps=(test/serve)
pkg_exports=([port]=port [election-port]=election-port)
pkg_exposes=(port election-port)
