"""Few descriptors, a clock that is set back, many services, thousands of restarts."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.chaos.harness import LONG, Size, alive, size, tree, until
from tests.launcher.conftest import MARK, launcher

from sup.edge.process_tree import all_stats

__all__ = ["launcher"]
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800 if LONG else 120)]

DESCRIPTORS = 64
SERVICES = 200
RESTARTS = 10_000 if LONG else 300
COMPILER = shutil.which("cc") or shutil.which("gcc")
CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) offset = page;
    if (fd >= 0) close(fd);
}
int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        at->tv_sec += *offset;
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
"""Of the clocks it sets what an operator sets: the one that shows the time of day. (libfaketime
crashes a program with threads now and then, and a time namespace shifts the other clocks.)"""
DAY_S = 86400


def test_supervisor_with_few_descriptors_says_so_and_recovers(tmp_path):
    """64 descriptors and 40 idle callers of the control socket: nothing dies, all is well after."""
    with tree(tmp_path) as one:
        one.add_counter()
        one.start()
        counter = one.up("counter")
        one.settled()
        before = one.sizes()
        supervisor = one.supervisor_pid
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        callers = []
        try:
            for _ in range(2 * DESCRIPTORS):
                caller = socket.socket(socket.AF_UNIX)
                caller.settimeout(2)
                try:
                    caller.connect(str(one.state_dir / "control.sock"))
                except OSError:
                    caller.close()
                    break
                callers.append(caller)
            assert len(callers) > DESCRIPTORS // 2
            time.sleep(1)
            # What it does without new callers goes on: a service that dies is started again.
            os.kill(counter, signal.SIGKILL)
            until("it is started again", lambda: len(one.counts()) == 2, 30)
        finally:
            for caller in callers:
                caller.close()
        assert alive(supervisor)
        assert one.supervisor_pid == supervisor
        one.settled()
        one.up("counter")
        one.add("late", ["sleep", "600"])
        one.up("late")
        one.check_trees()
        one.check_no_zombies()
        one.check_flat(before, fds=6)
        one.end()
        one.check_counts(starts=2)


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_clock_set_back_a_day_changes_nothing_but_the_stamps(tmp_path, monkeypatch):
    """Launcher and supervisor see yesterday from one moment to the next, and then tomorrow."""
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("l", 0))
    command = [str(COMPILER), "-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    with tree(tmp_path, prefix=["env", f"LD_PRELOAD={library}", f"TEST_CLOCK={clock}"]) as one:
        one.add_counter()
        one.add("brief", ["sleep", "0.3"], restart_min=0.1, restart_max=0.3)
        one.start()
        counter = one.up("counter")
        one.settled()
        for offset in (-DAY_S, DAY_S, 0):
            with clock.open("r+b") as file:
                file.write(struct.pack("l", offset))
            shown = until("asked", lambda: one.row("brief").get("restarts"))
            until(
                "restarts go on",
                lambda s=shown: (one.row("brief").get("restarts") or 0) >= s + 2,
                10,
            )
            os.kill(one.supervisor_pid, signal.SIGKILL)
            one.settled(10)
            assert one.up("counter") == counter
            one.check_trees()
        one.stop("brief")
        one.check_no_zombies()
        one.end()
        one.check_counts(starts=1)
        stamps = [datetime.fromisoformat(line[:26].decode()) for line in one.log_lines("counter")]
        steps = [b - a for a, b in itertools.pairwise(stamps)]
        assert min(steps) < timedelta(hours=-23), "the clock was not faked for the launcher"


def test_two_hundred_services_are_adopted_after_a_kill_and_all_stopped(tmp_path):
    """Started, the supervisor killed, every process adopted, all of them gone at the end."""
    with tree(tmp_path) as one:
        names = [f"nap{number:03}" for number in range(SERVICES)]
        for name in names:
            one.add(name, ["sleep", "3600"])
        one.start()

        def pids() -> dict[str, int]:
            rows = one.rows(20)
            found = {n: int(r["pid"] or 0) for n, r in rows.items() if r["process"] == "up"}
            return found if len(found) == SERVICES else {}

        began = time.monotonic()
        first = until("all are up", pids, 60, 0.2)
        up_s = time.monotonic() - began
        one.settled()
        os.kill(one.supervisor_pid, signal.SIGKILL)
        killed = time.monotonic()
        one.settled(60)
        again = until("all are up again", pids, 60, 0.2)
        adopted_s = time.monotonic() - killed
        assert again == first
        sizes = one.sizes()
        resident = resident_kb(one.launcher_pid)
        one.check_no_zombies()
        everybody = set(first.values())
        began = time.monotonic()
        one.end(60)
        ended_s = time.monotonic() - began
        assert not [pid for pid in everybody if alive(pid)]
        sys.stdout.write(
            f"{SERVICES} services: up {up_s:.1f} s, adopted {adopted_s:.1f} s, ended"
            f" {ended_s:.1f} s, launcher {resident} KB resident, {sizes}\n"
        )


def resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def test_restarts_by_the_hundred_leave_supervisor_and_launcher_as_they_were(tmp_path):
    """Services that end at once, as fast as restarts go: nothing grows, nobody is left."""
    with tree(tmp_path) as one:
        names = [f"brief{number:02}" for number in range(10 if LONG else 4)]
        for name in names:
            one.add(name, ["true"], restart_min=0.1, restart_max=0.1)
        one.add_counter()
        one.start()
        counter = one.up("counter")

        def restarts() -> int:
            return sum(int(row.get("restarts") or 0) for row in one.rows().values())

        until("caches are warm", lambda: restarts() > 100, 60, 0.2)
        before = one.sizes()
        goal = restarts() + (3000 if LONG else 150)
        until("enough restarts", lambda: restarts() >= goal, 900 if LONG else 60, 0.2)
        one.check_flat(before, fds=12)
        assert one.up("counter") == counter
        for name in names:
            one.stop(name)
        one.check_trees()
        one.check_no_zombies()
        one.end()
        one.check_counts(starts=1)


def test_launcher_after_thousands_of_starts_is_as_it_was(launcher, tmp_path):
    """Spawn, end, clear, again and again: same memory, same descriptors, no zombie."""
    puppet = launcher.start().ready()
    before: Size | None = None
    for number in range(RESTARTS + 200):
        if number == 200:
            before = size(launcher.pid)
        answer = puppet.spawn("brief", "exit 3", tmp_path, mark=f"{MARK}.brief.{number}")
        assert answer.get("ok"), answer
        assert puppet.event("exited")["exit"] == [3, None, False]
        assert puppet.ask("clear", name="brief")["left"] == []
    assert before is not None
    now = size(launcher.pid)
    sys.stdout.write(f"{RESTARTS} starts: {before} -> {now}\n")
    assert now.fds <= before.fds
    assert now.anonymous_kb <= before.anonymous_kb + 256
    assert not [s for s in all_stats().values() if s.ppid == launcher.pid and s.dead]
