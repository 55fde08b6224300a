"""The killing of a tree, with real processes in a session of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sup.edge.process_tree import (
    CROWD,
    CROWD_LOOKS,
    ProcessStat,
    find_tree,
    kill_tree,
    kill_tree_once,
    read_stat,
)

FAMILY = """
import os, time
for _ in range({count}):
    if not os.fork():
        break
time.sleep(60)
"""


def family(count: int) -> subprocess.Popen[bytes]:
    """A process with ``count - 1`` children, all asleep."""
    script = FAMILY.format(count=count - 1)
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", script], start_new_session=True)


def members(first: ProcessStat, count: int) -> list[ProcessStat]:
    """The tree once all of it is there."""
    deadline = time.monotonic() + 10
    while len(found := find_tree(first.pid, first.start_ticks, "")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.fixture
def crowd() -> Iterator[ProcessStat]:
    """The first process of a tree that is a crowd."""
    process = family(CROWD + 4)
    try:
        stat = read_stat(process.pid)
        assert stat is not None
        members(stat, CROWD + 4)
        yield stat
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_crowd_is_stopped_as_a_whole_before_any_of_it_is_killed(crowd):
    """No death makes room for a fork of one that still runs: a fork bomb comes to an end."""
    assert len(kill_tree_once(crowd.pid, crowd.start_ticks, "")) == CROWD + 4
    deadline = time.monotonic() + 10
    while any(stat.state in "RS" for stat in members(crowd, CROWD + 4)):
        assert time.monotonic() < deadline
    kill_tree_once(crowd.pid, crowd.start_ticks, "")
    while find_tree(crowd.pid, crowd.start_ticks, ""):
        assert time.monotonic() < deadline


def test_crowd_that_does_not_stop_is_killed_all_the_same(crowd):
    """Whoever wakes it, or can't be stopped, holds the killing up for some looks only."""
    kill_tree_once(crowd.pid, crowd.start_ticks, "", CROWD_LOOKS)
    deadline = time.monotonic() + 10
    while find_tree(crowd.pid, crowd.start_ticks, ""):
        assert time.monotonic() < deadline


def test_kill_tree_leaves_nobody_of_a_crowd(crowd):
    """Stopped, then killed, within one call."""
    assert kill_tree(crowd.pid, crowd.start_ticks, "") == []
    assert find_tree(crowd.pid, crowd.start_ticks, "") == []
