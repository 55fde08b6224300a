"""Health of a service over time: checks, reports, restarts, with checks made of lists."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.service.conftest import until

from sup.errors import ConflictError, NotFoundError
from sup.model.census import CensusGroup
from sup.model.health import CheckResult, Health
from sup.model.health_plan import HealthPlan, LivenessPlan, StartupPlan
from sup.model.restart_share import ShareTimes
from sup.policies import CheckContext
from sup.service_health import RESULTS_MAX, HealthWatch
from sup.testing import make_group, make_member

OK, WARNING, CRITICAL, UNKNOWN = Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN
ME = make_member(2).member_id


class Script:
    """A check whose result is what ``health`` is set to; counts how often it was asked."""

    def __init__(self, health: Health = OK) -> None:
        self.health = health
        self.asked = 0
        self.act: Callable[[], Any] = lambda: None
        self.wait_s = 0.0

    async def check(self, context: CheckContext) -> CheckResult:
        self.asked += 1
        self.act()
        await asyncio.sleep(self.wait_s)
        return CheckResult(self.health, f"{self.health.word} {self.asked}")


def watch_of(
    readiness: Script | None = None, share_times: ShareTimes | None = None, **more: Any
) -> HealthWatch:
    """A fast watch; ``more`` maps ``startup`` and ``liveness`` to (check, plan)."""
    checks = {name: check for name, (check, _) in more.items()}
    plans = {name: plan for name, (_, plan) in more.items()}
    readiness_plan = plans.pop("readiness_plan", HealthPlan(interval=0.05, retry_interval=0.05))
    checks.pop("readiness_plan", None)
    return HealthWatch(
        "web",
        {"readiness": readiness or Script(), **checks},
        {"readiness": readiness_plan, **plans},
        random.Random(1),
        first_check_s=0.01,
        bad_interval_s=0.05,
        share_times=share_times or ShareTimes(0.05, 0.1, 5.0),
    )


FAST = {"interval": 0.03, "retry_interval": 0.03}


def context(probe: str) -> CheckContext:
    return CheckContext("web", "/", None, True, 1.0)


@asynccontextmanager
async def running(watch: HealthWatch) -> AsyncIterator[None]:
    """The watch runs while the block does."""
    task = asyncio.create_task(watch.run(context))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def stand_still(seconds: float) -> None:
    """Keep the loop from running, as SIGSTOP of the supervisor does."""
    time.sleep(seconds)


async def test_watch_keeps_the_last_results_with_their_times() -> None:
    """The newest last, bounded, each with how long it took."""
    check = Script()
    watch = watch_of(check)
    async with running(watch):
        await until(lambda: check.asked > RESULTS_MAX + 2)
    results = watch.results("readiness")
    assert len(results) == RESULTS_MAX
    assert all(result.counted and result.health is OK for result in results)
    assert results[0].at_s < results[-1].at_s <= time.time()


async def test_watch_failure_while_the_loop_stood_still_is_discarded() -> None:
    """A supervisor that was stopped during a check blames itself, not the service."""
    check = Script()
    watch = watch_of(check)
    async with running(watch):
        await until(lambda: watch.verdict is OK)
        check.health = CRITICAL
        check.act = lambda: time.sleep(1.6)  # as SIGSTOP of the supervisor
        asked = check.asked
        await until(lambda: check.asked > asked)
        check.act = lambda: None
        check.health = OK
        await until(lambda: check.asked > asked + 2)
        assert watch.verdict is OK
    discarded = [r for r in watch.results("readiness") if not r.counted]
    assert [r.health for r in discarded] == [CRITICAL]


async def test_watch_that_was_stopped_does_not_catch_up() -> None:
    """Twenty missed times are one check."""
    check = Script()
    watch = watch_of(check)
    async with running(watch):
        await until(lambda: check.asked >= 3)
        asked = check.asked
        stand_still(1.0)
        await asyncio.sleep(0.08)
        assert check.asked <= asked + 3


async def test_watch_startup_comes_before_the_others() -> None:
    """Neither readiness nor liveness is asked before it passes, or after it once more."""
    startup, readiness, liveness = Script(CRITICAL), Script(), Script()
    watch = watch_of(
        readiness,
        startup=(startup, StartupPlan(**FAST)),
        liveness=(liveness, LivenessPlan(**FAST)),
    )
    async with running(watch):
        await until(lambda: startup.asked >= 5)
        assert (readiness.asked, liveness.asked, watch.ready) == (0, 0, False)
        startup.health = OK
        await until(lambda: watch.ready and liveness.asked)
        asked = startup.asked
        await until(lambda: readiness.asked >= 5)
        assert startup.asked == asked


async def test_watch_startup_that_never_passes_asks_for_a_restart() -> None:
    """When its failures are used up, with the reason."""
    plan = StartupPlan(**FAST, failures_before_critical=3)
    watch = watch_of(startup=(Script(CRITICAL), plan))
    async with running(watch):
        await until(lambda: watch.wants_restart)
    assert watch.wants_restart == "startup check failed 3 times in a row: critical 3"
    assert watch.wake.is_set()
    assert watch.take_restart()
    assert not watch.wants_restart


async def test_watch_liveness_in_a_group_waits_its_turn() -> None:
    """While another restarts, this one is withheld, says why, and goes when the other is well."""
    plan = LivenessPlan(**FAST, failures_before_critical=2)
    watch = watch_of(liveness=(Script(CRITICAL), plan))
    busy = make_group(make_member(1, restart="claimed"), make_member(2), make_member(3))
    watch.see(busy, ME)
    async with running(watch):
        await until(lambda: watch.withheld.endswith("at most 1 may at once"))
        assert watch.withheld.startswith(
            "restart for the failed liveness check is withheld: 1 of 3"
        )
        assert (watch.restart, watch.wants_restart) == ("wanted", "")
        watch.see(make_group(make_member(1), make_member(2), make_member(3)), ME)
        await until(lambda: watch.wants_restart)
        assert watch.restart == "claimed"
    watch.rest()
    assert watch.restart == ""


async def test_watch_maintenance_is_not_ready_and_not_restarted() -> None:
    """Its checks go on, and are shown."""
    plan = LivenessPlan(**FAST, failures_before_critical=1)
    liveness = Script()
    watch = watch_of(liveness=(liveness, plan))
    async with running(watch):
        await until(lambda: watch.ready)
        watch.set_maintenance("vacuum")
        assert not watch.ready
        liveness.health = CRITICAL
        await until(lambda: watch.verdict is CRITICAL)
        await asyncio.sleep(0.3)
        assert not watch.wants_restart
        assert watch.withheld.endswith("the service is in maintenance")
        watch.set_maintenance("")
        await until(lambda: watch.wants_restart)


async def test_watch_crash_stays_critical_until_checked() -> None:
    """A process that ends again and again is one piece of news."""
    check = Script()
    check.wait_s = 0.1
    watch = watch_of(check)
    watch.force(CRITICAL, "the process ended")
    async with running(watch):
        await asyncio.sleep(0.03)
        assert (watch.verdict, watch.output) == (CRITICAL, "the process ended")
        await until(lambda: watch.verdict is OK)


TTL = {"readiness_plan": (None, HealthPlan(kind="ttl", interval=0.4, retry_interval=0.4))}


async def test_watch_ttl_follows_reports_and_turns_critical_in_silence() -> None:
    """Each report holds for the interval; the silence is a result like any other."""
    watch = watch_of(**TTL)
    with pytest.raises(ConflictError, match="not up"):
        watch.report(OK, "")
    async with running(watch):
        watch.report(OK, "all well")
        await until(lambda: watch.verdict is OK)
        assert watch.output == "all well"
        for _ in range(4):
            await asyncio.sleep(0.2)
            watch.report(OK, "still")
            assert watch.verdict is OK
        watch.report(WARNING, "slow")
        await until(lambda: watch.verdict is WARNING)
        await until(lambda: watch.verdict is CRITICAL, 2.0)
        assert watch.output == "no report within 0.4 s"
        watch.report(OK, "back")
        await until(lambda: watch.verdict is OK)


async def test_watch_ttl_silence_of_a_stopped_supervisor_is_not_the_services() -> None:
    """Reports lay unread meanwhile."""
    watch = watch_of(**TTL)
    async with running(watch):
        watch.report(OK, "")
        await until(lambda: watch.verdict is OK)
        stand_still(1.8)
        await asyncio.sleep(0.01)
        assert watch.verdict is OK
        assert not watch.results("readiness")[-1].counted


async def test_watch_report_without_ttl_check_is_refused() -> None:
    """The one who reports learns what to do."""
    with pytest.raises(NotFoundError, match="no check of kind ttl"):
        watch_of().report(OK, "")


async def test_watch_group_alone_restarts_at_once() -> None:
    """One member has nobody to wait for."""
    plan = LivenessPlan(**FAST, failures_before_critical=1)
    watch = watch_of(liveness=(Script(CRITICAL), plan), share_times=ShareTimes(60, 60, 60))
    watch.see(CensusGroup("web", "default"), ME)
    async with running(watch):
        await until(lambda: watch.wants_restart, 5.0)
    watch.rest()
