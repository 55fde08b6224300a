"""How late the event loop was: the supervisor's own health, for whoever must not blame others.

A timer ticks while somebody watches, and only then. Whatever kept the loop from running it in time
(SIGSTOP, a host without memory, a long computation) kept it from everything else too. A stop is
seen at its end, before the tick itself has run: the tick that is overdue counts as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

TICK_S = 0.25
ORDINARY_S = 0.05
"""Lateness of one tick that is not worth a word: a busy moment, a coarse timer."""


@dataclass(slots=True)
class LagWindow:
    """Seconds that the loop was late while the window was open; final when it is closed."""

    late_s: float = 0.0


class LoopLag:
    """The lateness of the loop that it is first used in; shared by any number of windows."""

    def __init__(self) -> None:
        self._windows = 0
        self._expected_s = 0.0
        self._total_s = 0.0
        self._tick: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def window(self) -> Iterator[LagWindow]:
        """Watch while the block runs."""
        loop = asyncio.get_running_loop()
        window = LagWindow()
        if self._windows == 0:
            self._arm(loop)
        self._windows += 1
        before_s = self._late_s(loop)
        try:
            yield window
        finally:
            window.late_s = self._late_s(loop) - before_s
            self._windows -= 1
            if self._windows == 0 and self._tick is not None:
                self._tick.cancel()
                self._tick = None

    def _late_s(self, loop: asyncio.AbstractEventLoop) -> float:
        return self._total_s + max(0.0, loop.time() - self._expected_s - ORDINARY_S)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expected_s = loop.time() + TICK_S
        self._tick = loop.call_at(self._expected_s, self._handle_tick, loop)

    def _handle_tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._total_s = self._late_s(loop)
        self._arm(loop)
