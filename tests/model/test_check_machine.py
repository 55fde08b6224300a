"""When a check is made, and which results count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.model.check_machine import DISCARDS_MAX, STALL_S, CheckMachine, CheckTimes
from sup.model.health import Health
from sup.model.health_plan import HealthPlan
from sup.model.health_tally import HealthTally

OK, CRITICAL, UNKNOWN = Health.OK, Health.CRITICAL, Health.UNKNOWN


def machine(**tally: int) -> CheckMachine:
    """Every 10 s, every 2 s while it is not ok, first after 1 s."""
    return CheckMachine(CheckTimes(10.0, 2.0, 5.0, 1.0), HealthTally(**tally))


def check(
    m: CheckMachine, result: Health, *, took_s: float = 0.0, late_s: float = 0.0, splay: float = 0.5
) -> bool:
    """One check at its time."""
    begun_s = m.due_s
    m.begun(begun_s)
    return m.ended(begun_s + took_s, result, late_s=late_s, splay=splay)


def test_machine_second_check_is_splayed_and_the_others_keep_its_phase() -> None:
    """Started together, apart from then on; the interval is from beginning to beginning."""
    m = machine()
    m.begin(100.0)
    assert m.due_s == 101.0
    check(m, OK, took_s=0.3, splay=0.5)
    assert m.due_s == pytest.approx(101.0 + 5.5)
    for _ in range(3):
        before = m.due_s
        check(m, OK, took_s=0.3)
        assert m.due_s == pytest.approx(before + 10.0)


def test_machine_not_ok_is_checked_at_the_retry_interval() -> None:
    """From the first failure until the verdict is ok again."""
    m = machine(failures_before_critical=2, successes_before_passing=2)
    m.begin(0.0)
    for result, pause_s in zip(
        (OK, OK, CRITICAL, CRITICAL, OK, OK), (2.0, 1.0, 2.0, 2.0, 2.0, 10.0), strict=True
    ):
        before = m.due_s
        check(m, result, splay=0.0)
        assert m.due_s == pytest.approx(before + pause_s), result


def test_machine_check_longer_than_its_interval_leaves_a_pause() -> None:
    """It neither overlaps itself nor runs without a break."""
    m = machine()
    m.begin(0.0)
    begun_s = m.due_s
    check(m, CRITICAL, took_s=7.0)
    assert m.due_s == pytest.approx(begun_s + 7.0 + 0.2)


def test_machine_missed_times_are_one_check() -> None:
    """After a minute in which nobody could look there is one check, then the usual interval."""
    m = machine()
    m.begin(0.0)
    check(m, OK)
    check(m, OK)
    late_s = m.due_s + 61.0
    m.begun(late_s)
    m.ended(late_s + 0.1, OK, late_s=0.0, splay=0.0)
    assert m.due_s == pytest.approx(late_s + 10.0)


def test_machine_failure_while_the_supervisor_was_late_is_discarded() -> None:
    """It is checked anew soon; an ok result counts whatever the supervisor was."""
    m = machine()
    m.begin(0.0)
    check(m, OK)
    assert not check(m, CRITICAL, took_s=3.0, late_s=3.0)
    assert m.verdict is OK
    assert check(m, OK, late_s=3.0)
    assert check(m, CRITICAL, late_s=STALL_S / 2)
    assert m.verdict is CRITICAL


def test_machine_always_late_discards_a_bounded_number() -> None:
    """An excuse that never ends is none."""
    m = machine()
    m.begin(0.0)
    counted = [check(m, CRITICAL, late_s=9.0) for _ in range(2 * (DISCARDS_MAX + 1))]
    assert counted == ([False] * DISCARDS_MAX + [True]) * 2


def test_machine_overlap_is_refused() -> None:
    """A second beginning, or an end without one, is a mistake of the caller."""
    m = machine()
    m.begin(0.0)
    m.begun(1.0)
    with pytest.raises(RuntimeError):
        m.begun(1.5)
    m.ended(2.0, OK, late_s=0.0, splay=0.0)
    with pytest.raises(RuntimeError):
        m.ended(2.0, OK, late_s=0.0, splay=0.0)


def test_times_retry_is_never_longer_than_the_interval() -> None:
    """A plan with a short interval is not made slower by being unwell."""
    times = CheckTimes.of(HealthPlan(interval=1.0), first_s=5.0, retry_max_s=60.0)
    assert (times.interval_s, times.retry_s, times.first_s) == (1.0, 1.0, 1.0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(Health),
        st.floats(0.0, 20.0),  # how long it took
        st.floats(0.0, 100.0),  # how much later than due it began
        st.floats(0.0, 2.0),  # lateness
        st.floats(0.0, 0.999),
    ),
    max_size=40,
)


@given(STEPS)
def test_machine_never_bursts_and_never_sleeps_too_long(
    steps: list[tuple[Health, float, float, float, float]],
) -> None:
    """After any check the next is due later than its end, at most an interval after both."""
    m = machine(failures_before_critical=2, successes_before_passing=2)
    m.begin(0.0)
    for result, took_s, behind_s, late_s, splay in steps:
        begun_s = m.due_s + behind_s
        m.begun(begun_s)
        end_s = begun_s + took_s
        m.ended(end_s, result, late_s=late_s, splay=splay)
        assert m.due_s > end_s
        assert m.due_s <= max(begun_s + 10.0, end_s + 1.0) + 1e-6
        if result is not OK:
            assert m.due_s <= max(begun_s + 2.0, end_s + 0.2) + 1e-6


@given(st.integers(1, 5), st.floats(0.0, 5.0), st.floats(0.0, 0.999), st.floats(0.0, 1.0))
def test_machine_outage_is_critical_within_threshold_intervals(
    threshold: int, took_s: float, splay: float, at: float
) -> None:
    """From the outage to the verdict: threshold x interval, and the time of the last check."""
    m = machine(failures_before_critical=threshold)
    m.begin(0.0)
    check(m, OK, splay=splay)
    check(m, OK, splay=splay)
    outage_s = m.due_s - 10.0 + at * 10.0  # anywhere between two checks
    end_s = 0.0
    while m.verdict is not CRITICAL:
        end_s = m.due_s + took_s
        check(m, CRITICAL, took_s=took_s)
    assert end_s <= outage_s + threshold * 10.0 + took_s + 1e-6
