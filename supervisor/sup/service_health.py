"""The health of one service over time: its checks made, their results put together, and the restart
that a failed one asks for (floor 8).

It decides nothing by itself: when a check is due and whether its result counts is
``model.check_machine``, what startup, readiness and liveness amount to ``model.health_verdicts``,
and whether a restart may go ``model.restart_share``. Here are the clock, the chance, the tasks and
the words. A check that raises or does not return in its time is a result too. Only changes of the
verdict are news.

A check of kind ``ttl`` is not made but reported: the service, or who watches it, says how it does
(``report``), and silence for an interval is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sup import events
from sup.edge.loop_lag import LoopLag
from sup.errors import ConflictError, NotFoundError
from sup.model.census import CensusGroup
from sup.model.check_machine import CheckMachine, CheckTimes
from sup.model.health import OUTPUT_BYTES_MAX, CheckResult, Health
from sup.model.health_plan import TTL_KIND, LivenessPlan, ProbePlan, StartupPlan
from sup.model.health_tally import HealthTally
from sup.model.health_verdicts import Verdicts
from sup.model.restart_share import Peer, RestartClaim, ShareTimes
from sup.policies import CheckContext, HealthCheck

logger = logging.getLogger("sup.service")

CHECK_MARGIN_S = 2.0
"""Time beyond its own time-out that a check gets before it is cancelled, to report the time-out
itself.
"""
RESULTS_MAX = 10
"""Results kept of each check, for people."""
RESULT_BYTES_MAX = 256
"""Of the output of each kept result; the verdict's own output is longer."""


@dataclass(frozen=True, slots=True)
class KeptResult:
    """One result of one check. ``at_s`` is Unix seconds; ``counted`` False: it was discarded
    because the supervisor itself was late.
    """

    at_s: float
    health: Health
    elapsed_ms: int
    output: str
    counted: bool


