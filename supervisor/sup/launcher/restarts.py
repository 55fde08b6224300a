"""When a supervisor that died is started again (pure).

Three rules, so that a supervisor that was killed is back at once and no fault makes a hot loop:

1. It had been ready for ``READY_US`` or more: at once.
2. It had been ready for less: ``READY_US`` after it became ready, so a turn takes at least that.
3. It never became ready: decorrelated jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015)
   from ``WAIT_MIN_US`` to ``WAIT_MAX_US`` with a floor that grows by a third each time; one that
   becomes ready ends the row.

Rules 1 and 2 draw on an allowance of ``BURST`` restarts that comes back at one per
``REFILL_US``; without any left the wait is until the next one, so in the long run a supervisor that
comes up and dies again is started once in three seconds. Times are µs of any clock that never goes
back. Neighbour: ``sup.model.backoff`` has the same growth for services.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

READY_US = 500_000
WAIT_MIN_US = 100_000
"""After a start that failed for a passing reason (killed while it came up) it is soon back."""
WAIT_MAX_US = 60_000_000
GROWTH = 4 / 3
BURST = 200
REFILL_US = 3_000_000


class Restarts:
    """The waits of one supervisor. ``draw`` gives numbers from 0 up to but not 1."""

    __slots__ = ("allowance_us", "at_us", "failures", "previous_us")

    def __init__(self) -> None:
        self.failures = 0
        """Starts in a row that never became ready."""
        self.previous_us = 0
        self.allowance_us = BURST * REFILL_US
        """What is left, in µs: a restart costs ``REFILL_US`` and a µs brings one µs back."""
        self.at_us = 0

    def wait_us(self, now_us: int, ready_us: int | None, draw: Callable[[], float]) -> int:
        """The wait after a death at ``now_us`` of one that had been ready for ``ready_us``."""
        passed = now_us - self.at_us if self.at_us else 0
        self.at_us = now_us
        self.allowance_us = min(BURST * REFILL_US, self.allowance_us + max(0, passed))
        if ready_us is None:
            return self._backoff_us(draw)
        self.failures = self.previous_us = 0
        short = max(0, READY_US - ready_us)
        self.allowance_us -= REFILL_US
        return max(short, -self.allowance_us)

    def _backoff_us(self, draw: Callable[[], float]) -> int:
        floor = WAIT_MIN_US * GROWTH ** min(self.failures, 60)
        floor = min(floor, WAIT_MAX_US / 3)
        top = max(floor, min(WAIT_MAX_US, 3 * (self.previous_us or WAIT_MIN_US)))
        self.failures += 1
        self.previous_us = int(floor + draw() * (top - floor))
        return self.previous_us

    def save(self) -> list[int]:
        """What ``load`` makes the same again of."""
        return [self.failures, self.previous_us, self.allowance_us, self.at_us]

    def load(self, saved: list[Any]) -> None:
        self.failures, self.previous_us, self.allowance_us, self.at_us = (int(n) for n in saved)
