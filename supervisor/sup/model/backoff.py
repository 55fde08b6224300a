"""How long to wait before a service that ended is started again (pure).

Decorrelated jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015): each wait is drawn
between a floor and three times the wait before, up to ``max_s``. The published form has a
constant floor, so an unlucky generator could wait ``min_s`` for ever; here the floor grows by
``FLOOR_GROWTH`` with each failure until ``max_s / 3``. With the defaults the n-th wait is at
least 1.3^n seconds and 1 + 1.3 + … + 1.3^10 = 56.4 s, so no generator makes more than 12 starts
in the first minute. Above ``max_s / 3`` the floor stays, so that hosts which failed together
never come back in step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

FLOOR_GROWTH = 1.3
"""Growth of the shortest wait per failure; higher recovers later, lower allows more starts per
minute."""
WAIT_S_MIN = 0.1
"""The least ``min_s``: below it a broken service is a hot loop."""


@dataclass(slots=True)
class Backoff:
    """Waits of one service, in seconds.

    A run of at least ``stable_for_s`` counts as recovered: the next wait is as after the first
    failure.
    """

    min_s: float = 1.0
    max_s: float = 60.0
    stable_for_s: float = 60.0
    failures: int = field(default=0, init=False)
    """Failures since the last stable run."""
    _previous_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not WAIT_S_MIN <= self.min_s <= self.max_s:
            raise ValueError(
                f"backoff is {self.min_s} s to {self.max_s} s; need {WAIT_S_MIN} <= min_s <= max_s"
            )
        if self.stable_for_s <= 0:
            raise ValueError(f"stable_for_s is {self.stable_for_s}; need more than 0")

    def next(self, rng: random.Random, *, up_s: float = 0.0) -> float:
        """Seconds to wait after a process that had been up for ``up_s`` seconds; counts one
        failure."""
        if up_s >= self.stable_for_s:
            self.reset()
        # The exponent is bounded so that years of failures can't overflow a float.
        floor = self.min_s * FLOOR_GROWTH ** min(self.failures, 100)
        floor = max(self.min_s, min(floor, self.max_s / 3))
        previous = self._previous_s or self.min_s
        # The range is cut, not the draw: a cut draw would be max_s for most hosts, all at once.
        wait = rng.uniform(floor, max(floor, min(self.max_s, 3 * previous)))
        wait = min(self.max_s, max(self.min_s, wait))  # rounding may leave the range by one ulp
        self._previous_s = wait
        self.failures += 1
        return wait

    def reset(self) -> None:
        """Forget the failures: the operator said start, or the package or configuration changed."""
        self.failures = 0
        self._previous_s = 0.0
