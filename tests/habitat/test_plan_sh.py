"""Evaluating ``plan.sh``: what is taken from it, and that nothing it does gets out of the cage."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sup.edge import plan_sh
from sup.edge.plan_sh import evaluate_plan, find_plan
from sup.errors import OperatorError
from sup.model.plan_sh import PlanFacts

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")

HEAD = "pkg_name=thing\npkg_origin=test\npkg_version=1.0\n"
QUICK_S = 30.0
"""Safety bound: every evaluation of these tests is over by then, whatever the plan does."""


def _plan(directory: Path, text: str, *, head: str = HEAD) -> Path:
    file = directory / "plan.sh"
    file.write_text(head + text)
    return file


def _evaluate(directory: Path, text: str, *, head: str = HEAD, wait_s: float = 10) -> PlanFacts:
    return evaluate_plan(_plan(directory, text, head=head), wait_s=wait_s)


def _refused(directory: Path, text: str, *, head: str = HEAD, wait_s: float = 10) -> str:
    started_s = time.monotonic()
    with pytest.raises(OperatorError) as refusal:
        _evaluate(directory, text, head=head, wait_s=wait_s)
    assert time.monotonic() - started_s < QUICK_S
    message = refusal.value.message
    assert "\n" not in message
    assert "plan.sh" in message
    return message


def _processes_with(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line:
                found.append(int(entry.name))
    return found


# ---- what is taken -------------------------------------------------------------------------------


def test_plan_variables_of_every_kind_are_taken(tmp_path: Path) -> None:
    """Text with blanks, quotes and line feeds, arrays, and associative arrays with dotted keys."""
    facts = _evaluate(
        tmp_path,
        """
pkg_description=$(cat <<EOT
first "line"
second 'line'
EOT
)
pkg_license=('MIT' "Apache 2.0")
pkg_deps=(core/glibc core/openssl)
pkg_exports=(
  [port]=server.port
  [a.b]="x.y z"
)
declare -A pkg_binds=([database]="port username")
pkg_svc_run="run --dir=$pkg_svc_config_path"
""",
    )
    assert facts.values["pkg_description"] == "first \"line\"\nsecond 'line'"
    assert facts.lists["pkg_license"] == ["MIT", "Apache 2.0"]
    assert facts.tables["pkg_exports"] == {"port": "server.port", "a.b": "x.y z"}
    assert facts.tables["pkg_binds"] == {"database": "port username"}
    assert facts.values["pkg_svc_run"] == "run --dir=@sup:svc@/config"
    assert facts.failures == []


def test_plan_conditions_functions_and_sourced_files_work(tmp_path: Path) -> None:
    """What real plans do: ask for the system, source a neighbour, compute the version."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "base.sh").write_text("pkg_origin=base\ndeclare -g pkg_x=1\n")
    (tmp_path / "VERSION").write_text("3.2.1\n")
    facts = _evaluate(
        tmp_path,
        """
source "$(dirname "${BASH_SOURCE[0]}")/lib/base.sh"
pkg_name=thing
pkg_version() { cat "$PLAN_CONTEXT/VERSION"; }
if [[ $pkg_target == *-linux ]]; then pkg_svc_run=on-linux; else pkg_svc_run=elsewhere; fi
pkg_svc_user=${SOME_USER_THAT_IS_NOT_SET:-www}
build_line "nothing happens"; warn no; attach; do_default_build
do_build() { exit 9; }
do_setup_environment() {
  set_runtime_env JAVA_HOME "$(pkg_path_for core/jdk8)"
  push_runtime_env PATH "$pkg_prefix/libexec"
}
""",
        head="",
    )
    assert facts.values["pkg_version"] == "3.2.1"
    assert facts.values["pkg_origin"] == "base"
    assert facts.values["pkg_svc_run"] == "on-linux"
    assert facts.values["pkg_svc_user"] == "www"
    assert facts.environment == [
        ("set", "JAVA_HOME", "@sup:pkg:core/jdk8@"),
        ("push", "PATH", "@sup:prefix@/libexec"),
    ]
    assert [Path(file).name for file in facts.files] == ["base.sh", "plan.sh"]


def test_plan_sees_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret of the supervisor's environment is not there to be taken."""
    monkeypatch.setenv("SUP_SECRET", "hush")
    facts = _evaluate(tmp_path, 'pkg_description="<$SUP_SECRET>$(env | grep -c hush || true)"\n')
    assert facts.values["pkg_description"] == "<>0"


