pkg_name=site
pkg_origin=test
pkg_version=1.0.0
pkg_license=(MIT)
pkg_scaffolding="core/scaffolding-go"
pkg_deps=(test/serve)
pkg_svc_run="$pkg_svc_config_path/bin/start"
pkg_exports=([port]=port)
