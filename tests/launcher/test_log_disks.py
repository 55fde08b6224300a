"""The log engine on disks that refuse, and its death under a writer: real mounts, real kills.

Each disk is a tmpfs in a mount namespace of a child process, which ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.launcher.test_log_engine import WIDTH, Target, content, joined, until, whole

from sup.launcher.log_engine import LogEngine

PROGRAM = """
import json, os, subprocess, sys, time
from pathlib import Path
from tests.launcher.test_log_engine import Target, content, until, whole, write_all
from sup.launcher.log_engine import LogEngine

disk = Path(sys.argv[1])
engine = LogEngine()

def numbers(first, last):
    write_all(fd, b"".join(b"%d\\n" % n for n in range(first, last)))

def mount(*args):
    subprocess.run(["mount", *args, str(disk)], check=True)

def done(**more):
    os.close(fd)
    assert engine.stop()
    lines = [line for line in whole(disk / "logs").decode().splitlines()]
    print(json.dumps({"lines": lines, "tally": engine.tally()["a"], **more}))
"""

FULL = """
mount("-t", "tmpfs", "-o", "size=512k", "tmpfs")
fd = engine.open(Target(disk / "logs"))
numbers(0, 100)
until(lambda: content(disk / "logs/a.log").endswith(b"99\\n"))
filler = open(disk / "filler", "wb", buffering=0)
try:
    while True:
        filler.write(bytes(4096))
except OSError:
    pass
before = time.monotonic()
numbers(100, 20_000)
took = time.monotonic() - before
until(lambda: engine.tally()["a"][0] == 20_000)
during = engine.tally()["a"]
os.unlink(disk / "filler")
filler.close()
until(lambda: engine.tally()["a"][5] == "")
numbers(20_000, 20_100)
done(during=during, took=took)
"""

READ_ONLY = """
mount("-t", "tmpfs", "-o", "size=4m,ro", "tmpfs")
fd = engine.open(Target(disk / "logs"))
numbers(0, 1000)
until(lambda: engine.tally()["a"][2] == 1000)
during = engine.tally()["a"]
mount("-o", "remount,rw")
until(lambda: engine.tally()["a"][5] == "")
numbers(1000, 1010)
done(during=during)
"""


def on_a_disk(directory: Path, story: str) -> dict[str, Any]:
    """Run ``story`` in a process that may mount."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", PROGRAM + story, str(directory)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(line: str) -> int:
    """How many lines a report says are missing."""
    assert line[WIDTH - 1 :].startswith("!sup: "), line
    return int(line.split()[1])


def test_engine_full_disk_drops_counts_and_comes_back(tmp_path: Path) -> None:
    """No writer waits; what is not in the file is counted; the file has whole lines only."""
    found = on_a_disk(tmp_path, FULL)
    assert found["during"][5] == "No space left on device"
    assert found["took"] < 20
    reports = [line for line in found["lines"] if line[WIDTH - 1] == "!"]
    numbers = [int(line[WIDTH:]) for line in found["lines"] if line[WIDTH - 1] != "!"]
    assert numbers == sorted(set(numbers))
    assert numbers[:100] == list(range(100))
    assert numbers[-100:] == list(range(20_000, 20_100))
    missing = sum(map(told, reports))
    assert missing > 10_000
    assert len(numbers) + missing == 20_100
    assert found["tally"][0] == 20_100
    assert found["tally"][2] == missing
    assert all("No space left on device" in line for line in reports)


def test_engine_read_only_disk_lets_the_service_start(tmp_path: Path) -> None:
    """Not even the FIFO can be made there; the log begins when the disk is mended."""
    found = on_a_disk(tmp_path, READ_ONLY)
    assert found["during"][:4] == [1000, 3890, 1000, 3890]
    assert found["during"][5] == "Read-only file system"
    report, *lines = found["lines"]
    assert told(report) == 1000
    assert [int(line[WIDTH:]) for line in lines] == list(range(1000, 1010))


def test_engine_killed_leaves_the_writer_and_its_fifo(tmp_path: Path) -> None:
    """kill -9: the writer gets no SIGPIPE, and the next engine has all that was written since."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            """
