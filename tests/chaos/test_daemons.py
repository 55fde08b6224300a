"""What will not go: daemons that fork twice and wipe their environment, SIGTERM ignored, fork
bombs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.harness import LONG, alive, tree, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def leave(generations):
    if os.fork():
        return
    os.setsid()
    if generations:
        leave(generations - 1)
        os._exit(0)
    for fd in range(3):
        os.close(fd)
    for name in ("null", "null", "null"):
        os.open("/dev/null", os.O_RDWR)
    os.execve(sys.executable, [sys.executable, "-I", "-S", sys.argv[1], sys.argv[2]], {})
leave(2)
leave(1)
time.sleep(600)
"""
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
time.sleep(600)
"""
STOP_TIMEOUT_S = 1
BOMB = """
$SIG{$_} = 'IGNORE' for qw(TERM INT HUP CHLD);
while (1) { defined(fork) or select(undef, undef, undef, 0.01) }
"""
"""In Perl, because the Python that runs the tests need not be for everybody to execute."""
BOMB_PROCESSES = 1000 if LONG else 200


def cgroup_mount() -> str:
    """A cgroup2 hierarchy that we may write to, or empty."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and os.access(before.split()[4], os.W_OK):
            return before.split()[4]
    return ""


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A group to delegate, and the prefix of a command that sees it.

    Where cgroup2 is mounted nowhere it is mounted for the command alone, in its own mount
    namespace.
    """
    name = f"supchaos.{os.getpid()}"
    mount = cgroup_mount()
    prefix: list[str] = []
    if not mount:
        place = tmp_path / "cgroup"
        place.mkdir()
        mount = str(place)
        script = f'mount -t cgroup2 none {mount} && mkdir -p {mount}/{name} && exec "$@"'
        prefix = ["unshare", "-m", "sh", "-c", script, "sh"]
        if os.getuid() or subprocess.run([*prefix, "true"], check=False).returncode:
            pytest.skip("no cgroup v2, and it can't be mounted")
    else:
        os.mkdir(f"{mount}/{name}")
    try:
        yield f"{mount}/{name}", prefix
    finally:
        script = f"find {mount}/{name} -depth -type d -exec rmdir {{}} + "
        if prefix:
            script = f"mount -t cgroup2 none {mount} && {script}"
            subprocess.run(["unshare", "-m", "sh", "-c", script], check=False)
        else:
            subprocess.run(["sh", "-c", script], check=False)


def daemon(one, place: Path) -> list[int]:
    """Load a service that scatters two daemons, and return the pids of these."""
    (place / "daemon.py").write_text(DAEMON)
    (place / "stubborn.py").write_text(STUBBORN)
    pids = place / "pids"
    one.add(
        "daemon",
        [
            sys.executable,
            "-I",
            "-S",
            *(str(place / n) for n in ("daemon.py", "stubborn.py", "pids")),
        ],
        stop_timeout=STOP_TIMEOUT_S,
    )
    one.start()
    one.up("daemon")
    found = until(
        "two daemons", lambda: pids.exists() and len(p := pids.read_text().split()) == 2 and p
    )
    return [int(pid) for pid in found]


def check_stopped(one, scattered: list[int], how: str) -> None:
    """``sup stop``; then nothing of the service is left within the time-out + 1 s."""
    first = int(one.row("daemon")["pid"])
    assert all(Path(f"/proc/{pid}/environ").read_bytes() == b"" for pid in scattered)
    everybody = [first, *scattered]
    assert all(map(alive, everybody))
    began = time.monotonic()
    one.stop("daemon")
    until("nobody is left", lambda: not any(map(alive, everybody)) and not one.pids("daemon"))
    took = time.monotonic() - began
    sys.stdout.write(f"{how}: nothing left {took:.2f} s after sup stop\n")
    assert took <= STOP_TIMEOUT_S + 1
    one.check_no_zombies()
    one.end()


def test_daemons_that_forked_twice_without_cgroup_are_gone_after_stop(tmp_path, monkeypatch):
    """Own session, empty environment, SIGTERM ignored: found by the tag, killed after the time."""
    monkeypatch.setenv("SUP_CGROUP", "off")
    with tree(tmp_path) as one:
        check_stopped(one, daemon(one, tmp_path), "without cgroups")


def test_daemons_that_forked_twice_in_a_cgroup_are_gone_after_stop(tmp_path, monkeypatch, cgroup):
    """The same where a cgroup v2 is delegated; the group is gone, too."""
    directory, prefix = cgroup
    monkeypatch.setenv("SUP_CGROUP", directory)
    with tree(tmp_path, prefix=prefix) as one:
        scattered = daemon(one, tmp_path)
        groups = [Path(f"/proc/{pid}/cgroup").read_text() for pid in scattered]
        assert all("sup-daemon" in text for text in groups)
        check_stopped(one, scattered, "with cgroups")
        if not prefix:
            assert not [d for d in Path(directory).rglob("*") if d.is_dir()]


@pytest.mark.parametrize("when", ["before", "during"])
def test_daemons_whose_supervisor_is_killed_at_the_stop_are_gone_all_the_same(tmp_path, when):
    """The supervisor dies before or during the stop: its successor finds and ends all of them."""
    with tree(tmp_path) as one:
        scattered = daemon(one, tmp_path)
        everybody = [int(one.row("daemon")["pid"]), *scattered]
        supervisor = one.supervisor_pid
        if when == "before":
            os.kill(supervisor, 9)
            one.settled()
            one.stop("daemon")
        else:
            spec = one.state_dir / "specs" / "daemon.toml"
            spec.write_text(spec.read_text().replace('"up"', '"down"'))
            until("it stops", lambda: one.row("daemon").get("process") == "stopping")
            os.kill(supervisor, 9)
            one.wanted["daemon"] = False
        until("nobody is left", lambda: not any(map(alive, everybody)), 20)
        one.check_trees()
        one.settled()
        one.check_no_zombies()
        one.end()


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users may pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="sup-chaos-") as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give the bomb a user of its own")
@pytest.mark.skipif(not os.access("/usr/bin/perl", os.X_OK), reason="no Perl")
def test_fork_bomb_bounded_by_nproc_the_supervisor_answers_and_stop_ends_all(open_place):
    """As many processes as the limit allows, none of which listens; none is left after a stop."""
    with tree(open_place) as one:
        one.add_counter()
        one.add(
            "bomb",
            ["/usr/bin/perl", "-e", BOMB],
            user="nobody",
            stop_timeout=STOP_TIMEOUT_S,
            limits={"nproc": BOMB_PROCESSES},
        )
        one.start()
        one.up("bomb")
        counter = one.up("counter")
        until("it has gone off", lambda: len(one.pids("bomb")) > BOMB_PROCESSES * 0.8, 30)
        slowest = 0.0
        for _ in range(20 if LONG else 5):
            began = time.monotonic()
            assert one.rows(20)["bomb"]["process"] == "up"
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.1)
        assert len(one.pids("bomb")) <= BOMB_PROCESSES
        began = time.monotonic()
        one.stop("bomb", 60)
        until("nobody is left", lambda: not one.pids("bomb"), 30)
        sys.stdout.write(
            f"fork bomb: slowest answer {slowest:.2f} s, gone in {time.monotonic() - began:.2f} s\n"
        )
        # Were each killed as it is found, every death would make room for another fork.
        assert one.row("bomb")["process"] == "down"
        assert one.up("counter") == counter
        one.check_trees()
        one.check_no_zombies()
        one.end()
        one.check_counts(starts=1)
