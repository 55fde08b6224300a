"""Work paced by a clock of the test: first at once, then at a bounded rate, nothing lost."""

from __future__ import annotations

import asyncio

from sup.pace import REST_FACTOR, Pace


class Time:
    """A clock that moves when work is done; sleeps last until the test says."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.cost_s = cost_s
        self.done = 0
        self.pauses: list[float] = []
        self.awake = asyncio.Event()

    def work(self) -> None:
        self.done += 1
        self.now_s += self.cost_s

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.awake.clear()
        await self.awake.wait()


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_pace_burst_of_wishes_is_the_first_at_once_and_one_after_the_pause() -> None:
    """A thousand events cost two rounds of work, and the last one is not lost."""
    time = Time()
    pace = Pace(time.work, interval_s=0.1, clock=lambda: time.now_s, sleep=time.sleep)
    loop = asyncio.create_task(pace.follow())
    pace.wish()
    await steps()
    assert (time.done, time.pauses) == (1, [0.1])
    for _ in range(1000):
        pace.wish()
        await asyncio.sleep(0)
    assert time.done == 1
    time.awake.set()
    await steps()
    assert time.done == 2
    time.awake.set()
    await steps()
    assert time.done == 2, "work without a wish"
    loop.cancel()


async def test_pace_long_work_rests_in_proportion() -> None:
    """A view that takes 50 ms must not be made ten times a second."""
    time = Time(cost_s=0.5)
    pace = Pace(time.work, interval_s=0.1, clock=lambda: time.now_s, sleep=time.sleep)
    loop = asyncio.create_task(pace.follow())
    pace.wish()
    await steps()
    assert time.pauses == [REST_FACTOR * 0.5]
    loop.cancel()