import subprocess, sys, time
from pathlib import Path
from tests.launcher.test_log_engine import Target
from sup.launcher.log_engine import LogEngine
engine = LogEngine()
fd = engine.open(Target(Path(sys.argv[1])))
writer = subprocess.Popen(
    [sys.executable, "-c", '''
import os, time
for number in range(100_000):
    os.write(1, str(number).encode() + bytes([10]))
    time.sleep(0.0005)
'''], stdout=fd)
print(writer.pid, flush=True)
time.sleep(60)
""",
            str(tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    writer = int(holder.stdout.readline())
    engine = LogEngine()
    try:
        until(lambda: len(content(tmp_path / "a.log")) > 1000)
        for path in tmp_path.iterdir():
            path.unlink()  # also the name of the FIFO
        until(lambda: len(content(tmp_path / "a.log")) > 1000)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        size = (tmp_path / "a.log").stat().st_size
        time.sleep(0.2)
        os.close(engine.open(Target(tmp_path), pid=writer))
        until(lambda: len(content(tmp_path / "a.log")) > 3 * size)
        os.kill(writer, 0)
    finally:
        os.kill(writer, signal.SIGKILL)
        holder.kill()
        holder.communicate()
    assert engine.stop()
    numbers = [int(line) for line in joined(whole(tmp_path)).splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


FLOOD = """
import json, os, resource, subprocess, sys
from pathlib import Path
from tests.launcher.test_log_engine import Target, content, until
from sup.launcher.log_engine import LogEngine

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

directory = Path(sys.argv[1])
engine = LogEngine()
fd = engine.open(Target(directory / "first", "first"))
os.write(fd, b"x" * 65536 + b"\\n")
until(lambda: engine.tally()["first"][0] == 1)
before = resident()
fds = [engine.open(Target(directory / f"s{n}", f"s{n}")) for n in range(200)]
for other in fds:
    os.write(other, b"x" * 60_000)
until(lambda: all(engine.tally()[f"s{n}"][1] == 60_000 for n in range(200)))
flood = "yes 'forty bytes of text, as fast as it will' | head -c 300000000; echo"
subprocess.run(flood, shell=True, stdout=fd, check=True)
until(lambda: engine.tally()["first"][1] == 300_065_538)
grown = resident() - before
threads = len(os.listdir("/proc/self/task"))
assert engine.stop()
print(json.dumps({"grown": grown, "threads": threads, "tally": engine.tally()["first"]}))
"""


def test_engine_flood_of_one_among_two_hundred_costs_no_memory(tmp_path: Path) -> None:
    """300 MB at once and 200 unfinished lines: all is read, files and memory stay bounded."""
    done = subprocess.run(
        [sys.executable, "-c", FLOOD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lines, size, dropped, *_ = found["tally"]
    assert (size, dropped) == (300_065_538, 0)
    assert lines == 1 + 300_000_000 // 40 + 1
    assert found["threads"] == 2
    assert found["grown"] < 200 * 8192
    files = list((tmp_path / "first").glob("first.log*"))
    assert len(files) == 3
    assert all(file.stat().st_size <= 10 * 1024 * 1024 for file in files)


CLOCK = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    long result = syscall(SYS_clock_gettime, clock, at);
    const char *path = getenv("TEST_SET_BACK");
    if (clock == CLOCK_REALTIME && path && access(path, F_OK) == 0) at->tv_sec -= 86400;
    return (int)result;
}
"""

SET_BACK = """
import os, sys, time
from pathlib import Path
from tests.launcher.test_log_engine import Target, content, until
from sup.launcher.log_engine import LogEngine

directory = Path(sys.argv[1])
engine = LogEngine()
fd = engine.open(Target(directory / "logs"))
os.write(fd, b"one\\n")
until(lambda: content(directory / "logs/a.log").endswith(b"one\\n"))
(directory / "set-back").touch()
os.write(fd, b"two\\n")
until(lambda: content(directory / "logs/a.log").endswith(b"two\\n"))
(directory / "set-back").unlink()
os.write(fd, b"three\\n")
os.close(fd)
assert engine.stop()
"""


def test_engine_clock_set_back_a_day_loses_nothing(tmp_path: Path) -> None:
    """Stamps say what the clock said, there and back; waits and counts go on."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("needs a C compiler")
    (tmp_path / "clock.c").write_text(CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True, timeout=60
    )
    subprocess.run(
        [sys.executable, "-c", SET_BACK, str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]),
            "LD_PRELOAD": str(library),
            "TEST_SET_BACK": str(tmp_path / "set-back"),
        },
        timeout=60,
        check=True,
    )
    lines = (tmp_path / "logs/a.log").read_text().splitlines()
    assert [line[WIDTH:] for line in lines] == ["one", "two", "three"]
    assert lines[1] < lines[0] < lines[2]
