# Reads a Habitat plan and says what is in it: run by edge/plan_sh.py inside edge/plan_jail.py.
#
# Everything goes to file descriptor 3 as fields that end in NUL, never as text to be evaluated:
#   v NAME VALUE            a plain variable
#   a NAME VALUE            one element of an array
#   m NAME KEY VALUE        one entry of an associative array
#   f FILE                  a file of which commands ran
#   e set|push NAME VALUE   what the service's environment shall have
#   w FILE LINE STATUS CMD  a command of the plan failed
#   x FILE LINE STATUS TEXT the plan ended the shell
#   d                       all is said
# The plan sees what Habitat's build program shows it at this moment: its directory as the working
# directory, the helper functions, and variables whose values are not known before the service
# runs: these are marks of the form @sup:…@ that the reader replaces.

_sup_say() { builtin printf '%s\0' "$@" >&3; }
_sup_plan=$1
_sup_self=${BASH_SOURCE[0]}
_sup_failed=0
_sup_file='' _sup_line=0 _sup_file_before='' _sup_line_before=0
declare -A _sup_seen=()

# What plans call while they are loaded, without what it does during a build.
exit_with() {
  _sup_say x "${BASH_SOURCE[1]-}" "${BASH_LINENO[0]-0}" "${2:-1}" "$1"
  trap - EXIT
  exit "${2:-1}"
}
build_line() { :; }
warn() { :; }
debug() { :; }
attach() { :; }
exists() { command -v "$1" >/dev/null 2>&1; }
trim() { local _sup_t="$*"; _sup_t="${_sup_t#"${_sup_t%%[![:space:]]*}"}"; builtin printf '%s\n' "${_sup_t%"${_sup_t##*[![:space:]]}"}"; }
abspath() { readlink -m -- "$1"; }
join_by() { local IFS=$1; shift; builtin printf '%s\n' "$*"; }
pkg_path_for() { builtin printf '@sup:pkg:%s@\n' "$1"; }
pkg_interpreter_for() { builtin printf '@sup:pkg:%s@/%s\n' "$1" "$2"; }
hab() {
  if [[ ${1-} == pkg && ${2-} == path ]]; then pkg_path_for "${3-}"; else return 1; fi
}
update_pkg_version() {
  if [[ $(type -t pkg_version) == function ]]; then pkg_version=$(pkg_version); fi
}
set_runtime_env() { if [[ ${1-} == -f ]]; then shift; fi; _sup_say e set "${1-}" "${2-}"; }
push_runtime_env() { _sup_say e push "${1-}" "${2-}"; }
set_buildtime_env() { :; }
push_buildtime_env() { :; }
add_env() { :; }
add_path_env() { :; }
add_build_env() { :; }
add_build_path_env() { :; }
download_file() { :; }
verify_file() { :; }
unpack_file() { :; }
fix_interpreter() { :; }
scaffolding_load() { :; }
for _sup_step in begin setup_environment before download verify clean unpack prepare build check \
  install build_config build_service strip after end after_success after_failure; do
  builtin eval "do_default_$_sup_step() { :; }"
done
unset _sup_step

# Set before a plan is loaded.
pkg_target=$(uname -m)-linux
pkg_arch=${pkg_target%%-*}
pkg_sys=linux
pkg_origin='' pkg_name='' pkg_version='' pkg_description='' pkg_svc_run='' pkg_upstream_url=''
pkg_release=00000000000000
pkg_svc_user=hab
pkg_svc_group=$pkg_svc_user
pkg_shutdown_signal='' pkg_shutdown_timeout_sec=''
pkg_scaffolding='' pkg_type=''
pkg_license=() pkg_deps=() pkg_build_deps=() pkg_bin_dirs=() pkg_lib_dirs=() pkg_include_dirs=()
pkg_pconfig_dirs=() pkg_exposes=() pkg_expose=() pkg_interpreters=()
declare -A pkg_exports=() pkg_binds=() pkg_binds_optional=() pkg_env=()
pkg_prefix='@sup:prefix@'
pkg_svc_path='@sup:svc@'
pkg_svc_data_path=$pkg_svc_path/data
pkg_svc_files_path=$pkg_svc_path/files
pkg_svc_var_path=$pkg_svc_path/var
pkg_svc_config_path=$pkg_svc_path/config
pkg_svc_config_install_path=$pkg_svc_path/config_install
pkg_svc_static_path=$pkg_svc_path/static

_sup_note() {
  ((_sup_failed++ < 16)) && _sup_say w "$1" "$2" "$3" "$4"
  return 0
}
set -ET
trap '_sup_note "$_sup_file" "$_sup_line" "$?" "$BASH_COMMAND"' ERR
# The DEBUG trap runs before the EXIT trap's command too, where lines count from 1 again.
trap '_sup_say x "$_sup_file_before" "$_sup_line_before" "$?" ""' EXIT
# On one line, for LINENO counts the lines of a trap; and not for our own functions.
trap '[[ ${BASH_SOURCE[0]-} == "$_sup_self" ]] || { _sup_file_before=$_sup_file _sup_line_before=$_sup_line _sup_file=${BASH_SOURCE[0]-} _sup_line=$LINENO; _sup_seen["f$_sup_file"]=1; }' DEBUG
# At top level, not in a function: a plan's "declare" must not be local to one.
source "$_sup_plan"
_sup_status=$?
trap - DEBUG ERR
set +ETeu
IFS=$' \t\n'
if [[ -z $pkg_version && $(type -t pkg_version) == function ]]; then pkg_version=$(pkg_version); fi
if [[ $(type -t do_setup_environment) == function ]]; then (do_setup_environment) >/dev/null; fi
for _sup_name in "${!_sup_seen[@]}"; do _sup_say f "${_sup_name#f}"; done
for _sup_name in pkg_name pkg_origin pkg_version pkg_description pkg_svc_run pkg_svc_user \
  pkg_svc_group pkg_shutdown_signal pkg_shutdown_timeout_sec pkg_scaffolding pkg_type; do
  _sup_say v "$_sup_name" "${!_sup_name-}"
done
for _sup_name in pkg_license pkg_deps pkg_bin_dirs pkg_exposes; do
  declare -n _sup_list=$_sup_name
  for _sup_item in "${_sup_list[@]}"; do _sup_say a "$_sup_name" "$_sup_item"; done
  unset -n _sup_list
done
for _sup_name in pkg_exports pkg_binds pkg_binds_optional pkg_env; do
  declare -n _sup_map=$_sup_name
  for _sup_key in "${!_sup_map[@]}"; do
    _sup_say m "$_sup_name" "$_sup_key" "${_sup_map[$_sup_key]}"
  done
  unset -n _sup_map
done
trap - EXIT
_sup_say d
exit 0
