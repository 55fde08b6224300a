"""Startup, readiness and liveness of one service put together (pure; seconds come in).

Kubernetes' semantics. *Startup* suppresses the other two until it passes; when its failures are
used up, the service shall be restarted. *Readiness* says whether others may use the service and
restarts nothing. *Liveness* restarts and does not gate; while it is critical the service is shown
as critical too, for it is about to go down. A service without a startup check has started when its
process has.

This says what *ought* to be restarted; how many of a group may at once is ``restart_share``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sup.model.check_machine import CheckMachine
from sup.model.health import Health

PASSING = (Health.OK, Health.WARNING)


@dataclass(slots=True)
class Verdicts:
    """The machines of one service by the name of their verdict; ``readiness`` is always there."""

    machines: Mapping[str, CheckMachine]
    started: bool = field(default=False, init=False)
    """The startup check has passed since ``begin``, or there is none and the process runs."""
    forced: Health | None = field(default=None, init=False)
    """A fact that needs no check, such as the end of the process."""
    _before: Health = field(default=Health.UNKNOWN, init=False)

    def begin(self, now_s: float) -> None:
        """A process has started, or was adopted: nothing is known of it yet.

        One that comes after an end which made the health critical stays so until it is checked, so
        that a process which ends again and again is not news each time.
        """
        self._before = Health.UNKNOWN if self.forced is None else self.forced
        self.forced = None
        self.started = "startup" not in self.machines
        for name, machine in self.machines.items():
            machine.tally.force(self._before if name == "readiness" else Health.UNKNOWN)
            machine.begin(now_s)

    def force(self, verdict: Health) -> None:
        """No process, no checks: this is the health until ``begin``."""
        self.forced = verdict
        self.started = False
        for machine in self.machines.values():
            machine.tally.force(verdict)

    def active(self) -> list[str]:
        """Which checks are to be made now."""
        if not self.started:
            return [name for name in self.machines if name == "startup"]
        return [name for name in self.machines if name != "startup"]

    def after(self, name: str, now_s: float) -> None:
        """A check of ``name`` was counted: see whether that ends the startup."""
        if name == "startup" and not self.started and self.machines[name].verdict in PASSING:
            self.started = True
            for other in self.active():
                self.machines[other].begin(now_s)
            self.machines["readiness"].hurry(now_s)

    @property
    def health(self) -> Health:
        """The one word that is gossiped."""
        if self.forced is not None:
            return self.forced
        if not self.started:
            startup = self.machines["startup"].verdict if "startup" in self.machines else None
            return Health.CRITICAL if startup is Health.CRITICAL else self._before
        liveness = self.machines.get("liveness")
        if liveness is not None and liveness.verdict is Health.CRITICAL:
            return Health.CRITICAL
        return self.machines["readiness"].verdict

    @property
    def ready(self) -> bool:
        """Others may use it: it has started, and readiness passes."""
        return self.health in PASSING and (self.started or self.forced is not None)

    @property
    def failed(self) -> str:
        """Which check says that the service ought to be restarted, or empty."""
        if self.forced is not None:
            return ""
        name = "liveness" if self.started else "startup"
        machine = self.machines.get(name)
        return name if machine is not None and machine.verdict is Health.CRITICAL else ""
