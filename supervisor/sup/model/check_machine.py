"""One check of one service over time: when it begins, whether its result counts, what it amounts to
(pure; seconds of a monotonic clock come in).

Theory of operation. A check is due at a time, runs, ends, and is due again; it never overlaps
itself. The interval is from beginning to beginning, so that a check which hangs until its time-out
makes the verdict no later than one that fails at once. What was due while nobody could look (the
supervisor was stopped, the host slept) is one check, not many: the next time is reckoned from the
check that ran, never from the one that was missed. After the first check the next one comes at a
random moment of the interval, which keeps hosts that were started together apart from then on.
While results are not ok it is checked at the retry interval.

A supervisor that was itself stopped or starved while a check ran can't tell a slow service from its
own lateness (Lifeguard's idea: Dadgar et al. 2017, suspect yourself first). Such a failing result
is *discarded* and the check made anew, but not for ever: of a supervisor that is always late, every
``DISCARDS_MAX`` + 1st result counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sup.model.health import Health
from sup.model.health_plan import ProbePlan
from sup.model.health_tally import FAILING, HealthTally

DISCARDS_MAX = 3
"""Failing results in a row that a late supervisor may put down to itself."""
STALL_S = 0.5
"""Lateness of the supervisor's own timers within one check that puts its failing result in doubt;
below it is an ordinary busy moment."""
STALL_SHARE = 0.1
"""The same as a part of the check's time-out; the larger of the two counts."""
SPLAY_MIN = 0.1
"""The first interval is cut to this part of itself at least."""
PAUSE_SHARE = 0.1
"""Of the interval, from the end of a check to the next: one that always takes longer than its
interval must not run without a break."""


@dataclass(frozen=True, slots=True)
class CheckTimes:
    """When to check, seconds. ``first_s`` is from the start of the process to the first check."""

    interval_s: float
    retry_s: float
    timeout_s: float
    first_s: float

    @classmethod
    def of(
        cls, plan: ProbePlan, *, first_s: float, retry_max_s: float, interval_s: float | None = None
    ) -> CheckTimes:
        """The times of a plan; ``interval_s`` overrides its interval."""
        interval_s = interval_s or plan.interval
        retry_s = min(interval_s, plan.retry_interval, retry_max_s)
        return cls(interval_s, retry_s, plan.timeout, min(first_s, interval_s))


@dataclass(slots=True)
class CheckMachine:
    """One check: ``begin`` starts it, then ``begun`` and ``ended`` take turns."""

    times: CheckTimes
    tally: HealthTally
    due_s: float = field(default=0.0, init=False)
    """When the next check shall begin."""
    discarded: int = field(default=0, init=False)
    """Failing results in a row that were not counted."""
    running: bool = field(default=False, init=False)
    _begun_s: float = field(default=0.0, init=False)
    _splayed: bool = field(default=False, init=False)

    @property
    def verdict(self) -> Health:
        return self.tally.verdict

    def begin(self, now_s: float) -> None:
        """The process is there: the first check is due soon after."""
        self.running = self._splayed = False
        self.discarded = 0
        self.due_s = now_s + self.times.first_s

    def hurry(self, now_s: float) -> None:
        """Have the next check at once."""
        self.due_s = min(self.due_s, now_s)

    def begun(self, now_s: float) -> None:
        """A check begins now. Raises ``RuntimeError`` when one runs already."""
        if self.running:
            raise RuntimeError("a check began while one runs")
        self.running = True
        self._begun_s = now_s

    def ended(self, now_s: float, result: Health, *, late_s: float, splay: float) -> bool:
        """Take the result of the check that runs; False: it was discarded.

        ``late_s`` is how late the supervisor's own timers were meanwhile, ``splay`` in [0, 1) is
        drawn anew for each call.
        """
        if not self.running:
            raise RuntimeError("a check ended and none runs")
        self.running = False
        if (
            result in FAILING
            and late_s >= max(STALL_S, STALL_SHARE * self.times.timeout_s)
            and self.discarded < DISCARDS_MAX
        ):
            self.discarded += 1
            self.due_s = self._next(now_s, self.times.retry_s)
            return False
        self.discarded = 0
        self.tally.add(result)
        if result is not Health.OK or self.verdict is not Health.OK:
            self.due_s = self._next(now_s, self.times.retry_s)
        elif self._splayed:
            self.due_s = self._next(now_s, self.times.interval_s)
        else:
            self._splayed = True
            part = SPLAY_MIN + (1.0 - SPLAY_MIN) * splay
            self.due_s = self._next(now_s, part * self.times.interval_s)
        return True

    def _next(self, now_s: float, interval_s: float) -> float:
        return max(self._begun_s + interval_s, now_s + PAUSE_SHARE * interval_s)
