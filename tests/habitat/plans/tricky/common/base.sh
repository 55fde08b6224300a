pkg_origin=test
pkg_maintainer="nobody"
build_line "base"