def test_plan_command_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    """A build tool that isn't here does not make a plan unusable; its line is kept."""
    facts = _evaluate(tmp_path, "pkg_description=$(no-such-tool --version)\npkg_svc_run=x\n")
    (failure,) = facts.failures
    assert (failure.line, failure.status) == (4, 127)
    assert "no-such-tool" in failure.what
    assert facts.values["pkg_svc_run"] == "x"


def test_find_plan_in_both_places_is_refused(tmp_path: Path) -> None:
    """Habitat's rule: plan.sh or habitat/plan.sh, never both."""
    assert find_plan(tmp_path) is None
    _plan(tmp_path, "")
    assert find_plan(tmp_path) == tmp_path / "plan.sh"
    (tmp_path / "habitat").mkdir()
    _plan(tmp_path / "habitat", "")
    with pytest.raises(OperatorError, match="keep one"):
        find_plan(tmp_path)


# ---- plans that are wrong or hostile -------------------------------------------------------------


def test_plan_with_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    """bash's own words, in our form."""
    message = _refused(tmp_path, "if true; then\n  pkg_x=1\n}\n")
    assert f"{tmp_path}/plan.sh:6: syntax error" in message


def test_plan_with_unclosed_quote_names_file_and_line(tmp_path: Path) -> None:
    """The end of the file inside a string."""
    message = _refused(tmp_path, 'pkg_description="never closed\npkg_x=1\n')
    assert f"{tmp_path}/plan.sh:4: unexpected EOF" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("exit 1\n", ":4: the plan ended the shell with exit code 1"),
        ('exit_with "no licence accepted" 42\n', ":4: the plan ended the shell with exit code 42"),
        ("set -e\nfalse\n", ":5: the plan ended the shell with exit code 1"),
        ("exec true\n", "gave no result (exit 0)"),
        ("kill -9 $$\n", "was ended"),
    ],
)
def test_plan_that_ends_the_shell_says_where(tmp_path: Path, text: str, part: str) -> None:
    """Whoever ends the shell early is told the line and the code."""
    assert part in _refused(tmp_path, text)


def test_plan_exit_with_says_its_reason(tmp_path: Path) -> None:
    """The reason that the plan gives is passed on."""
    assert "no licence accepted" in _refused(tmp_path, 'exit_with "no licence accepted" 42\n')


def test_plan_with_carriage_returns_says_how_to_remove_them(tmp_path: Path) -> None:
    """bash would put the CR into every value; Habitat can't build such a plan either."""
    file = tmp_path / "plan.sh"
    file.write_bytes(b"pkg_name=x\npkg_version=1\r\n")
    with pytest.raises(OperatorError, match=r"plan\.sh:2: the line ends in CR LF.*sed"):
        evaluate_plan(file)


@pytest.mark.parametrize(
    "text", ["while :; do :; done\n", "sleep 1000\n", "read -r x </dev/zero\n"]
)
def test_plan_that_never_ends_is_ended(tmp_path: Path, text: str) -> None:
    """A loop, a wait, and a read without end."""
    assert "does it loop" in _refused(tmp_path, text, wait_s=1.0)


def test_plan_that_starts_daemons_leaves_none(tmp_path: Path) -> None:
    """Sessions of their own, double forks, ignored signals: all gone when the call returns."""
    mark = f"sleep 98{os.getpid()}"
    text = f"""
for i in 1 2 3; do (setsid bash -c 'trap "" TERM HUP; {mark} & {mark}' >/dev/null 2>&1 &) ; done
sleep 0.3
"""
    _evaluate(tmp_path, text)
    assert _processes_with(mark) == []
    _refused(tmp_path, text + "sleep 1000\n", wait_s=2.0)
    assert _processes_with(mark) == []


def test_plan_that_is_a_fork_bomb_is_bounded(tmp_path: Path) -> None:
    """At most as many processes as the limit allows, and none afterwards."""
    mark = f"bomb{os.getpid()}"
    most = 0
    over = threading.Event()

    def count() -> None:
        nonlocal most
        while not over.wait(0.05):
            most = max(most, len(_processes_with(str(tmp_path))))

    watcher = threading.Thread(target=count)
    watcher.start()
    try:
        _refused(tmp_path, f"{mark}() {{ {mark} | {mark} & }}\n{mark}\nsleep 1000\n", wait_s=2.0)
    finally:
        over.set()
        watcher.join()
    assert most <= plan_sh.LIMITS["NPROC"] + 3
    assert _processes_with(str(tmp_path)) == []


