"""Ends of real processes: which are followed by a start, what is remembered, what stays done."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import pytest
from tests.service.conftest import Workshop, until

from sup.edge.processes import Exit
from sup.edge.state_files import read_sealed
from sup.model.backoff import Backoff
from sup.model.death_tally import decode_tally
from sup.model.health import Health
from sup.model.plan import ServicePlan
from sup.model.process_state import Event
from sup.model.restart import Cause
from sup.service import Service
from sup.service_ends import Ends
from sup.service_render import Fingerprint


def is_in(service: Service, state: str) -> bool:
    """Whether the process is in ``state``."""
    return service.status().process == state


async def test_service_policy_no_leaves_a_failure_failed_with_its_reason(
    workshop: Workshop,
) -> None:
    """``restart = "no"``: nothing is hidden, nothing is started again."""
    workshop.package(
        plan='[service]\nrestart = "no"', hooks__run='echo x >> "$SUP_DATA_DIR/runs"; exit 3'
    )
    service = workshop.up()
    await until(lambda: is_in(service, "failed"))
    status = service.status()
    assert status.cause == "exit"
    assert status.last_exit == "code 3"
    assert "not started again (restart = no)" in status.reason
    assert status.health is Health.CRITICAL
    await asyncio.sleep(0.5)
    assert len(workshop.lines("runs")) == 1


async def test_service_force_exit_is_started_again_whatever_the_policy_says(
    workshop: Workshop,
) -> None:
    """restart_force_exit goes before the table."""
    workshop.package(
        plan='[service]\nrestart = "no"\nrestart_force_exit = [7]',
        hooks__run='cd "$SUP_DATA_DIR"; echo x >> runs; test $(wc -l < runs) = 3 && exit 1; exit 7',
    )
    service = workshop.up()
    await until(lambda: is_in(service, "failed"))
    assert len(workshop.lines("runs")) == 3
    assert [death.cause.value for death in service.status().tally.deaths] == ["exit"] * 3


async def test_service_start_limit_gives_up_and_reset_failed_begins_anew(
    workshop: Workshop,
) -> None:
    """FAILED (limit) after the burst; the operator's reset empties the tally and starts it."""
    workshop.package(
        plan="[service]\nstart_limit_burst = 3\nstart_limit_interval = 60",
        hooks__run='cd "$SUP_DATA_DIR"; echo x >> runs; test ! -e mended || exec sleep 60; exit 1',
    )
    service = workshop.up()
    await until(lambda: is_in(service, "failed"))
    assert len(workshop.lines("runs")) == 3
    assert "failed (limit): 3 starts within 60 s" in service.status().reason
    (workshop.paths.data / "mended").touch()
    service.reset_failed()
    await until(lambda: is_in(service, "up"))
    await until(lambda: service.status().tally.total == 0)
    assert service.status().restarts == 3


async def test_service_default_start_limit_never_gives_up(workshop: Workshop) -> None:
    """By default a broken service is tried for ever, visibly and ever more slowly."""
    service = workshop.up(["false"], backoff=Backoff(0.1, 0.12, 60))
    await until(lambda: service.status().restarts >= 6)
    wanted = re.compile(r"ended with code 1 after \d\.\d s; next start in 0.1 s")
    await until(lambda: wanted.fullmatch(service.status().reason))


async def test_service_deaths_outlive_the_supervisor(workshop: Workshop) -> None:
    """The tally is on disk: a crash loop stays visible after a restart of the supervisor."""
    workshop.package(plan='[service]\nrestart = "on-abnormal"', hooks__run="kill -SEGV $$")
    first = workshop.up(backoff=Backoff(0.1, 60, 60))

    def written() -> bool:
        tally = decode_tally(read_sealed(workshop.paths.tally, "tally")[0] or b"")
        return tally is not None and tally.total >= 2

    await until(written)
    await first.detach()
    second = workshop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: is_in(second, "backoff"))
    tally = second.status().tally
    assert tally.total >= 3
    assert tally.deaths[0].cause.value in ("signal", "core")
    assert "SIGSEGV" in tally.deaths[0].how


async def test_service_failed_for_good_stays_failed_for_the_next_supervisor(
    workshop: Workshop,
) -> None:
    """Given up is given up in this boot; another run hook is another matter."""
    run = 'echo x >> "$SUP_DATA_DIR/runs"; exit 1'
    workshop.package(plan='[service]\nrestart = "no"', hooks__run=run)
    first = workshop.up()
    await until(lambda: is_in(first, "failed"))
    await first.stop()
    second = workshop.up()
    await until(lambda: is_in(second, "failed"))
    assert "not started again" in second.status().reason
    assert len(workshop.lines("runs")) == 1
    await second.stop()
    workshop.package(plan='[service]\nrestart = "no"', hooks__run=f"{run} ")
    third = workshop.up()
    await until(lambda: len(workshop.lines("runs")) == 2)
    await until(lambda: is_in(third, "failed"))


