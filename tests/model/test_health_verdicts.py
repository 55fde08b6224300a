"""Startup, readiness and liveness: which is asked, what they gate and what they restart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sup.model.check_machine import CheckMachine, CheckTimes
from sup.model.health import Health
from sup.model.health_tally import HealthTally
from sup.model.health_verdicts import Verdicts

OK, WARNING, CRITICAL, UNKNOWN = Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN
ALL = ("startup", "readiness", "liveness")


def verdicts(*names: str) -> Verdicts:
    """Checks of these names; critical and ok need two in a row for all but readiness."""
    times = CheckTimes(10.0, 2.0, 5.0, 1.0)
    return Verdicts(
        {
            name: CheckMachine(
                times,
                HealthTally(1 if name == "readiness" else 2, ignore_unknown=name != "readiness"),
            )
            for name in names
        }
    )


def give(v: Verdicts, name: str, *results: Health, now_s: float = 0.0) -> None:
    """Results of one check, one after the other."""
    for result in results:
        machine = v.machines[name]
        machine.begun(now_s)
        machine.ended(now_s, result, late_s=0.0, splay=0.0)
        v.after(name, now_s)


def test_verdicts_without_startup_follow_readiness_from_the_start() -> None:
    """The shape that every plan had before there were three."""
    v = verdicts("readiness")
    v.begin(0.0)
    assert (v.active(), v.health, v.ready) == (["readiness"], UNKNOWN, False)
    give(v, "readiness", OK)
    assert (v.health, v.ready) == (OK, True)
    give(v, "readiness", WARNING)
    assert (v.health, v.ready) == (WARNING, True)
    give(v, "readiness", CRITICAL)
    assert (v.health, v.ready, v.failed) == (CRITICAL, False, "")


def test_verdicts_startup_suppresses_the_others_until_it_passes() -> None:
    """A service that is slow to start is neither ready nor dead."""
    v = verdicts(*ALL)
    v.begin(0.0)
    give(v, "startup", CRITICAL)
    assert (v.active(), v.health, v.ready, v.failed) == (["startup"], UNKNOWN, False, "")
    give(v, "startup", OK, now_s=50.0)
    assert v.active() == ["readiness", "liveness"]
    assert v.machines["liveness"].due_s == 51.0  # not at the time that the process started
    assert v.health is UNKNOWN
    give(v, "readiness", OK)
    assert v.ready


def test_verdicts_startup_whose_failures_are_used_up_asks_for_a_restart() -> None:
    """Shown as critical; a pass that comes late is still a pass."""
    v = verdicts(*ALL)
    v.begin(0.0)
    give(v, "startup", CRITICAL, CRITICAL)
    assert (v.health, v.failed) == (CRITICAL, "startup")
    give(v, "startup", OK)
    assert (v.failed, v.active()) == ("", ["readiness", "liveness"])


def test_verdicts_liveness_restarts_and_readiness_does_not() -> None:
    """Each for its own end; unknown restarts nothing."""
    v = verdicts("readiness", "liveness")
    v.begin(0.0)
    give(v, "readiness", OK)
    give(v, "liveness", UNKNOWN, UNKNOWN, UNKNOWN, CRITICAL)
    assert (v.health, v.failed) == (OK, "")
    give(v, "liveness", CRITICAL)
    assert (v.health, v.ready, v.failed) == (CRITICAL, False, "liveness")
    v.begin(9.0)
    assert (v.health, v.failed) == (UNKNOWN, "")


def test_verdicts_forced_hold_until_the_next_process() -> None:
    """The end of the process needs no check, and restarts nothing by itself."""
    v = verdicts(*ALL)
    v.begin(0.0)
    give(v, "startup", CRITICAL, CRITICAL)
    v.force(CRITICAL)
    assert (v.health, v.ready, v.failed, v.active()) == (CRITICAL, False, "", ["startup"])
    v.begin(1.0)
    assert (v.health, v.failed) == (CRITICAL, "")  # it ended: until it is checked, that is known
    give(v, "startup", OK)
    give(v, "readiness", OK)
    assert v.health is OK


STEPS = st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(Health)), max_size=60)


@given(STEPS, st.sets(st.sampled_from(["startup", "liveness"])))
def test_verdicts_gate_and_restart_only_by_the_rules(
    steps: list[tuple[str, Health]], more: set[str]
) -> None:
    """Whatever comes: ready only when started; startup restarts before that, liveness after."""
    v = verdicts(*sorted(more), "readiness")
    v.begin(0.0)
    for name, result in steps:
        if name not in v.active():
            continue
        give(v, name, result)
        assert not (v.ready and not v.started)
        assert v.failed in ("", "liveness" if v.started else "startup")
        assert not (v.ready and v.failed)
        assert v.ready == (v.health in (OK, WARNING))
