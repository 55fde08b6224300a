"""How late the loop was, as a window sees it."""

from __future__ import annotations

import asyncio
import time

from sup.edge.loop_lag import LoopLag


def stand_still(seconds: float) -> None:
    """Keep the loop from running, as SIGSTOP of the supervisor does."""
    time.sleep(seconds)


async def test_window_sees_the_time_that_the_loop_stood_still() -> None:
    """Whether the tick or the window's end comes first after it."""
    lag = LoopLag()
    with lag.window() as window:
        stand_still(0.6)
    at_end = window.late_s
    with lag.window() as window:
        await asyncio.sleep(0)
        stand_still(0.6)
        await asyncio.sleep(0.3)
    assert 0.2 < at_end < 0.7
    assert 0.2 < window.late_s < 0.9


async def test_window_of_a_free_loop_sees_nothing_and_leaves_no_timer() -> None:
    """A wait is no lateness; nothing ticks when nobody watches."""
    lag = LoopLag()
    with lag.window() as outer, lag.window() as inner:
        await asyncio.sleep(0.6)
    assert outer.late_s < 0.2
    assert inner.late_s < 0.2
    assert lag._tick is None
