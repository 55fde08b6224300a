"""Logs over the REST interface: one reading as a bounded stream of bytes, for two servers.

It decides how many may read at once, how often a log that is followed is looked at, and when a
reading ends. The disk is the buffer: a slow reader costs no memory, and falls behind until the
lines that it has not read are rotated away, which it is told. ``sup.control`` and
``sup.gateway_http`` write the stream and drop a reader that takes nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sup.edge.log_reader import LogReader
from sup.errors import ExitCode, OperatorError
from sup.model.log_lines import DAY_OVER, UNLOADED, LogQuery, line_json, notice, parse_line

STREAMS_MAX = 32
"""Readings at once, followed or not: each costs a connection, a file and a poll."""
POLL_MIN_S = 0.05
POLL_MAX_S = 0.4
"""A log that is followed is looked at so often while lines come, and when none have for a while."""
THREADS = 2
"""Of their own: a hung disk must not take the threads that the supervisor's state is kept with."""
FOLLOW_SECONDS_MAX = 24 * 3600.0
TICK_S = 2.0
"""A stream gives nothing (``b""``) so often when no line comes, so that its server can look whether
the reader is still there.
"""


class LogStreams:
    """All readings of one supervisor."""

    def __init__(self) -> None:
        self.open = 0
        """Readings under way."""
        self._threads: ThreadPoolExecutor | None = None

    def stream(
        self, directory: Path, name: str, query: LogQuery, is_loaded: Callable[[], bool]
    ) -> AsyncGenerator[bytes]:
        """The lines asked for; with ``follow``, on and on while ``is_loaded``.

        The reading counts from its first line until the iterator is closed.

        Raises:
            OperatorError: too many read already.
        """
        if self.open >= STREAMS_MAX:
            raise OperatorError(
                f"{STREAMS_MAX} logs are being read already; try again when one has ended",
                ExitCode.CONFLICT,
            )
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "logs")
        return self._run(self._threads, directory, name, query, is_loaded)

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        directory: Path,
        name: str,
        query: LogQuery,
        is_loaded: Callable[[], bool],
    ) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        reader = LogReader(directory, name, query)
        end_s = loop.time() + FOLLOW_SECONDS_MAX
        pause_s = POLL_MIN_S
        quiet_s = 0.0
        self.open += 1
        try:
            while True:
                lines = await loop.run_in_executor(threads, reader.read)
                if lines:
                    pause_s, quiet_s = POLL_MIN_S, 0.0
                    yield _form(lines, name, query)
                elif not query.follow:
                    return
                elif not is_loaded() or loop.time() > end_s:
                    words = DAY_OVER if is_loaded() else UNLOADED
                    yield own_line(words, name, query)
                    return
                else:
                    await asyncio.sleep(pause_s)
                    quiet_s += pause_s
                    pause_s = min(POLL_MAX_S, 1.5 * pause_s)
                    if quiet_s > TICK_S:
                        quiet_s = 0.0
                        yield b""
        finally:
            self.open -= 1
            # In the thread, behind a read that was given up but goes on.
            with contextlib.suppress(RuntimeError):  # the threads have ended with the supervisor
                threads.submit(reader.close)


def stamp_now() -> bytes:
    """The stamp of this moment, for a line of ours."""
    now_us = time.time_ns() // 1000
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_us // 1_000_000))
    return f"{seconds}.{now_us % 1_000_000:06d}Z".encode()


def own_line(words: str, name: str, query: LogQuery) -> bytes:
    """A line of ours, in the form that was asked for."""
    return _form(notice(words, stamp_now()), name, query)


def _form(lines: bytes, name: str, query: LogQuery) -> bytes:
    if not query.as_json:
        return lines
    return b"".join(line_json(parse_line(line), name) + b"\n" for line in lines[:-1].split(b"\n"))
