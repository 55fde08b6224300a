"""Hysteresis of health: how many results in a row change the verdict (pure).

One critical result of a busy service is not an outage and one good result of a flapping service is
not a recovery. The verdict is what is gossiped and what rollouts wait for, so only it counts;
single results are shown locally. A state machine of two counters; no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sup.model.health import Health


@dataclass(slots=True)
class HealthTally:
    """The verdict on one service. A fresh one knows nothing: ``UNKNOWN``.

    Critical needs ``failures_before_critical`` critical results in a row; ok needs
    ``successes_before_passing`` ok results in a row; warning and unknown take effect at once.
    """

    failures_before_critical: int = 1
    successes_before_passing: int = 1
    verdict: Health = Health.UNKNOWN
    _last: Health | None = field(default=None, init=False)
    _in_a_row: int = field(default=0, init=False)

    def add(self, result: Health) -> Health:
        """Count one result and return the verdict after it."""
        self._in_a_row = self._in_a_row + 1 if result is self._last else 1
        self._last = result
        needed = {
            Health.CRITICAL: self.failures_before_critical,
            Health.OK: self.successes_before_passing,
        }.get(result, 1)
        if self._in_a_row >= needed:
            self.verdict = result
        return self.verdict

    def force(self, verdict: Health) -> None:
        """Set the verdict by a fact that needs no check (the process is gone), and start counting
        anew.
        """
        self.verdict = verdict
        self._last = None
        self._in_a_row = 0
