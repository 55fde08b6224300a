"""A real launcher in its surroundings: PID 1, systemd, dead-man timers, upgrades, cgroups, size."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.launcher.conftest import ENVIRONMENT, MAIN, RealLauncher, gone, until

from sup.edge.process_tree import read_stat

LONG = "exec sleep 600"
RESIDENT_KIB_MAX = 12 * 1024
"""The bound of the issue; memory after the same steps differs by some hundred KiB at most."""
MODULES = {
    *("_abc", "_bootlocale", "_codecs", "_collections_abc", "_frozen_importlib"),
    *("_frozen_importlib_external", "_imp", "_io", "_signal", "_socket", "_stat", "_thread"),
    *("_warnings", "_weakref", "__future__", "__main__", "abc", "builtins", "codecs", "encodings"),
    *("encodings.aliases", "encodings.utf_8", "errno", "genericpath", "io", "marshal", "os"),
    *("os.path", "posix", "posixpath", "select", "stat", "sys", "time", "types", "zipimport"),
    *("encodings.ascii", "_operator", "operator"),
}
"""All that the launcher may load besides ``sup.*`` and what Cython registers."""


def status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {field}")


def test_launcher_with_services_is_small(
    launcher: RealLauncher, record_property: pytest.RecordProperty
) -> None:
    """Resident memory with twenty services, after a restart of the supervisor, is in its bound."""
    one = launcher.start().ready()
    for number in range(20):
        answer = one.spawn(f"s{number}", f"echo hello; {LONG}", launcher.directory, notify=True)
        assert "pid" in answer
    one.die()
    launcher.ready()
    resident = status_kib(launcher.pid, "VmRSS")
    record_property("resident_kib", resident)
    sys.stdout.write(f"launcher with 20 services: {resident} KiB resident\n")
    assert resident <= RESIDENT_KIB_MAX
    assert len(os.listdir(f"/proc/{launcher.pid}/fd")) < 20 * 3 + 20


def test_launcher_loads_nothing_but_its_own(tmp_path: Path) -> None:
    """The set of modules is pinned: each one more is memory and a way to fail."""
    script = (
        f"import sys; sys.path.insert(0, {str(MAIN.parents[2])!r}); \n"
        "import sup.launcher.loop, sup.launcher.log_engine\n"
        "print('\\n'.join(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if not name.startswith(("sup", "_cython_"))}
    loaded -= {"cython_runtime"}
    assert loaded <= MODULES, sorted(loaded - MODULES)


def test_deadman_stopped_supervisor_its_service_tree_is_killed(launcher: RealLauncher) -> None:
    """A supervisor that hangs can't extend: the launcher fences the service by itself."""
    one = launcher.start().ready()
    script = "setsid sleep 600 & echo $! > child; " + LONG
    pid = one.spawn("db", script, launcher.directory)["pid"]
    other = one.spawn("other", LONG, launcher.directory)["pid"]
    child = int(until(lambda: (launcher.directory / "child").read_text().strip()))
    assert one.ask("deadman", action="set", name="db", after_us=400_000)["ok"]
    for _ in range(5):
        time.sleep(0.1)
        assert one.ask("deadman", action="extend", name="db", after_us=400_000)["ok"]
    assert not gone(pid)
    os.kill(one.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: gone(pid) and gone(child))
    assert time.monotonic() - stopped < 5
    assert not gone(other)
    os.kill(one.pid, signal.SIGCONT)
    assert one.event("deadman")["name"] == "db"
    assert one.event("exited")["exit"] == [None, 9, False]
    assert "no dead-man" in one.ask("deadman", action="extend", name="db", after_us=1)["error"]


def test_deadman_cleared_does_nothing(launcher: RealLauncher) -> None:
    """Clearing is for good."""
    one = launcher.start().ready()
    pid = one.spawn("db", LONG, launcher.directory)["pid"]
    assert one.ask("deadman", action="set", name="db", after_us=200_000)["ok"]
    assert one.ask("deadman", action="clear", name="db")["ok"]
    time.sleep(0.4)
    assert not gone(pid)


def test_deadman_survives_the_death_of_the_supervisor(launcher: RealLauncher) -> None:
    """The timer is the launcher's: killing the supervisor does not stop it."""
    one = launcher.start().ready()
    pid = one.spawn("db", LONG, launcher.directory)["pid"]
    assert one.ask("deadman", action="set", name="db", after_us=300_000)["ok"]
    one.die()
    until(lambda: gone(pid))


