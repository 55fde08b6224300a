pkg_name=burrow
pkg_origin=test
pkg_version=3.9.13
pkg_license=("MPL-2.0")
pkg_deps=(core/coreutils test/serve)
pkg_exports=( [port]=port [management]="management.port" )
pkg_exposes=(port)