async def test_oneshot_is_up_while_it_runs_then_done_and_healthy(workshop: Workshop) -> None:
    """Done is no failure, and nothing that waits for a start."""
    workshop.package(
        plan='[service]\ntype = "oneshot"',
        hooks__run='cd "$SUP_DATA_DIR"; echo x >> runs; while ! test -e go; do sleep 0.02; done',
    )
    service = workshop.up()
    await until(lambda: is_in(service, "up"))
    (workshop.paths.data / "go").touch()
    await until(lambda: is_in(service, "done"))
    status = service.status()
    assert status.health is Health.OK
    assert status.cause == "success"
    assert status.tally.total == 0
    assert service.standing.meets("healthy")
    await asyncio.sleep(0.4)
    assert is_in(service, "done")
    assert len(workshop.lines("runs")) == 1


async def test_oneshot_that_is_done_runs_once_per_boot_unless_asked(workshop: Workshop) -> None:
    """The next supervisor of this boot does not run it; an operator's restart does."""
    workshop.package(
        plan='[service]\ntype = "oneshot"', hooks__run='echo x >> "$SUP_DATA_DIR/runs"'
    )
    first = workshop.up()
    await until(lambda: is_in(first, "done"))
    await first.stop()
    second = workshop.up()
    await until(lambda: is_in(second, "done"))
    assert len(workshop.lines("runs")) == 1
    await asyncio.wait_for(second.restart(), 15)
    await until(lambda: len(workshop.lines("runs")) == 2 and is_in(second, "done"))
    second.set_desired(False)
    await second.settled()
    second.set_desired(True)
    await until(lambda: len(workshop.lines("runs")) == 3)


async def test_oneshot_that_fails_is_tried_again(workshop: Workshop) -> None:
    """on-failure is a oneshot's own policy."""
    workshop.package(
        plan='[service]\ntype = "oneshot"',
        hooks__run='cd "$SUP_DATA_DIR"; echo x >> runs; test $(wc -l < runs) -ge 2',
    )
    service = workshop.up()
    await until(lambda: is_in(service, "done"))
    assert len(workshop.lines("runs")) == 2
    assert [death.cause.value for death in service.status().tally.deaths] == ["exit"]


async def test_oneshot_over_its_time_is_ended_as_a_time_out(workshop: Workshop) -> None:
    """start_timeout bounds a job that hangs."""
    workshop.package(
        plan='[service]\ntype = "oneshot"\nstart_timeout = 0.3\nrestart = "no"',
        hooks__run="exec sleep 60",
    )
    service = workshop.up()
    await until(lambda: is_in(service, "failed"))
    assert service.status().cause == "timeout"
    assert "not done within 0.3 s" in service.status().reason


async def test_ends_status_that_nobody_saw_is_a_failure_and_says_so(tmp_path: Path) -> None:
    """An adopted process without a launcher: not a success, so on-failure starts it again."""
    plan = ServicePlan(restart="on-failure")
    ends = Ends("web", plan, tmp_path / "tally", Backoff(), random.Random(1))
    after = ends.ended(Exit(), 5.0, Fingerprint("a", "b"))
    assert after.event is Event.EXITED
    assert ends.cause is Cause.UNKNOWN
    assert "nobody saw how: taken for a failure" in after.reason


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        ('command = ["/no/such/program"]', "can't start /no/such/program"),
        ('command = ["sleep", "60"]\nuser = "no-such-user-here"', "no-such-user-here"),
        ('command = ["sleep", "60"]\ndirectory = "/no/such/place"', "/no/such/place"),
    ],
)
async def test_service_that_cannot_be_started_says_why_in_one_line(
    workshop: Workshop, plan: str, line: str
) -> None:
    """A program, a user, a directory that is not there: cause init, and the reason names it."""
    workshop.package(plan=f"[service]\n{plan}")
    service = workshop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: is_in(service, "backoff"))
    status = service.status()
    assert line in status.reason
    assert "\n" not in status.reason
    assert status.cause == "init"
    assert status.next_try_s > 0


async def test_service_gets_limits_umask_directory_and_environment_of_its_plan(
    workshop: Workshop,
) -> None:
    """What the plan says reaches the process, beneath fork and exec."""
    workshop.package(
        plan='[service]\numask = "077"\ndirectory = "/tmp"\nnice = 3\noom_score_adjust = 500\n'
        'environment = { COLOUR = "blue" }\n[service.limits]\nnofile = "100:200"\ncore = 0\n',
        hooks__run="(umask; pwd; ulimit -n; ulimit -Hn; ulimit -c; nice; echo $COLOUR;"
        ' cat /proc/self/oom_score_adj) > "$SUP_DATA_DIR/seen.new";'
        ' mv "$SUP_DATA_DIR/seen.new" "$SUP_DATA_DIR/seen"; exec sleep 60',
    )
    workshop.up()
    await until(lambda: workshop.lines("seen"))
    mask, *rest = workshop.lines("seen")
    assert int(mask, 8) == 0o077
    assert rest == ["/tmp", "100", "200", "0", "3", "blue", "500"]


async def test_service_hook_that_exits_at_once_starts_at_most_12_times_in_a_minute() -> None:
    """The defaults: the plan's backoff is the one of ``model.backoff``, whose bound is proved
    there; here it is the one a service without a plan gets.
    """
    plan = ServicePlan()
    for seed in range(200):
        backoff = Backoff(plan.restart_min, plan.restart_max, plan.stable_for)
        rng = random.Random(seed)
        at, starts = 0.0, 1
        while (at := at + backoff.next(rng)) < 60.0:
            starts += 1
        assert starts <= 12
