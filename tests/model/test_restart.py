"""The restart policy: systemd's table row by row, and what goes before it."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from sup.model.plan import ServicePlan
from sup.model.process_plan import RestartWord
from sup.model.restart import Cause, End, RestartPolicy, over_limit

WORDS = get_args(RestartWord)
# systemd.service(5), "Exit causes and the effect of the Restart= settings".
TABLE = {
    "clean exit": (End(code=0), None, {"always", "on-success"}),
    "clean signal": (End(signal=15), None, {"always", "on-success"}),
    "unclean exit code": (End(code=1), None, {"always", "on-failure"}),
    "unclean signal": (
        End(signal=9),
        None,
        {"always", "on-failure", "on-abnormal", "on-abort"},
    ),
    "core dump": (
        End(signal=11, core=True),
        None,
        {"always", "on-failure", "on-abnormal", "on-abort"},
    ),
    "timeout": (End(signal=9), Cause.TIMEOUT, {"always", "on-failure", "on-abnormal"}),
    "watchdog": (
        End(signal=6, core=True),
        Cause.WATCHDOG,
        {"always", "on-failure", "on-abnormal", "on-watchdog"},
    ),
    "liveness": (
        End(signal=15),
        Cause.LIVENESS,
        {"always", "on-failure", "on-abnormal", "on-watchdog"},
    ),
    "init hook": (End(), Cause.INIT, {"always", "on-failure"}),
    "nobody saw": (End(), None, {"always", "on-failure"}),
}


@pytest.mark.parametrize(("row", "word"), [*itertools.product(TABLE, WORDS)])
def test_policy_by_systemds_table(row: str, word: RestartWord) -> None:
    """Every cell of the table."""
    end, cause, restarting = TABLE[row]
    verdict = RestartPolicy.of(ServicePlan(restart=word)).judge(end, cause)
    assert verdict.restart is (word in restarting)
    assert verdict.restart or word in verdict.why


def test_policy_default_is_always_and_of_a_oneshot_on_failure() -> None:
    """A service stays; a job that has succeeded is done."""
    assert RestartPolicy.of(ServicePlan()).judge(End(code=0)).restart
    oneshot = RestartPolicy.of(ServicePlan(type="oneshot"))
    assert oneshot.judge(End(code=0)).done
    assert oneshot.judge(End(code=1)).restart
    assert oneshot.judge(End(signal=15)).cause is Cause.SIGNAL  # clean only for those that stay


def test_policy_success_exit_makes_codes_and_signals_successes() -> None:
    """As SuccessExitStatus=: beside 0, not in its place."""
    policy = RestartPolicy.of(ServicePlan(restart="on-failure", success_exit=[3, "USR1"]))
    for end in (End(code=0), End(code=3), End(signal=10)):
        assert policy.judge(end).done, end
    assert policy.judge(End(code=10)).restart


def test_policy_prevent_goes_before_force_and_both_before_the_table() -> None:
    """The order of systemd: prevent, force, Restart=."""
    plan = ServicePlan(restart="no", restart_force_exit=[7, 8], restart_prevent_exit=[8, "SIGSEGV"])
    policy = RestartPolicy.of(plan)
    assert policy.judge(End(code=7)).restart
    assert policy.judge(End(code=8)).why == "restart_prevent_exit"
    always = RestartPolicy.of(ServicePlan(restart_prevent_exit=["SIGSEGV"]))
    assert not always.judge(End(signal=11, core=True)).restart
    assert always.judge(End(code=11)).restart  # a code is no signal


def test_over_limit_counts_starts_in_the_interval_only() -> None:
    """Zero is no limit; old starts do not count."""
    starts = [0.0, 100.0, 110.0]
    assert not over_limit(starts, 111.0, 0, 60.0)
    assert over_limit(starts, 111.0, 2, 60.0)
    assert not over_limit(starts, 111.0, 3, 60.0)
    assert not over_limit(starts, 161.0, 2, 60.0)