def test_plan_has_no_network(tmp_path: Path) -> None:
    """A listener on loopback is not reached, by name or by number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        facts = _evaluate(
            tmp_path,
            f"pkg_svc_run=no\nif exec 9<>/dev/tcp/127.0.0.1/{port}; then pkg_svc_run=yes; fi\n",
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert facts.values["pkg_svc_run"] == "no"


def test_plan_can_write_nowhere(tmp_path: Path) -> None:
    """Its own directory, /tmp and a directory open to all stay as they are."""
    tmp_path.chmod(0o777)
    (tmp_path / "mine").write_text("old")
    (tmp_path / "mine").chmod(0o666)
    place = Path("/tmp") / f"sup-plan-{os.getpid()}"
    facts = _evaluate(
        tmp_path,
        f"""
for f in {place} "$PLAN_CONTEXT/new" "$PLAN_CONTEXT/mine" /etc/new; do
  if echo x >"$f"; then pkg_license+=("$f"); fi
done
rm -f "$PLAN_CONTEXT/mine"
chmod 000 "$PLAN_CONTEXT/mine"
""",
    )
    assert facts.lists.get("pkg_license", []) == []
    assert not place.exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mine", "plan.sh"]
    assert (tmp_path / "mine").read_text() == "old"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("head -c 100000000 /dev/zero | tr '\\0' x\n", "it printed over"),
        ("while :; do echo flood >&2; done\n", "was ended"),
        ("pkg_description=$(head -c 2000000 /dev/zero | tr '\\0' x)\n", "variables are over"),
        ("while :; do printf 'junk\\0' >&3; done\n", "was ended"),
    ],
)
def test_plan_that_floods_is_ended(tmp_path: Path, text: str, part: str) -> None:
    """100 MB on a stream cost the reader no more than its bound."""
    assert part in _refused(tmp_path, text)


def test_plan_that_eats_memory_is_bounded(tmp_path: Path) -> None:
    """The address space is limited: the host's memory is not at a plan's disposal."""
    message = _refused(tmp_path, "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done\n")
    assert "was ended" in message or "gave no result" in message or "ended the shell" in message


def test_plan_that_forges_records_only_fools_itself(tmp_path: Path) -> None:
    """What it writes to our descriptor can say no more than its variables can."""
    facts = _evaluate(tmp_path, "printf 'v\\0pkg_name\\0forged\\0' >&3\npkg_name=real\n")
    assert facts.values["pkg_name"] == "real"
    _refused(tmp_path, "printf 'z\\0nonsense\\0' >&3\n")


def test_plan_without_bash_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may have no bash; the line says so."""
    file = _plan(tmp_path, "")
    monkeypatch.setattr(plan_sh, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(OperatorError, match="bash is not installed"):
        evaluate_plan(file)


def test_plan_of_another_user_is_evaluated_unprivileged(tmp_path: Path) -> None:
    """As root: the plan runs as nobody, and still reads a directory that is closed to others."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tmp_path.chmod(0o700)
    facts = _evaluate(
        tmp_path, 'pkg_description="$(id -u) $(cat "$PLAN_CONTEXT/plan.sh" | wc -l)"\n'
    )
    uid, lines = facts.values["pkg_description"].split()
    assert int(uid) >= 2_000_000_000
    assert int(lines) == 4


def test_plan_in_a_container_without_namespaces_is_still_caged(tmp_path: Path) -> None:
    """Root without CAP_SYS_ADMIN, as in most containers: seccomp and Landlock do it alone."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    _plan(
        tmp_path,
        'pkg_svc_run=x\nif echo x >"$PLAN_CONTEXT/new"; then pkg_svc_run=wrote; fi\n'
        "if exec 9<>/dev/tcp/127.0.0.1/9; then pkg_svc_run=net; fi\n"
        "(setsid sleep 97531 &)\n",
    )
    tmp_path.chmod(0o777)
    code = (
        "import sys; from pathlib import Path; from sup.edge.plan_sh import evaluate_plan;"
        "print(evaluate_plan(Path(sys.argv[1])).values['pkg_svc_run'])"
    )
    done = subprocess.run(
        [
            *("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
            *(sys.executable, "-c", code, str(tmp_path / "plan.sh")),
        ],
        capture_output=True,
        text=True,
        timeout=QUICK_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "x", done.stderr
    assert _processes_with("sleep\0" + "97531") == []
    assert not (tmp_path / "new").exists()


JAIL_WITHOUT_NAMESPACES = """
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("plan_jail", {path!r})
jail = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jail)
jail._unshare = lambda: False
if {uid}:
    os.setresgid({uid}, {uid}, {uid})
    os.setresuid({uid}, {uid}, {uid})
    jail._landlock = {landlock}
sys.exit(jail.main(json.loads(sys.argv[1])))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that any user may read and write."""
    place = Path(tempfile.mkdtemp(prefix="sup-plan-"))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


def _without_namespaces(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, uid: int = 0, landlock: str = "jail._landlock"
) -> None:
    jail = place / "jail.py"
    path = str(place / "plan_jail.py")
    for source in (plan_sh._JAIL, plan_sh._SCRIPT):
        (place / source.name).write_bytes(source.read_bytes())
        (place / source.name).chmod(0o644)
    jail.write_text(JAIL_WITHOUT_NAMESPACES.format(path=path, uid=uid, landlock=landlock))
    monkeypatch.setattr(plan_sh, "_JAIL", jail)
    monkeypatch.setattr(plan_sh, "_SCRIPT", place / "plan_sh.bash")


@pytest.mark.parametrize("uid", [0, 65534])
def test_plan_of_a_user_without_namespaces_is_still_caged(
    open_place: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """No namespaces, no root: files, network and other processes are out of reach all the same."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    _without_namespaces(open_place, monkeypatch, uid=uid)
    mark = f"sleep 86{os.getpid()}"
    facts = _evaluate(
        open_place,
        f"""
pkg_svc_run=x
if echo x >"$PLAN_CONTEXT/new"; then pkg_svc_run=wrote; fi
if exec 9<>/dev/tcp/127.0.0.1/9; then pkg_svc_run=net; fi
if kill -0 $PPID; then pkg_svc_run=signal; fi
(setsid bash -c '{mark} & {mark}' >/dev/null 2>&1 &)
sleep 0.2
""",
    )
    assert facts.values["pkg_svc_run"] == "x"
    assert not (open_place / "new").exists()
    assert _processes_with(mark) == []


def test_plan_without_any_means_to_close_files_is_refused(
    open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old kernel for a user without namespaces: the line says what to do."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    _without_namespaces(open_place, monkeypatch, uid=65534, landlock="lambda: False")
    message = _refused(open_place, "pkg_svc_run=x\n")
    assert "is not evaluated: neither a private mount namespace nor Landlock" in message
    assert "or write plan.toml" in message


# ---- the cache -----------------------------------------------------------------------------------


def test_cache_answers_without_bash_until_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart needs no shell; an edit of the plan or of what it was made of is seen."""
    place = tmp_path / "plan"
    place.mkdir()
    cache = tmp_path / "plans"
    (tmp_path / "base.sh").write_text("pkg_origin=one\n")
    (place / "VERSION").write_text("7")
    file = place / "plan.sh"
    file.write_text("source ../base.sh\npkg_name=x\npkg_version=$(cat VERSION)\n")
    first = evaluate_plan(file, cache_dir=cache)
    assert first.values["pkg_version"] == "7"

    def never(*_: object) -> None:
        raise AssertionError("evaluated again")

    real = plan_sh._run
    monkeypatch.setattr(plan_sh, "_run", never)
    assert evaluate_plan(file, cache_dir=cache) == first
    monkeypatch.setattr(plan_sh, "_run", real)
    (place / "VERSION").write_text("8")
    assert evaluate_plan(file, cache_dir=cache).values["pkg_version"] == "8"
    (tmp_path / "base.sh").write_text("pkg_origin=two\n")
    assert evaluate_plan(file, cache_dir=cache).values["pkg_origin"] == "two"
    file.write_text(file.read_text() + "pkg_version=9\n")
    assert evaluate_plan(file, cache_dir=cache).values["pkg_version"] == "9"


def test_cache_that_is_damaged_is_no_cache(tmp_path: Path) -> None:
    """Every truncation of the file leads to an evaluation, never to an error."""
    file = _plan(tmp_path, "pkg_svc_run=x\n")
    cache = tmp_path / "plans"
    facts = evaluate_plan(file, cache_dir=cache)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        kept.write_bytes(whole[:length])
        assert evaluate_plan(file, cache_dir=cache) == facts
        assert kept.read_bytes() == whole
