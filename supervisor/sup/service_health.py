"""The health of one service over time: when it is checked, and what the results amount to (floor
8).

A check runs soon after the start, then every interval; the second one comes at a random moment of
the first interval, so that hosts which were started together do not check together. While a service
is not ok it is checked faster. Checks of one service never overlap; a check that raises or does not
return in its time is a result too. The verdict follows ``HealthTally``; only its changes are news.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from sup.model.health import OUTPUT_BYTES_MAX, CheckResult, Health
from sup.model.health_plan import HealthPlan
from sup.model.health_tally import HealthTally
from sup.policies import CheckContext, HealthCheck

logger = logging.getLogger("sup.service")

CHECK_MARGIN_S = 2.0
"""Time beyond its own time-out that a check gets before it is cancelled, to report the time-out
itself.
"""


class HealthWatch:
    """Holds the verdict, and renews it while ``run`` runs (while the process is up)."""

    def __init__(
        self,
        name: str,
        check: HealthCheck,
        plan: HealthPlan,
        rng: random.Random,
        *,
        interval_s: float,
        first_check_s: float,
        bad_interval_s: float,
    ) -> None:
        self.output = ""
        self.since_s = int(time.time())
        self.changed = asyncio.Event()
        """Set whenever the verdict changes."""
        self.wake: asyncio.Event | None = None
        """Set, when there is one, together with ``wants_restart``."""
        self.wants_restart = ""
        """Why the process should be started anew; empty: it need not."""
        self.checked = asyncio.Event()
        """Set when the first check has run."""
        self._name = name
        self._check = check
        self._rng = rng
        self._interval_s = interval_s
        self._first_check_s = first_check_s
        self._bad_interval_s = min(interval_s, bad_interval_s)
        self._tally = HealthTally(plan.failures_before_critical, plan.successes_before_passing)
        self._soon = asyncio.Event()

    @property
    def verdict(self) -> Health:
        return self._tally.verdict

    def force(self, verdict: Health, output: str) -> None:
        """A fact that needs no check, such as the end of the process."""
        before = self._tally.verdict
        self._tally.force(verdict)
        self._news(before, output)

    def take_restart(self) -> str:
        """The wish for a restart, which is no wish any more."""
        reason, self.wants_restart = self.wants_restart, ""
        return reason

    def check_soon(self) -> None:
        """Do the next check now rather than at its time."""
        self._soon.set()

    async def run(self, context: Callable[[], CheckContext]) -> None:
        """Check for ever; ends by being cancelled, which also ends a check that runs."""
        await asyncio.sleep(min(self._first_check_s, self._interval_s))
        splayed = False
        while True:
            self._soon.clear()
            result = await self._check_once(context())
            before = self._tally.verdict
            self._tally.add(result.health)
            self._news(before, result.output)
            self.checked.set()
            wait_s = self._bad_interval_s
            if result.health is Health.OK and self.verdict is Health.OK:
                wait_s = self._interval_s
                if not splayed:
                    wait_s = self._rng.uniform(0.1, 1.0) * self._interval_s
                    splayed = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._soon.wait()

    async def _check_once(self, context: CheckContext) -> CheckResult:
        try:
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with the result.
            async with asyncio.timeout(context.timeout_s + CHECK_MARGIN_S):
                result = await self._check.check(context)
            if not (
                isinstance(result, CheckResult)
                and isinstance(result.health, Health)
                and isinstance(result.output, str)
            ):
                raise TypeError(f"it returned {result!r:.80}")  # a plugin's; the watch goes on
            return result
        except TimeoutError:
            return CheckResult(Health.CRITICAL, f"timed out after {context.timeout_s:.1f} s")
        except Exception as error:
            return CheckResult(Health.UNKNOWN, f"the check failed: {error!r}")

    def _news(self, before: Health, output: str) -> None:
        self.output = output.encode("utf-8", "replace")[-OUTPUT_BYTES_MAX:].decode(
            "utf-8", "ignore"
        )
        if self.verdict is not before:
            self.since_s = int(time.time())
            self.changed.set()
            lines = self.output.strip().splitlines()
            logger.log(
                logging.INFO if self.verdict in (Health.OK, Health.UNKNOWN) else logging.WARNING,
                "health %s name=%s was=%s output=%r",
                self.verdict.word,
                self._name,
                before.word,
                lines[-1][:200] if lines else "",
            )
