"""Deadlines of a process: which is the nearest, and when one counts."""

from __future__ import annotations

import pytest

from sup.model.notify import Notified
from sup.model.plan import ServicePlan
from sup.model.readiness import Deadline, Rules, next_deadline, ready, seen
from sup.model.restart import Cause

NOTIFY = Rules.of(ServicePlan(type="notify", start_timeout=30.0, watchdog=10.0, stop_timeout=8.0))


@pytest.mark.parametrize(
    ("rules", "said", "at_s", "cause"),
    [
        (Rules.of(ServicePlan()), Notified(), None, None),
        (Rules.of(ServicePlan(type="oneshot")), Notified(), None, None),
        (Rules.of(ServicePlan(type="oneshot", start_timeout=5)), Notified(), 105.0, Cause.TIMEOUT),
        (NOTIFY, Notified(), 130.0, Cause.TIMEOUT),
        (NOTIFY, Notified(extended_until_s=200.0), 200.0, Cause.TIMEOUT),
        (NOTIFY, Notified(ready=True), 110.0, Cause.WATCHDOG),
        (NOTIFY, Notified(ready=True, watchdog_at_s=107.0), 117.0, Cause.WATCHDOG),
        (NOTIFY, Notified(ready=True, watchdog_us=3_000_000), 103.0, Cause.WATCHDOG),
        (NOTIFY, Notified(ready=True, watchdog_us=0), None, None),
        (NOTIFY, Notified(ready=True, stopping=True, stopping_at_s=120.0), 128.0, Cause.TIMEOUT),
        (NOTIFY, Notified(triggered=True), 0.0, Cause.WATCHDOG),
        (Rules.of(ServicePlan(watchdog=4.0)), Notified(), 104.0, Cause.WATCHDOG),
    ],
)
def test_next_deadline_by_table(
    rules: Rules, said: Notified, at_s: float | None, cause: Cause | None
) -> None:
    """Start, watchdog, stop; extended, replaced and switched off by what the service says."""
    deadline = next_deadline(rules, said, 100.0)
    assert (deadline and deadline.at_s, deadline and deadline.fault.cause) == (at_s, cause)


def test_ready_is_at_once_but_for_notify() -> None:
    """A notify service has to say so."""
    assert ready(Rules(), Notified())
    assert not ready(NOTIFY, Notified())
    assert ready(NOTIFY, Notified(ready=True))


def test_deadline_seen_late_does_not_count() -> None:
    """A supervisor that was stopped does not hold that time against the service."""
    deadline = next_deadline(NOTIFY, Notified(), 100.0)
    assert isinstance(deadline, Deadline)
    assert seen(deadline, 130.5)
    assert not seen(deadline, 190.0)
