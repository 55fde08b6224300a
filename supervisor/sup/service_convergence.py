"""The configuration of one service: what its process has, what it should have, and the way from one
to the other (floor 8).

What a process was started with and last configured with is a *fingerprint* kept in
``process.json``. As long as it differs from what the templates render now, a change is pending: it
survives a failed ``reconfigure`` hook, a strategy that says wait, and a supervisor that is killed
in between. Rendered files reach the disk only when the change may be applied. A template that fails
changes nothing. Rendering and writing run in threads; a retry waits by backoff.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sup import events
from sup.edge.processes import Process
from sup.edge.render_files import CompiledPackage, needs_render
from sup.errors import OperatorError
from sup.model.backoff import Backoff
from sup.model.census import CensusGroup
from sup.model.spec import Spec
from sup.policies import Change, TopologyDecision, UpdateStrategy
from sup.service_health import HealthWatch
from sup.service_hooks import LifecycleHooks
from sup.service_processes import ServiceProcesses
from sup.service_render import Fingerprint, RenderedService, render_service
from sup.service_status import StatusBoard
from sup.service_tasks import unless
from sup.service_timing import ServiceTiming

logger = logging.getLogger("sup.service")

ASK_AGAIN_S = 5.0
"""A strategy that said wait is asked at every update, and this often anyway: it may go by time."""


@dataclass(frozen=True, slots=True)
class View:
    """One update: what the supervisor last said about the world."""

    context: dict[str, Any]
    decision: TopologyDecision
    group: CensusGroup
    me: str
    config_version: str


@dataclass(frozen=True, slots=True)
class Converged:
    """Where a step towards the configuration ended: seconds until the next (None: when there is
    news), or that the process must be started anew.
    """

    wait_s: float | None = None
    restart: bool = False


class Convergence:
    """What one service is rendered to and what its process has. Called from its task only."""

    def __init__(
        self,
        spec: Spec,
        package: CompiledPackage,
        processes: ServiceProcesses,
        board: StatusBoard,
        health: HealthWatch,
        strategy: UpdateStrategy,
        rng: random.Random,
        backoff: Backoff,
        timing: ServiceTiming,
        wake: asyncio.Event,
        hooks: LifecycleHooks,
    ) -> None:
        """``backoff`` is for retries of its own; ``wake`` is set when there is news."""
        self.applied = Fingerprint()
        """What the running process was started and last configured with."""
        self.on_disk = asyncio.Event()
        """Set once files have been written by this supervisor."""
        self._spec = spec
        self._package = package
        self._processes = processes
        self._board = board
        self._health = health
        self._strategy = strategy
        self._rng = rng
        self._backoff = backoff
        self._timing = timing
        self._wake = wake
        self._hooks = hooks
        self._writing = asyncio.Lock()
        self._rendered: RenderedService | None = None
        self._seen: View | None = None
        self._written: RenderedService | None = None
        self._granted: Fingerprint | None = None
        self._apply_at_s = 0.0

    @property
    def context(self) -> Mapping[str, Any]:
        """What was rendered last was rendered from this; empty before the first."""
        return {} if self._rendered is None else self._rendered.context

    async def render(self, view: View) -> RenderedService:
        """Render in memory, or take the last result when ``view`` differs in nothing it reads.

        Raises:
            OperatorError: a template fails.
        """
        last = self._rendered
        if last is not None and not needs_render(last.reads, last.context, view.context):
            return replace(last, config_version=view.config_version)
        return await asyncio.to_thread(
            render_service, self._package, view.context, view.config_version
        )

    async def write(self, rendered: RenderedService) -> None:
        """Bring it to the disk unless it is there. Raises ``OSError``."""
        async with self._writing:
            if self._written is None or self._written.files is not rendered.files:
                await self._processes.write(rendered.files)
            self._written = rendered
            self.on_disk.set()

    async def write_before_start(self, view: View, still: Callable[[], bool]) -> None:
        """Render and write for a service that does not run, unless it has begun to start since.

        For who is no task of the service; a start that comes meanwhile writes after it.

        Raises:
            OperatorError, OSError: a template fails, or the disk refuses.
        """
        async with self._writing:
            if not still():
                return
            rendered = await self.render(view)
            if self._written is None or self._written.files != rendered.files:
                await self._processes.write(rendered.files)
                self._written = rendered
                self.on_disk.set()

    def started(self, rendered: RenderedService, view: View) -> None:
        """A process was started with ``rendered``."""
        self.applied = rendered.fingerprint
        self._rendered, self._seen = rendered, view
        self._board.has_config(rendered.config_version)
        self._board.pend("")

    async def converge(
        self, process: Process, view: View, held: str, interrupted: Callable[[], bool]
    ) -> Converged:
        """Bring the running process to what the templates render from ``view``.

        ``held``: why a start would have to wait now, empty when it would not. A hook that runs is
        ended when ``interrupted`` turns true.
        """
        if view is not self._seen:
            try:
                self._rendered = await self.render(view)
            except OperatorError as error:
                self._board.problem(f"keeps its configuration: {error}")
                self._seen = view
                return Converged()
            self._seen = view
            self._board.explain("")
        rendered = self._rendered
        if rendered is None:  # adopted, and the first render failed
            return Converged()
        if rendered.fingerprint != self.applied:
            return await self._apply(process, view, rendered, held, interrupted)
        if rendered is not self._written and not await self._write_or_put_off(rendered):
            return self._later()  # other hooks may differ; nothing to restart
        self._board.has_config(rendered.config_version)
        self._board.pend("")
        return Converged()

    async def _apply(
        self,
        process: Process,
        view: View,
        rendered: RenderedService,
        held: str,
        interrupted: Callable[[], bool],
    ) -> Converged:
        """Apply a change that is there, or say why it waits."""
        restart = rendered.fingerprint.start != self.applied.start
        restart = restart or not self._processes.has_hook("reconfigure")
        if restart and held:
            self._board.pend(f"restart is held: {held}")
            return Converged(ASK_AGAIN_S)
        if rendered.fingerprint != self._granted:
            waits = self._waits(view)
            if waits is not None:
                self._board.pend(f"new configuration is held: {waits}")
                return Converged(ASK_AGAIN_S)
            self._granted = rendered.fingerprint
            self._apply_at_s = 0.0
        if self._apply_at_s > self._now():
            return self._later()
        if restart:
            veto = await unless(self._wake, interrupted, self._hooks.pre_update())
            if veto is None:
                return Converged(0)
            if veto:
                self._put_off(f"restart is vetoed: {veto}")
                return self._later()
        if not await self._write_or_put_off(rendered):
            return self._later()
        if restart:
            return Converged(restart=True)
        # From the hook's first act on, the process may have neither the old configuration nor the
        # new one. Were that not on record, going back to the old one would look like no change.
        self.applied = Fingerprint(self.applied.start)
        await self._processes.record(process, self.applied)
        self._board.pend("the reconfigure hook runs")
        result = await unless(
            self._wake,
            interrupted,
            self._processes.hook("reconfigure", self._timing.hook_timeout_s),
        )
        if result is None:
            return Converged(0)
        if not result.ok:
            self._put_off(f"reconfigure hook {result.reason}")
            return self._later()
        self._backoff.reset()
        self.applied = rendered.fingerprint
        await self._processes.record(process, rendered.fingerprint)
        logger.info("service reconfigured name=%s", self._spec.name)
        events.tell("config", self._spec.name, "reconfigured")
        self._board.has_config(rendered.config_version)
        self._board.pend("")
        self._health.check_soon()
        return Converged(0)

    def _waits(self, view: View) -> str | None:
        """Why the strategy holds a change of configuration back, or None: it may go."""
        now_us = int(self._now() * 1_000_000)
        try:
            decision = self._strategy.decide(view.group, view.me, Change.CONFIG, now_us)
            return None if decision.go else (decision.reason or f"strategy {self._spec.strategy}")
        except Exception as error:
            return f"strategy {self._spec.strategy} failed: {error!r}"

    async def _write_or_put_off(self, rendered: RenderedService) -> bool:
        try:
            await self.write(rendered)
        except OSError as error:
            where = error.filename or f"svc/{self._spec.name}"
            self._put_off(f"can't write {where}: {error.strerror}")
            return False
        return True

    def _put_off(self, problem: str) -> None:
        wait_s = self._backoff.next(self._rng)
        self._apply_at_s = self._now() + wait_s
        self._board.pend(f"{problem}; tried again in {wait_s:.1f} s")

    def _later(self) -> Converged:
        return Converged(max(0.0, self._apply_at_s - self._now()))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
