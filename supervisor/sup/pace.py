"""Work that must follow changes, but not each of them: the first at once, then so often at most.

A ring of a thousand members in motion brings many events a second, and each would remake the whole
view. So a wish only sets a flag: whatever was wished while the work or the pause after it lasted is
one more round of work. The pause also grows with the work, so that it never takes more than its
share of a core. Nothing wished is ever lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

INTERVAL_S = 0.1
"""Ten views a second: faster than an operator sees, slower than any burst of events."""
REST_FACTOR = 4.0
"""The pause is at least this many times as long as the work: a fifth of a core at most."""


class Pace:
    """Does ``work`` soon after each ``wish``, at a bounded rate; ``follow`` is its loop."""

    def __init__(
        self,
        work: Callable[[], None],
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._work = work
        self._interval_s = interval_s
        self._clock = clock
        self._sleep = sleep
        self._wished = asyncio.Event()

    def wish(self) -> None:
        """Have the work done, soon; any number of wishes before that are one."""
        self._wished.set()

    async def follow(self) -> None:
        """Work as wished, for ever; what ``work`` raises ends it."""
        while True:
            await self._wished.wait()
            self._wished.clear()
            begun_s = self._clock()
            self._work()
            await self._sleep(max(self._interval_s, REST_FACTOR * (self._clock() - begun_s)))
