pkg_name=metrics
pkg_origin=test
pkg_version=2.30.0
pkg_license=('Apache-2.0')
pkg_deps=(test/serve)
pkg_binds_optional=([targets]="port")
pkg_exports=([port]=port)
pkg_exposes=(port)
