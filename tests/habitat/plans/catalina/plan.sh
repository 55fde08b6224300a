pkg_name=catalina
pkg_description="A servlet container"
pkg_origin=test
pkg_version=8.5.72
pkg_license=("Apache-2.0")
pkg_deps=(
  core/coreutils
  test/serve # stands for the runtime
)
pkg_exports=(
  [port]=server.port
)
pkg_exposes=(port)
pkg_svc_user="root"

do_setup_environment() {
  set_runtime_env JAVA_HOME "$(pkg_path_for test/serve)"
  set_runtime_env CATALINA_BASE "$pkg_svc_var_path/tc"
  push_runtime_env PATH "$(pkg_path_for test/serve)/bin"
}

do_build() {
  return 0
}

do_install() {
  build_line "Copying"
  cp -vR ./* "${pkg_prefix}/tc"
}
