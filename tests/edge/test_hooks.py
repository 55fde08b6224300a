"""Hooks as real processes: results, time-outs, floods, leftovers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sup.edge.hooks import OUTPUT_BYTES_MAX, HookResult, run_hook
from sup.edge.process_tree import find_marked, kill_marked
from sup.edge.processes import ProcessError, new_mark

ENVIRONMENT = {"PATH": os.environ["PATH"], "GREETING": "hello"}
MARK = f"test-hooks.{os.getpid()}"


@pytest.fixture(autouse=True)
async def no_leftovers() -> AsyncIterator[None]:
    """Every test ends without a living process of its own."""
    yield
    left = find_marked(MARK)
    kill_marked(MARK)
    assert left == []


async def hook(tmp_path: Path, script: str, timeout_s: float = 20) -> HookResult:
    """Run ``script`` as an executable file."""
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return await run_hook(
        [str(path)],
        directory=tmp_path,
        environment=ENVIRONMENT,
        mark=new_mark(MARK),
        timeout_s=timeout_s,
    )


async def test_run_hook_exit_code_and_both_streams_are_reported(tmp_path: Path) -> None:
    """Exit code, stdout and stderr in order, environment and directory."""
    result = await hook(tmp_path, 'echo "$GREETING"; pwd >&2; exit 3')
    assert (result.exit_code, result.signal, result.timed_out) == (3, None, False)
    assert result.output == f"hello\n{tmp_path}\n"
    assert not result.ok
    assert result.reason == f"exited with code 3: {tmp_path}"


async def test_run_hook_signal_is_not_an_exit_code(tmp_path: Path) -> None:
    """A hook that crashed has no exit code."""
    result = await hook(tmp_path, "kill -SEGV $$")
    assert (result.exit_code, result.signal) == (None, 11)
    assert result.reason == "was ended by signal SIGSEGV"


async def test_run_hook_timeout_kills_the_whole_tree(tmp_path: Path) -> None:
    """A hung hook is ended with its children and with the daemon that left its session."""
    script = "trap '' TERM; echo begun; (setsid sleep 60 &); sleep 60 & wait"
    result = await hook(tmp_path, script, timeout_s=0.5)
    assert result.timed_out
    assert result.exit_code is None
    assert result.output == "begun\n"
    assert find_marked(MARK) == []
    assert result.reason.startswith("timed out after")


async def test_run_hook_background_child_does_not_hold_it_up(tmp_path: Path) -> None:
    """A child that keeps the output open neither delays the result nor stays."""
    began = time.monotonic()
    result = await hook(tmp_path, "sleep 60 & echo done")
    assert (result.ok, result.output) == (True, "done\n")
    assert time.monotonic() - began < 15
    assert find_marked(MARK) == []


async def test_run_hook_flood_is_bounded_and_leaves_the_loop_alive(tmp_path: Path) -> None:
    """Output without end costs bounded memory, and other tasks go on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticker = asyncio.create_task(tick())
    result = await hook(tmp_path, "yes 0123456789abcdef", timeout_s=1)
    ticker.cancel()
    assert result.timed_out
    assert len(result.output) == OUTPUT_BYTES_MAX
    assert ticks > 20


async def test_run_hook_long_output_keeps_the_tail(tmp_path: Path) -> None:
    """What is kept of a long output is its end."""
    result = await hook(tmp_path, "seq 1 20000")
    assert result.output.endswith("19999\n20000\n")
    assert len(result.output) == OUTPUT_BYTES_MAX


async def test_run_hook_undecodable_output_is_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 do not make a hook fail."""
    result = await hook(tmp_path, r"printf '\377ok'")
    assert result.output == "\ufffdok"


async def test_run_hook_missing_file_is_a_process_error(tmp_path: Path) -> None:
    """A hook that can't be started is not a hook that failed."""
    with pytest.raises(ProcessError, match="missing"):
        await run_hook(
            [str(tmp_path / "missing")],
            directory=tmp_path,
            environment=ENVIRONMENT,
            mark=new_mark(MARK),
            timeout_s=5,
        )


async def test_run_hook_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    """Cancelling the caller kills the hook before the cancellation goes on."""
    task = asyncio.create_task(hook(tmp_path, "sleep 60"))
    deadline = time.monotonic() + 10
    while not find_marked(MARK):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert find_marked(MARK) == []


async def test_run_hook_many_runs_leak_no_descriptor(tmp_path: Path) -> None:
    """Pipes and pidfds are closed, whatever the end of the hook."""
    await hook(tmp_path, "true")
    before = len(os.listdir("/proc/self/fd"))
    for script, timeout_s in (("true", 20), ("false", 20), ("sleep 9", 0.01)) * 3:
        await hook(tmp_path, script, timeout_s)
    assert len(os.listdir("/proc/self/fd")) == before