def can_unshare_pid() -> bool:
    done = subprocess.run(
        ["unshare", "-p", "-f", "--mount-proc", "true"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.skipif(
    not shutil.which("unshare") or not can_unshare_pid(), reason="no pid namespace can be made"
)
def test_launcher_as_pid_1_reaps_orphans_and_ends_on_sigterm(launcher: RealLauncher) -> None:
    """First process of a namespace: orphans of all kinds are reaped, signals forwarded."""
    script = (
        "import os, subprocess, sys, time\n"
        "assert os.getppid() == 1, os.getppid()\n"
        "subprocess.run(['sh', '-c', 'setsid sleep 0.2 & exit 0'])\n"
        "for _ in range(500):\n"
        "    if not [p for p in os.listdir('/proc') if p.isdigit()\n"
        "            and int(p) not in (1, os.getpid())]: break\n"
        "    time.sleep(0.02)\n"
        "else: os._exit(9)\n"
        "import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
        "open('clean', 'w').write('yes'); time.sleep(60)\n"
    )
    (launcher.directory / "first.py").write_text(script)
    launcher.start(
        prefix=[
            "unshare",
            "-p",
            "-f",
            "--mount-proc",
            "--kill-child",
            "env",
            "-C",
            str(launcher.directory),
        ],
        command=[sys.executable, "-I", "-S", str(launcher.directory / "first.py")],
    )
    until((launcher.directory / "clean").exists)
    (inside,) = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    os.kill(int(inside), signal.SIGTERM)  # from outside: as a container's manager does
    assert launcher.wait() == 0, launcher.log.read_text()


class Systemd:
    """The receiving end of sd_notify(3)."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "manager"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.path))
        self.sock.settimeout(15)
        self.said: list[str] = []

    def hear(self, word: str) -> None:
        """Wait until ``word`` was said, and forget everything before."""
        while not any(word in line for line in self.said):
            self.said += self.sock.recv(4096).decode().splitlines()
        self.said.clear()

    def quiet(self, word: str, seconds: float) -> bool:
        """Whether ``word`` is not said for so long."""
        self.sock.settimeout(0.05)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if word in self.sock.recv(4096).decode():
                    return False
            except TimeoutError:
                continue
        self.sock.settimeout(15)
        return True


def test_systemd_hears_ready_status_watchdog_and_stopping(launcher: RealLauncher) -> None:
    """READY after the supervisor's, WATCHDOG only while it says that it is alive."""
    manager = Systemd(launcher.directory)
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "60000000"}
    one = launcher.start(environment=environment).puppet()
    hello = one.ask("hello", protocol=1, version="test")
    assert hello["watchdog_us"] == 60_000_000
    environ = Path(f"/proc/{one.pid}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in environ
    assert b"WATCHDOG_USEC" not in environ
    assert manager.quiet("READY=1", 0.3)
    one.ask("ready", version="test")
    manager.hear("READY=1")
    manager.hear("STATUS=supervisor up")
    assert manager.quiet("WATCHDOG=1", 0.3)
    one.tell("alive")
    manager.hear("WATCHDOG=1")
    assert one.ask("end", code=0)["ok"]
    one.exit(0)
    manager.hear("STOPPING=1")
    assert launcher.wait() == 0


def test_systemd_watchdog_hung_supervisor_is_replaced_before_the_time_is_over(
    launcher: RealLauncher,
) -> None:
    """A supervisor that is silent for half the watchdog time is killed; its services are not."""
    manager = Systemd(launcher.directory)
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}
    one = launcher.start(environment=environment).ready()
    pid = one.spawn("db", LONG, launcher.directory)["pid"]
    os.kill(one.pid, signal.SIGSTOP)
    two = launcher.ready()
    two.tell("alive")
    manager.hear("WATCHDOG=1")
    assert gone(one.pid)
    assert not gone(pid)
    assert "hung" in launcher.log.read_text()


def test_journal_lines_carry_a_priority_and_no_time(launcher: RealLauncher) -> None:
    """JOURNAL_STREAM that names our stderr makes the output the journal's; another does not."""
    launcher.log.touch()
    status = launcher.log.stat()
    stream = f"{status.st_dev}:{status.st_ino}"
    launcher.start(environment={"JOURNAL_STREAM": stream}).ready()
    until(lambda: "launcher ready" in launcher.log.read_text())
    assert launcher.log.read_text().startswith("<6>INFO sup.launcher: launcher ready")


def test_upgrade_keeps_pid_children_exit_status_notes_and_deadman(launcher: RealLauncher) -> None:
    """The launcher executes itself anew; a service that ends in between is still told."""
    one = launcher.start().ready()
    code = (
        "import os,socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
        "s.sendto(b'READY=1',os.environ['NOTIFY_SOCKET'])"
    )
    script = f'{sys.executable} -I -S -c "{code}"; trap \\"\\" HUP; ' + LONG
    pid = one.spawn("db", script.replace('\\"\\"', "''"), launcher.directory, notify=True)["pid"]
    one.event("notify")
    quick = one.spawn("quick", "exit 7", launcher.directory)["pid"]
    fenced = one.spawn("fenced", LONG, launcher.directory)["pid"]
    one.ask("deadman", action="set", name="fenced", after_us=1_500_000)
    started = read_stat(launcher.pid)
    assert one.ask("upgrade")["ok"]
    one.event("detach")
    one.exit(0)
    two = launcher.puppet()
    hello = two.ask("hello", protocol=1, version="test")
    held = {e["name"]: e for e in two.events if e.get("event") == "service"}
    assert hello["pid"] == launcher.pid
    assert hello["starts"] == 2
    assert held["db"]["pid"] == pid
    assert [note for note, _ in held["db"]["notes"]] == [b"READY=1"]
    assert held["quick"]["exit"] == [7, None, False]
    now = read_stat(launcher.pid)
    assert started is not None
    assert now is not None
    assert (now.pid, now.start_ticks) == (started.pid, started.start_ticks)
    assert not gone(pid)
    two.ask("ready", version="test")
    assert "upgraded in place" in launcher.log.read_text()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"STATUS=again", str(launcher.directory / "db" / "notify"))
    assert two.event("notify")["data"] == b"STATUS=again"
    until(lambda: gone(fenced))
    os.kill(pid, signal.SIGKILL)
    assert two.ask("clear", name="quick")["exit"] == [7, None, False]
    while (event := two.event("exited"))["name"] != "db":
        pass
    assert event["exit"] == [None, 9, False]
    assert read_stat(quick) is None


