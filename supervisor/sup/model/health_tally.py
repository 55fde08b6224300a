"""Hysteresis of health: how many results in a row change the verdict (pure).

One critical result of a busy service is not an outage and one good result of a flapping service is
not a recovery. The verdict is what is gossiped and what rollouts wait for, so only it counts;
single results are shown locally. A state machine of counters; no clock. Thresholds in a row as
Consul has them.

A result fails (critical, unknown) or passes (ok, warning). Failing results in a row count together,
so that a check which is critical and broken in turns still becomes critical.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sup.model.health import Health

FAILING = (Health.CRITICAL, Health.UNKNOWN)


@dataclass(slots=True)
class HealthTally:
    """The verdict on one service. A fresh one knows nothing: ``UNKNOWN``.

    Critical needs ``failures_before_critical`` failing results in a row, unknown as many unknown
    ones; before that, ``failures_before_warning`` of them make an ok service a warning (0: never).
    To become ok needs ``successes_before_passing`` ok results in a row, and to come back from
    critical or unknown as many passing ones. From ok to warning it is one result. With
    ``ignore_unknown`` an unknown result changes nothing: a check that could not be made is no
    reason to restart anything.
    """

    failures_before_critical: int = 1
    successes_before_passing: int = 1
    failures_before_warning: int = 0
    ignore_unknown: bool = False
    verdict: Health = Health.UNKNOWN
    failures: int = field(default=0, init=False)
    """Failing results in a row, up to now."""
    passes: int = field(default=0, init=False)
    """Passing results in a row, up to now."""
    _oks: int = field(default=0, init=False)
    _unknowns: int = field(default=0, init=False)

    def add(self, result: Health) -> Health:
        """Count one result and return the verdict after it."""
        if result is Health.UNKNOWN and self.ignore_unknown:
            return self.verdict
        if result in FAILING:
            self.failures += 1
            self.passes = self._oks = 0
            self._unknowns = self._unknowns + 1 if result is Health.UNKNOWN else 0
            self._fail()
        else:
            self.passes += 1
            self.failures = self._unknowns = 0
            self._oks = self._oks + 1 if result is Health.OK else 0
            self._pass(result)
        return self.verdict

    def force(self, verdict: Health) -> None:
        """Set the verdict by a fact that needs no check (the process is gone), and start counting
        anew.
        """
        self.verdict = verdict
        self.failures = self.passes = self._oks = self._unknowns = 0

    def _fail(self) -> None:
        if self._unknowns >= self.failures_before_critical:
            self.verdict = Health.UNKNOWN
        elif self.failures >= self.failures_before_critical:
            self.verdict = Health.CRITICAL
        elif self.verdict is Health.OK and 0 < self.failures_before_warning <= self.failures:
            self.verdict = Health.WARNING

    def _pass(self, result: Health) -> None:
        if self._oks >= self.successes_before_passing:
            self.verdict = Health.OK
        elif self.verdict is Health.OK:
            self.verdict = result
        elif self.passes >= self.successes_before_passing:
            self.verdict = Health.WARNING
