"""How long a process may take to be ready, to answer its watchdog and to go (pure).

From the plan, and what the service said over ``NOTIFY_SOCKET``, follows at most one deadline: the
nearest moment at which the process has a fault unless it says something before. A deadline that is
seen late was missed by the supervisor, which was stopped or starved, and not by the service: it is
given its whole length again (``seen``). Sources: systemd.service(5) ``TimeoutStartSec=``,
``WatchdogSec=``; sd_notify(3). Neighbours: ``notify`` (what was said), ``next_step`` (what a fault
leads to).
"""

from __future__ import annotations

from dataclasses import dataclass

from sup.model.next_step import Fault
from sup.model.notify import Notified
from sup.model.plan import ServicePlan
from sup.model.restart import Cause

LATE_S = 1.0
"""A deadline looked at this long after its time: the supervisor did not run, so nobody knows."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a plan says about time. Seconds; 0 is no bound."""

    notify: bool = False
    oneshot: bool = False
    start_timeout_s: float = 0.0
    watchdog_s: float = 0.0
    stop_timeout_s: float = 0.0

    @classmethod
    def of(cls, plan: ServicePlan) -> Rules:
        """The rules of a (checked) plan."""
        return cls(
            plan.type == "notify",
            plan.type == "oneshot",
            plan.start_timeout_s,
            plan.watchdog,
            plan.stop_timeout,
        )

    @property
    def listens(self) -> bool:
        """Whether the service has something to say at all."""
        return self.notify or self.watchdog_s > 0

    @property
    def timed(self) -> bool:
        """Whether there is anything to follow while the process runs."""
        return self.listens or (self.oneshot and self.start_timeout_s > 0)


@dataclass(frozen=True, slots=True)
class Deadline:
    """At ``at_s`` the process has ``fault``; it was given ``length_s``."""

    at_s: float
    length_s: float
    fault: Fault


def ready(rules: Rules, said: Notified) -> bool:
    """Whether the process counts as started."""
    return not rules.notify or said.ready


def next_deadline(rules: Rules, said: Notified, since_s: float) -> Deadline | None:
    """The nearest deadline, or None. ``since_s``: when the process was started, taken over, or
    became ready, whichever is last; all times are of one monotonic clock.
    """
    if said.triggered:
        return Deadline(0.0, 0.0, Fault(Cause.WATCHDOG, "it said WATCHDOG=trigger"))
    found = []
    start_s = rules.start_timeout_s
    if rules.notify and not said.ready:
        if start_s:
            fault = Fault(Cause.TIMEOUT, f"no READY=1 within {start_s:g} s of its start")
            found.append(Deadline(max(since_s + start_s, said.extended_until_s), start_s, fault))
    elif rules.oneshot and start_s:
        fault = Fault(Cause.TIMEOUT, f"not done within {start_s:g} s")
        found.append(Deadline(max(since_s + start_s, said.extended_until_s), start_s, fault))
    if said.stopping:
        stop_s = rules.stop_timeout_s
        at_s = max(said.stopping_at_s, since_s) + stop_s
        fault = Fault(Cause.TIMEOUT, f"it said STOPPING=1 and was there {stop_s:g} s later")
        found.append(Deadline(max(at_s, said.extended_until_s), stop_s, fault))
    period_s = rules.watchdog_s if said.watchdog_us is None else said.watchdog_us / 1_000_000
    if rules.watchdog_s and period_s and ready(rules, said) and not said.stopping:
        fault = Fault(Cause.WATCHDOG, f"no WATCHDOG=1 for {period_s:g} s")
        found.append(Deadline(max(said.watchdog_at_s, since_s) + period_s, period_s, fault))
    return min(found, key=lambda deadline: deadline.at_s, default=None)


def seen(deadline: Deadline, now_s: float) -> bool:
    """Whether a deadline that is looked at now, after its time, counts."""
    return deadline.length_s == 0.0 or now_s - deadline.at_s < LATE_S