def test_upgrade_code_that_does_not_load_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """The new code is tried first; what is wrong with it is the answer."""
    root = tmp_path / "copy"
    source = MAIN.parents[1]
    for part in ("launcher", "edge"):
        shutil.copytree(
            source / part,
            root / "sup" / part,
            ignore=shutil.ignore_patterns("*.pyx", "__pycache__"),
        )
    shutil.copy(source / "__init__.py", root / "sup")
    one = RealLauncher(tmp_path)
    try:
        main = root / "sup" / "launcher" / "__main__.py"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.launcher.conftest.MAIN", main)
            puppet = one.start().ready()
        (root / "sup" / "launcher" / "state.py").write_text("1 / 0\n")
        answer = puppet.ask("upgrade")
        assert "ZeroDivisionError" in answer["error"]
        assert puppet.ask("hello", protocol=1, version="test")["ok"]
        facts = json.loads((one.state_dir / "launcher.json").read_text())
        assert "ZeroDivisionError" in facts["upgrade"]
    finally:
        one.close()


def test_sighup_without_a_ready_supervisor_upgrades_at_once(launcher: RealLauncher) -> None:
    """New code may be just what a supervisor that does not come up waits for."""
    launcher.start().ready().die()
    launcher.puppet()
    os.kill(launcher.pid, signal.SIGHUP)
    until(lambda: "upgraded in place" in launcher.log.read_text())
    launcher.ready()


def cgroup2() -> str:
    """A cgroup2 mount that we may write to, or empty."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and os.access(before.split()[4], os.W_OK):
            return before.split()[4]
    return ""


@pytest.mark.skipif(not cgroup2(), reason="no cgroup v2 that we may write to")
def test_cgroup_holds_the_tree_and_is_killed_and_removed_with_it(launcher: RealLauncher) -> None:
    """Where a subtree is ours, a service is in its own group from its first moment on."""
    base = Path(cgroup2()) / f"suptest.{os.getpid()}"
    base.mkdir()
    try:
        one = launcher.start(environment={"SUP_CGROUP": str(base)}).ready()
        assert one.ask("hello", protocol=1, version="test")["cgroups"]
        answer = one.spawn(
            "db",
            "cat /proc/self/cgroup > group; setsid sleep 600 & exec sleep 600",
            launcher.directory,
            cgroup={"memory_max": 1 << 30},
        )
        assert answer["cgroup"]
        file = launcher.directory / "group"
        path = until(lambda: file.exists() and "sup-db" in file.read_text() and file.read_text())
        (group,) = base.glob("*/sup-db")
        assert f"/{group.name}\n" in path
        pids = until(lambda: len(p := (group / "cgroup.procs").read_text().split()) == 2 and p)
        assert str(answer["pid"]) in pids
        if not (group / "memory.max").exists():
            assert "memory" in answer["warnings"][0]
        assert one.ask("clear", name="db")["left"] == []
        assert all(gone(int(pid)) for pid in pids)
        until(lambda: not group.exists())
        one.ask("end", code=0)
        one.exit(0)
        assert launcher.wait() == 0
        assert list(base.glob("sup.*")) == []
    finally:
        launcher.close()
        for directory in sorted(base.rglob("*"), reverse=True):
            if directory.is_dir():
                directory.rmdir()
        base.rmdir()


def test_check_loads_and_says_nothing() -> None:
    """What an upgrade asks of the code on disk."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(MAIN), "--check"],
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
