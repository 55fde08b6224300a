"""Output without end, lines of a megabyte, disks that are full or read-only."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.harness import LONG, alive, seeded, tree, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600 if LONG else 120)]

FLOOD_S = 60 if LONG else 4
MEGABYTE = 1_000_000
LONG_LINES = """
import os, sys, time
for n in range(int(sys.argv[1])):
    data = b"%06d:" % n + b"abcdefghij" * 100_000 + b"\\n"
    while data:
        data = data[os.write(1, data):]
time.sleep(600)
"""
LONG_LINE_COUNT = 40 if LONG else 6


def can_mount() -> bool:
    """Whether a private mount namespace with a tmpfs in it can be made here."""
    script = "mount -t tmpfs -o size=64k none /mnt"
    made = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=False)
    return os.getuid() == 0 and made.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces")


def _size(file):
    """Bytes of a log that may be rotated away at this moment."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def test_flood_on_stdout_leaves_the_neighbour_and_the_supervisor_alone(tmp_path):
    """A service that only writes: its log is bounded, the counter beside it loses no number."""
    dice = seeded()
    with tree(tmp_path) as one:
        one.add_counter()
        one.add(
            "flood",
            ["sh", "-c", "exec yes 'the quick brown fox jumps over the lazy dog'"],
            log={"max_bytes": 1 << 20, "files": 3},
        )
        one.start()
        counter, flood = one.up("counter"), one.up("flood")
        time.sleep(1)
        before = one.sizes()
        slowest, ends = 0.0, time.monotonic() + FLOOD_S
        while time.monotonic() < ends:
            asked = time.monotonic()
            if one.rows():
                slowest = max(slowest, time.monotonic() - asked)
            time.sleep(dice.uniform(0, 0.5))
            if dice.random() < 0.3 and (pid := one.supervisor_pid):
                os.kill(pid, signal.SIGKILL)
                one.settled()
        directory = one.state_dir / "svc" / "flood" / "logs"
        files = list(directory.glob("flood.log*"))
        assert len(files) <= 3
        assert sum(map(_size, files)) <= 3 * ((1 << 20) + 20_000)
        assert (one.up("counter"), one.up("flood")) == (counter, flood)
        one.check_flat(before)
        one.stop("flood")
        one.check_trees()
        one.end()
        sys.stdout.write(f"slowest answer beside a flood: {slowest:.2f} s\n")
        assert one.check_counts(starts=1) > FLOOD_S * 100


def test_lines_of_a_megabyte_come_whole_over_kills_of_the_supervisor(tmp_path):
    """Each is split into pieces with a mark, and the pieces are the line again."""
    script = tmp_path / "long.py"
    script.write_text(LONG_LINES)
    with tree(tmp_path) as one:
        one.add(
            "long",
            [sys.executable, "-I", "-S", str(script), str(LONG_LINE_COUNT)],
            log={"max_bytes": 1 << 30, "line_bytes_max": 65536},
        )
        one.start()
        one.up("long")
        os.kill(one.supervisor_pid, signal.SIGKILL)
        wanted = LONG_LINE_COUNT * MEGABYTE

        def size() -> int:
            directory = one.state_dir / "svc" / "long" / "logs"
            return sum(f.stat().st_size for f in directory.glob("long.log*"))

        until("all is written", lambda: size() >= wanted, 60)
        one.settled()
        one.end()
        lines: list[bytes] = []
        for line in one.log_lines("long"):
            mark, text = line[27:28], line[28:]
            assert len(text) <= 65536
            if mark == b" ":
                lines.append(text)
            elif mark == b"+":
                lines[-1] += text
        assert lines == [b"%06d:" % n + b"abcdefghij" * 100_000 for n in range(LONG_LINE_COUNT)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: its sockets are reached through ``/proc/PID/root``."""
    with tempfile.TemporaryDirectory(prefix="sup") as made:
        yield Path(made)


def enter(pid: int, script: str) -> str:
    """Run a script in the mount namespace of ``pid``."""
    done = subprocess.run(
        ["nsenter", "-m", "-t", str(pid), "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_mount
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_disk_that_refuses_stops_nobody_and_is_used_again_afterwards(place, how):
    """State, logs and all on it: service and supervisor go on, also over a kill; then recover."""
    disk = place / "d"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=24m none {disk} && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", mount, "sh"]
    with tree(place, state_dir=disk / "state", prefix=prefix, hidden=True) as one:
        one.start()
        one.add_counter()
        counter = one.up("counter")
        one.settled()
        until("it counts", one.counts)
        before = one.sizes()
        launcher, supervisor = one.launcher_pid, one.supervisor_pid
        if how == "full":
            refuse = "".join(
                f"dd if=/dev/zero of={disk}/ballast{size} bs={size} 2>/dev/null; "
                for size in ("64k", "4k", "512")
            )
            refuse, allow = refuse + "true", f"rm {disk}/ballast*"
        else:
            # Over itself: what is open stays as it is, nothing else can be written.
            refuse = f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk}"
            allow = f"umount -l {disk}"
        enter(launcher, refuse)
        time.sleep(1)
        assert one.rows()["counter"]["process"] == "up"
        os.kill(supervisor, signal.SIGKILL)
        time.sleep(3)
        assert alive(launcher)
        assert one.starts_alive("counter") == 1
        enter(launcher, allow)
        allowed = time.monotonic()
        one.settled(60)
        assert one.up("counter") == counter
        sys.stdout.write(f"{how}: managed again {time.monotonic() - allowed:.1f} s after it took\n")
        seen = len(one.log_lines("counter"))
        until("it logs again", lambda: len(one.log_lines("counter")) > seen + 200, 20)
        one.check_no_zombies()
        one.check_trees()
        one.check_flat(before)
        numbers = [number for run in one.counts(torn=2) for number in run]
        notices = [line for line in one.log_lines("counter") if line[27:28] == b"!"]
        one.end()
        lost = [(a, b) for a, b in itertools.pairwise(numbers) if b != a + 1]
        said = sum(int(found[1]) for n in notices if (found := re.search(rb"(\d+) lines", n)))
        assert sorted(set(numbers)) == numbers
        assert sum(b - a - 1 for a, b in lost) == said, (lost, notices)
