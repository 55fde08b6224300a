"""Whether a service that ended is started again: the restart policy by cause of the end (pure).

The table is that of ``Restart=`` in systemd.service(5), with three rows more for ends that systemd
has no word for: a start that failed before there was a process (hook, program, user), a liveness
check that said restart, and an exit whose status nobody saw. A success is exit code 0, for a
service that is no oneshot also SIGHUP, SIGINT, SIGTERM and SIGPIPE, and whatever ``success_exit``
lists. ``restart_prevent_exit`` is asked first, ``restart_force_exit`` second, the table last.

When a service may not be started again, ``Verdict`` says whether it is done (it succeeded) or
failed. Neighbours: ``backoff`` says when, ``death_tally`` remembers.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from sup.model.plan import ServicePlan
from sup.model.process_plan import RestartWord, signal_name

CLEAN_SIGNALS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})
"""Signals that end a service as if it had ended well (systemd.service(5), ``SuccessExitStatus=``).
"""


class Cause(Enum):
    """Why a service is not up any more; the value is the word in the tally, the API and the CLI."""

    SUCCESS = "success"
    """It exited by itself with a status that counts as success."""
    EXIT = "exit"
    """It exited with another code."""
    SIGNAL = "signal"
    """A signal that nobody here sent ended it."""
    CORE = "core"
    """The same, and it left a core dump."""
    WATCHDOG = "watchdog"
    """``WATCHDOG=1`` was missing for too long."""
    TIMEOUT = "timeout"
    """It was not ready, or not gone after ``STOPPING=1``, in its time."""
    LIVENESS = "liveness"
    """Its liveness check said restart."""
    INIT = "init"
    """It never ran: the init hook failed, or program, user or a limit could not be had."""
    UNKNOWN = "unknown"
    """Nobody saw the exit status (the supervisor was dead, and there was no launcher)."""


_ALWAYS: frozenset[RestartWord] = frozenset({"always"})
RESTARTS: Mapping[Cause, frozenset[RestartWord]] = MappingProxyType(
    {
        Cause.SUCCESS: _ALWAYS | {"on-success"},
        Cause.EXIT: _ALWAYS | {"on-failure"},
        Cause.SIGNAL: _ALWAYS | {"on-failure", "on-abnormal", "on-abort"},
        Cause.CORE: _ALWAYS | {"on-failure", "on-abnormal", "on-abort"},
        Cause.TIMEOUT: _ALWAYS | {"on-failure", "on-abnormal"},
        Cause.WATCHDOG: _ALWAYS | {"on-failure", "on-abnormal", "on-watchdog"},
        Cause.LIVENESS: _ALWAYS | {"on-failure", "on-abnormal", "on-watchdog"},
        Cause.INIT: _ALWAYS | {"on-failure"},
        Cause.UNKNOWN: _ALWAYS | {"on-failure"},
    }
)
"""Cause to the policies that start the service again; ``no`` is in none."""


@dataclass(frozen=True, slots=True)
class End:
    """How a service ended: exit code or signal as waitid(2) gave them, both None: nobody saw."""

    code: int | None = None
    signal: int | None = None
    core: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an end; ``why`` says which rule decided, empty when that is plain."""

    cause: Cause
    restart: bool
    why: str = ""

    @property
    def done(self) -> bool:
        """It ended well and is not wanted again."""
        return self.cause is Cause.SUCCESS and not self.restart


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The policy of one service. Statuses are exit codes (int) and signals (negative numbers)."""

    word: RestartWord = "always"
    success: frozenset[int] = frozenset({0})
    prevent: frozenset[int] = frozenset()
    force: frozenset[int] = frozenset()

    @classmethod
    def of(cls, plan: ServicePlan) -> RestartPolicy:
        """The policy that a (checked) plan states."""
        oneshot = plan.type == "oneshot"
        clean = frozenset() if oneshot else frozenset(-int(number) for number in CLEAN_SIGNALS)
        return cls(
            plan.restart or ("on-failure" if oneshot else "always"),
            frozenset({0}) | clean | _statuses(plan.success_exit),
            _statuses(plan.restart_prevent_exit),
            _statuses(plan.restart_force_exit),
        )

    def judge(self, end: End, cause: Cause | None = None) -> Verdict:
        """What follows from ``end``; ``cause`` is given when the supervisor itself ended it, or
        when there never was a process.
        """
        status = -end.signal if end.signal is not None else end.code
        cause = cause or self._cause(end, status)
        if status is not None and status in self.prevent:
            return Verdict(cause, False, "restart_prevent_exit")
        if status is not None and status in self.force:
            return Verdict(cause, True, "restart_force_exit")
        restart = self.word in RESTARTS[cause]
        return Verdict(cause, restart, "" if restart else f"restart = {self.word}")

    def _cause(self, end: End, status: int | None) -> Cause:
        if status is None:
            return Cause.UNKNOWN
        if status in self.success:
            return Cause.SUCCESS
        if end.signal is None:
            return Cause.EXIT
        return Cause.CORE if end.core else Cause.SIGNAL


def over_limit(starts_s: Iterable[float], now_s: float, burst: int, interval_s: float) -> bool:
    """Whether ``burst`` starts (0: any number) within ``interval_s`` leave no room for another.

    As ``StartLimitBurst=`` of systemd.unit(5), counted over a sliding interval.
    """
    if not burst:
        return False
    return sum(1 for start_s in starts_s if now_s - start_s < interval_s) >= burst


def _statuses(statuses: Iterable[int | str]) -> frozenset[int]:
    return frozenset(
        -int(signal.Signals[signal_name(status)]) if isinstance(status, str) else status
        for status in statuses
    )