class HealthWatch:
    """Holds the verdicts, and renews them while ``run`` runs (while the process is up)."""

    def __init__(
        self,
        name: str,
        checks: Mapping[str, HealthCheck],
        plans: Mapping[str, ProbePlan],
        rng: random.Random,
        *,
        first_check_s: float,
        bad_interval_s: float,
        interval_s: float | None = None,
        lag: LoopLag | None = None,
        share_times: ShareTimes | None = None,
    ) -> None:
        """``checks`` and ``plans`` are by verdict: ``readiness``, and ``startup`` and ``liveness``
        where there are any. ``interval_s`` overrides that of readiness.
        """
        self.output = ""
        self.since_s = int(time.time())
        self.changed = asyncio.Event()
        """Set whenever what is told of the service's health changes."""
        self.wake = asyncio.Event()
        """Set when a restart is wanted; the service's task puts its own event here."""
        self.checked = asyncio.Event()
        """Set when the first check has run."""
        self.wants_restart = ""
        """Why the process shall be restarted now, in one line, or empty; see ``take_restart``."""
        self.maintenance = ""
        """The reason of the maintenance that the service is in, or empty."""
        self.plans = plans
        self._name = name
        self._checks = checks
        self._rng = rng
        self._lag = lag or LoopLag()
        self._verdicts = Verdicts(
            {
                probe: CheckMachine(
                    CheckTimes.of(
                        plan,
                        first_s=first_check_s,
                        retry_max_s=bad_interval_s,
                        interval_s=interval_s if probe == "readiness" else None,
                    ),
                    HealthTally(
                        plan.failures_before_critical,
                        plan.successes_before_passing,
                        plan.failures_before_warning,
                        ignore_unknown=probe != "readiness",
                    ),
                )
                for probe, plan in plans.items()
            }
        )
        self._results = {probe: deque[KeptResult](maxlen=RESULTS_MAX) for probe in plans}
        self._outputs = dict.fromkeys(plans, "")
        self._reports: dict[str, CheckResult] = {}
        self._soon = {probe: asyncio.Event() for probe in plans}
        self._running = False
        self._shown = Health.UNKNOWN
        self._claim = RestartClaim(share_times or ShareTimes())
        self._me = ""
        self._group: tuple[Peer, ...] = ()
        self._look = asyncio.Event()
        self._hold: asyncio.TimerHandle | None = None

    # ---- what is known ---------------------------------------------------------------------------

    @property
    def verdict(self) -> Health:
        return self._verdicts.health

    @property
    def ready(self) -> bool:
        """Others may use the service: started, ok or warning, and not in maintenance."""
        return self._verdicts.ready and not self.maintenance

    @property
    def restart(self) -> str:
        """What the group is told of a restart for a failed check: nothing, wanted or claimed."""
        return self._claim.claim.value

    @property
    def withheld(self) -> str:
        """Why a restart that a check asks for has not happened yet, in one line, or empty."""
        failed = self._verdicts.failed
        if not failed or self.wants_restart:
            return ""
        why = "the service is in maintenance" if self.maintenance else self._claim.withheld
        return f"restart for the failed {failed} check is withheld: {why}" if why else ""

    def machine(self, probe: str) -> CheckMachine:
        """The state of one check, to be shown."""
        return self._verdicts.machines[probe]

    def active(self, probe: str) -> bool:
        """Whether this check is made at present."""
        return self._running and probe in self._verdicts.active()

    def results(self, probe: str) -> list[KeptResult]:
        """The last results of one check, the newest last."""
        return list(self._results[probe])

    # ---- what comes from outside -----------------------------------------------------------------

    def force(self, verdict: Health, output: str) -> None:
        """A fact that needs no check, such as the end of the process."""
        self._verdicts.force(verdict)
        self.wants_restart = ""
        self._news(output)

    def check_soon(self) -> None:
        """Do the next check now rather than at its time."""
        now_s = self._now()
        for probe in self._verdicts.active():
            self._verdicts.machines[probe].hurry(now_s)
            self._soon[probe].set()

    def report(self, health: Health, output: str, probe: str | None = None) -> None:
        """Take what the service, or who watches it, says; of all its ``ttl`` checks or of one.

        Raises:
            NotFoundError: it has no such check.
            ConflictError: its process is not up.
        """
        there = [name for name, plan in self.plans.items() if plan.kind == TTL_KIND]
        probes = [name for name in there if probe in (None, name)]
        if not probes:
            what = f"{probe} check" if probe else "check"
            raise NotFoundError(
                f'service "{self._name}" has no {what} of kind ttl; set kind = "ttl" in its plan'
            )
        if not self._running:
            raise ConflictError(f'service "{self._name}" is not up; its health is not asked for')
        for name in probes:
            self._reports[name] = CheckResult(health, output)
            self._soon[name].set()

    def see(self, group: CensusGroup, me: str) -> None:
        """What is heard of the group now: who else is in a restart for a failed check."""
        if len(self.plans) == 1:
            return  # readiness restarts nothing
        self._me = me
        self._group = tuple(
            Peer(m.member_id, m.present, m.restart) for m in group.members if m.state != "left"
        )
        self._look.set()

    def set_maintenance(self, reason: str) -> None:
        """The service is in maintenance for ``reason``, or, empty, not any more."""
        if reason != self.maintenance:
            self.maintenance = reason
            self.changed.set()
            self._look.set()

    def take_restart(self) -> str:
        """The reason of the restart that is wanted; whoever takes it, restarts."""
        reason, self.wants_restart = self.wants_restart, ""
        return reason

    def rest(self) -> None:
        """The service is wanted down: it claims no restart."""
        self.wants_restart = ""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        if self._claim.claim.value:
            self._claim.reset(self._now())
            self.changed.set()

    # ---- checking --------------------------------------------------------------------------------

    async def run(self, context: Callable[[str], CheckContext]) -> None:
        """Check for ever; ends by being cancelled, which also ends a check that runs.

        ``context`` gives what a check of this verdict may know.
        """
        self._verdicts.begin(self._now())
        self._reports.clear()
        self._running = True
        self._news(self.output if self.verdict is Health.CRITICAL else "")
        try:
            if len(self.plans) == 1:
                await self._follow("readiness", context)
                return
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_restarts())
                if not self._verdicts.started:
                    await self._follow("startup", context)
                for probe in self._verdicts.active():
                    tasks.create_task(self._follow(probe, context))
        finally:
            self._running = False

    async def _follow(self, probe: str, context: Callable[[str], CheckContext]) -> None:
        """Make one check again and again, for ever; the startup check until it passes."""
        reported = self.plans[probe].kind == TTL_KIND
        while probe in self._verdicts.active():
            if reported:
                await self._await_report(probe)
            else:
                await self._make_check(probe, context)
            self.checked.set()
            self._look.set()

    async def _make_check(self, probe: str, context: Callable[[str], CheckContext]) -> None:
        machine = self._verdicts.machines[probe]
        while (pause_s := machine.due_s - self._now()) > 0:
            await self._pause(probe, pause_s)
        begun_s = self._now()
        machine.begun(begun_s)
        result = CheckResult(Health.UNKNOWN)
        with self._lag.window() as window:
            result = await self._check_once(probe, context)
        self._take(probe, result, self._now() - begun_s, window.late_s)

    async def _await_report(self, probe: str) -> None:
        """One report, or the silence in its place."""
        machine = self._verdicts.machines[probe]
        interval_s = machine.times.interval_s
        begun_s = self._now()
        # A report may follow a discarded silence at once: it lay in the socket meanwhile.
        wait_s = machine.times.retry_s if machine.discarded else interval_s
        while probe not in self._reports and (left_s := begun_s + wait_s - self._now()) > 0:
            await self._pause(probe, left_s)
        machine.begun(begun_s)
        late_s = 0.0
        result = self._reports.pop(probe, None)
        if result is None:
            late_s = self._now() - begun_s - wait_s
            result = CheckResult(Health.CRITICAL, f"no report within {interval_s:g} s")
        self._take(probe, result, 0.0, late_s)

    async def _pause(self, probe: str, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._soon[probe].wait()
        self._soon[probe].clear()

    def _take(self, probe: str, result: CheckResult, elapsed_s: float, late_s: float) -> None:
        now_s = self._now()
        machine = self._verdicts.machines[probe]
        counted = machine.ended(now_s, result.health, late_s=late_s, splay=self._rng.random())
        self._outputs[probe] = output = _tail(result.output, OUTPUT_BYTES_MAX)
        self._results[probe].append(
            KeptResult(
                time.time(),
                result.health,
                result.elapsed_ms or round(elapsed_s * 1000),
                _tail(output, RESULT_BYTES_MAX),
                counted,
            )
        )
        if counted:
            self._verdicts.after(probe, now_s)
            self._news(self._outputs[self._telling()])
        else:
            logger.info(
                "health result discarded name=%s check=%s late_s=%.1f: the supervisor was late",
                self._name,
                probe,
                late_s,
            )

    def _telling(self) -> str:
        """Which check's output explains the verdict."""
        if self._verdicts.failed:
            return self._verdicts.failed
        return "readiness" if self._verdicts.started else "startup"

    async def _check_once(self, probe: str, context: Callable[[str], CheckContext]) -> CheckResult:
        timeout_s = self.plans[probe].timeout
        try:
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with the result.
            async with asyncio.timeout(timeout_s + CHECK_MARGIN_S):
                result = await self._checks[probe].check(context(probe))
            if not (
                isinstance(result, CheckResult)
                and isinstance(result.health, Health)
                and isinstance(result.output, str)
            ):
                raise TypeError(f"it returned {result!r:.80}")  # a plugin's; the watch goes on
            return result
        except TimeoutError:
            return CheckResult(Health.CRITICAL, f"timed out after {timeout_s:.1f} s")
        except Exception as error:
            return CheckResult(Health.UNKNOWN, f"the check failed: {error!r}")

    # ---- restarts --------------------------------------------------------------------------------

    async def _follow_restarts(self) -> None:
        """Ask for the restart that a failed check wants, as soon as the group's share allows."""
        while True:
            self._look.clear()
            wait_s = self._step_claim()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._look.wait()

    def _step_claim(self) -> float | None:
        before = (self._claim.claim, self._claim.withheld)
        failed = "" if self.maintenance or not self._running else self._verdicts.failed
        go, wait_s = self._claim.step(
            self._now(),
            wants=bool(failed),
            ready=self._verdicts.ready,
            me=self._me,
            group=self._group,
            share=self._share(failed),
        )
        if not failed:
            self.wants_restart = ""
        elif go and not self.wants_restart:
            failures = self._verdicts.machines[failed].tally.failures
            last = _last_line(self._outputs[failed])
            self.wants_restart = f"{failed} check failed {failures} times in a row" + (
                f": {last}" if last else ""
            )
            self._hold_claim()
            self.wake.set()
        if before != (self._claim.claim, self._claim.withheld):
            if self._claim.withheld:
                logger.warning("restart withheld name=%s: %s", self._name, self._claim.withheld)
                events.tell("health", self._name, self.withheld)
            self.changed.set()
        return wait_s

    def _share(self, failed: str) -> float:
        plan = self.plans.get(failed)
        return plan.restart_share if isinstance(plan, (StartupPlan, LivenessPlan)) else 1.0

    def _hold_claim(self) -> None:
        """See to it that the claim ends even when no process comes up any more."""
        if self._hold is not None:
            self._hold.cancel()
        loop = asyncio.get_running_loop()
        self._hold = loop.call_later(self._claim.times.hold_s + 1.0, self._step_claim)

    # ---- small things ----------------------------------------------------------------------------

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _news(self, output: str) -> None:
        self.output = _tail(output, OUTPUT_BYTES_MAX)
        before, verdict = self._shown, self.verdict
        if verdict is not before:
            self._shown = verdict
            self.since_s = int(time.time())
            self.changed.set()
            last = _last_line(self.output)
            logger.log(
                logging.INFO if verdict in (Health.OK, Health.UNKNOWN) else logging.WARNING,
                "health %s name=%s was=%s output=%r",
                verdict.word,
                self._name,
                before.word,
                last,
            )
            events.tell(
                "health",
                self._name,
                f"{verdict.word}{f': {last}' if last else ''}",
                was=before.word,
                health=verdict.word,
            )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""


def _tail(text: str, bytes_max: int) -> str:
    return text.encode("utf-8", "replace")[-bytes_max:].decode("utf-8", "ignore")
