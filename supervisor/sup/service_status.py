"""What is shown of a service, and the place where the service's task writes it down (floor 8).

Every change of state goes through here and is looked up in the table of
``sup.model.process_state``. A state, a reason or a pending change is logged once, when it becomes
another one, and never repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from sup import events
from sup.edge.render_files import CompiledPackage
from sup.model.death_tally import DeathTally
from sup.model.health import Health
from sup.model.process_state import Event, State, next_state
from sup.model.restart import Cause
from sup.model.spec import Spec
from sup.service_health import HealthWatch

logger = logging.getLogger("sup.service")


NO_DEATHS = DeathTally()


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is known of a service now. Times ending in ``_since_s`` are Unix seconds, for people."""

    name: str
    group: str
    desired: str
    process: str
    pid: int | None
    since_s: int
    health: Health
    health_since_s: int
    output: str
    restarts: int
    last_exit: str
    reason: str
    """Why the process is in this state, or what is wrong with its configuration; may be empty."""
    pending: str
    """A change that waits to be applied, and for what; empty when there is none."""
    config_version: str
    """Version of the group configuration that the running process has."""
    package: str
    topology: str
    strategy: str
    started: bool = False
    """Its process counts as started by its type."""
    said: str = ""
    """The last STATUS of a service that speaks over ``NOTIFY_SOCKET``."""
    cause: str = ""
    """Why it ended the last time, one word of ``sup.model.restart.Cause``; may be empty."""
    next_try_s: int = 0
    """When it is started again; 0: not by time."""
    held: str = ""
    """What a start waits for outside of the service; empty when nothing holds it."""
    tally: DeathTally = NO_DEATHS
    ready: bool = False
    """Others may use it: started, ok or warning, not in maintenance."""
    maintenance: str = ""
    """The reason of the maintenance it is in, or empty."""
    restart: str = ""
    """What the group is told of a restart for a failed check: empty, ``wanted``, ``claimed``."""
    withheld: str = ""
    """Why a restart that a check asks for waits, or empty."""


class StatusBoard:
    """State and words of one service. ``changed`` is set whenever the status differs."""

    def __init__(self, spec: Spec, package: CompiledPackage, health: HealthWatch) -> None:
        self.state = State.DOWN
        self.since_s = int(time.time())
        self.pid: int | None = None
        self.starts = 0
        self.last_exit = ""
        self.config_version = ""
        self.changed = asyncio.Event()
        self.reason = ""
        self.pending = ""
        self.said = ""
        self.held = ""
        self._spec = spec
        self._ident = package.plan.ident
        self._health = health
        health.changed = self.changed

    def status(
        self,
        *,
        desired_up: bool,
        started: bool,
        next_try_s: int,
        cause: Cause | None,
        tally: DeathTally,
    ) -> ServiceStatus:
        """What is known now, as one value."""
        return ServiceStatus(
            name=self._spec.name,
            group=self._spec.group,
            desired="up" if desired_up else "down",
            process=self.state.value,
            pid=self.pid,
            since_s=self.since_s,
            health=self._health.verdict,
            health_since_s=self._health.since_s,
            output=self._health.output,
            restarts=max(0, self.starts - 1),
            last_exit=self.last_exit,
            reason=self.reason,
            pending=self.pending,
            config_version=self.config_version,
            package=self._ident,
            topology=self._spec.topology,
            strategy=self._spec.strategy,
            started=started,
            said=self.said,
            cause="" if cause is None else cause.value,
            next_try_s=next_try_s,
            held=self.held,
            tally=tally,
            ready=self._health.ready,
            maintenance=self._health.maintenance,
            restart=self._health.restart,
            withheld=self._health.withheld,
        )

    def enter(self, event: Event, reason: str = "") -> None:
        """Go to the state after ``event``; an illegal one raises and changes nothing."""
        before, self.state = self.state, next_state(self.state, event)
        self.held = ""
        self.explain(reason)
        if before is self.state:
            return
        self.since_s = int(time.time())
        self.changed.set()
        text = f"{self.state.value}: {reason}" if reason else self.state.value
        events.tell("process", self._spec.name, text, was=before.value)
        bad = self.state in (State.BACKOFF, State.FAILED)
        logger.log(
            logging.WARNING if bad else logging.INFO,
            "service %s name=%s pid=%s was=%s%s",
            self.state.value,
            self._spec.name,
            "-" if self.pid is None else self.pid,
            before.value,
            f" reason={reason!r}" if reason else "",
        )

    def explain(self, reason: str) -> None:
        """Show why things are as they are; empty when nothing is to be said."""
        if reason != self.reason:
            self.reason = reason
            self.changed.set()

    def problem(self, reason: str) -> None:
        """Explain, and log it once: something the operator should look at, without a change of
        state.
        """
        if reason != self.reason:
            logger.warning("service problem name=%s reason=%r", self._spec.name, reason)
            events.tell("process", self._spec.name, reason)
        self.explain(reason)

    def hold(self, reason: str) -> None:
        """Show what the start waits for."""
        self.problem(f"start is held: {reason}")
        self.held = reason

    def pend(self, what: str) -> None:
        """Show a change that waits, and for what; empty: none waits."""
        if what != self.pending:
            self.pending = what
            self.changed.set()
            if what:
                logger.info("service pending name=%s what=%r", self._spec.name, what)

    def says(self, said: str) -> None:
        """Show the service's own words."""
        if said != self.said:
            self.said = said
            self.changed.set()

    def has_config(self, version: str) -> None:
        """The running process has this version of the group's configuration."""
        if version != self.config_version:
            self.config_version = version
            self.changed.set()
            if version:
                events.tell("config", self._spec.name, f"has configuration {version}")
