"""Run one hook of a service: off the main loop's back, bounded in time, output and processes.

A hook runs in a session of its own, as the service's user, with both output streams in one pipe
that the loop reads without ever waiting on it. Only the tail is kept; a hook that floods is read at
a bounded rate, so it is slowed down and the supervisor is not. When the hook has exited, or its
time is up, everything that it started and left behind is killed: a hook is an act, not a place to
start daemons (that is what ``run`` is for), and a check that leaks a process every few seconds must
not fill the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sup.edge.processes import UMASK, Exit, spawn
from sup.edge.users import Credentials

OUTPUT_BYTES_MAX = 16 * 1024
"""Tail of a hook's output that is kept."""
READ_BYTES = 64 * 1024
"""One read: the capacity of a pipe."""
READ_AT_ONCE_BYTES = 1024 * 1024
"""What a hook may say before its reading is paced to one read per ``READ_PAUSE_S``."""
READ_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class HookResult:
    """How a hook ended. ``exit_code`` is None when a signal or the time-out ended it, or it never
    ran.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    output: str
    elapsed_ms: int
    stdout: str = ""
    """Tail of stdout alone, where it was asked for."""

    @property
    def ok(self) -> bool:
        """It exited by itself with code 0."""
        return self.exit_code == 0

    @property
    def reason(self) -> str:
        """How it ended in a few words, with the last line that it said."""
        if self.timed_out:
            how = f"timed out after {self.elapsed_ms / 1000:.1f} s"
        elif self.signal is not None:
            how = f"was ended by {Exit(signal=self.signal)}"
        elif self.exit_code is None:
            how = "did not run"
        else:
            how = f"exited with code {self.exit_code}"
        last = next((line for line in reversed(self.output.splitlines()) if line.strip()), "")
        return f"{how}: {last.strip()[:200]}" if last else how


async def run_hook(
    argv: Sequence[str],
    *,
    directory: str | Path,
    environment: Mapping[str, str],
    mark: str,
    timeout_s: float,
    credentials: Credentials | None = None,
    umask: int = UMASK,
    separate: bool = False,
) -> HookResult:
    """Run the hook and wait for its end. Cancelling it kills the hook's whole tree first.

    ``separate`` keeps stdout apart, for a hook whose answer is there: then ``output`` has stdout
    first and stderr behind it, not as they came.

    Raises:
        ProcessError: it could not be executed.
    """
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    with contextlib.ExitStack() as reading, contextlib.ExitStack() as writing:
        tails, ends = [], []
        for _ in range(2 if separate else 1):
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
            writing.callback(os.close, write_fd)
            os.set_blocking(read_fd, False)
            tail = _Tail(read_fd)
            reading.callback(tail.close)
            tails.append(tail)
            ends.append(write_fd)
        with writing.pop_all():
            process = await spawn(
                argv,
                directory=directory,
                environment=environment,
                mark=mark,
                output=ends[0],
                errors=ends[-1],
                credentials=credentials,
                umask=umask,
            )
        timed_out = False
        end = Exit()
        try:
            async with asyncio.timeout(timeout_s):
                end = await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            await process.clear()
    return HookResult(
        exit_code=None if timed_out else end.code,
        signal=None if timed_out else end.signal,
        timed_out=timed_out,
        output="".join(tail.text() for tail in tails),
        elapsed_ms=round((loop.time() - started_s) * 1000),
        stdout=tails[0].text() if separate else "",
    )


class _Tail:
    """Keeps the last ``OUTPUT_BYTES_MAX`` bytes of a pipe that the loop reads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._kept = bytearray()
        self._read = 0
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._handle_readable)

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        """Take what is in the pipe now and close it; a process that still holds the other end is
        ignored.
        """
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._fd)
        self._take()
        os.close(self._fd)

    def _handle_readable(self) -> None:
        if not self._take():
            self._loop.remove_reader(self._fd)
        elif self._read > READ_AT_ONCE_BYTES:
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(READ_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._fd, self._handle_readable)

    def _take(self) -> int:
        """One read; 0 at the end of the stream."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, READ_BYTES)
            self._read += len(data)
            self._kept += data
            del self._kept[:-OUTPUT_BYTES_MAX]
            return len(data)
        return 1
