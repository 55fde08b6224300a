"""One loaded service on this host: a task that brings the process to what is wanted and keeps it
there.

Theory of operation. Inputs (a new view of the ring, a wish of the operator, an exit, a timer) only
set values and wake the task; the task looks at all of them and takes one step: adopt, start,
converge, stop. It is level-triggered, so nothing is lost by coming at a bad moment. The states and
their legal changes are the table in ``sup.model.process_state``.

What a process was started with and last configured with is a *fingerprint* kept in
``process.json``. As long as it differs from what the templates render now, a change is pending: it
survives a failed ``reconfigure`` hook, a strategy that says wait, and a supervisor that is killed
in between. Rendered files reach the disk only when the change may be applied. A template that fails
changes nothing.

The task never blocks the loop (hooks are processes; rendering and disk work run in threads) and
never spins (every retry waits by backoff). Neighbours: ``service_processes`` (what is run),
``service_render`` (what it is run with), ``service_health``, ``service_status`` (what is shown).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sup.edge.process_tree import KILL_DEADLINE_S, age_s
from sup.edge.processes import LocalHost, Process, ProcessError, ProcessHost
from sup.edge.render_files import CompiledPackage, needs_render
from sup.errors import ConflictError, ExitCode, OperatorError
from sup.model.backoff import Backoff
from sup.model.census import CensusGroup
from sup.model.health import Health
from sup.model.process_state import Event, State
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.policies import Change, HealthCheck, TopologyDecision, UpdateStrategy
from sup.service_health import HealthWatch
from sup.service_processes import ServiceProcesses
from sup.service_render import Fingerprint, RenderedService, render_service
from sup.service_status import ServiceStatus, StatusBoard
from sup.service_tasks import Callers, SideTasks, unless
from sup.service_timing import ServiceTiming

__all__ = ["Service", "ServiceStatus", "ServiceTiming"]

logger = logging.getLogger("sup.service")

ASK_AGAIN_S = 5.0
"""A strategy that said wait is asked at every update, and this often anyway: it may go by time."""
FAULT_PAUSE_S = 5.0
"""Pause after an error of our own, so that it can't become a hot loop."""
STOP_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _View:
    """One update: what the supervisor last said about the world."""

    context: dict[str, Any]
    decision: TopologyDecision
    group: CensusGroup
    me: str
    config_version: str


class Service:
    """One loaded service. All methods are called from one event loop."""

    def __init__(
        self,
        spec: Spec,
        package: CompiledPackage,
        paths: ServicePaths,
        *,
        health_check: HealthCheck,
        strategy: UpdateStrategy,
        rng: random.Random,
        environment: Mapping[str, str],
        host: ProcessHost | None = None,
        backoff: Backoff | None = None,
        timing: ServiceTiming | None = None,
    ) -> None:
        """``environment`` is all that the service gets of the supervisor's own."""
        self.spec = spec
        self.package = package
        self.paths = paths
        self._strategy = strategy
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._apply_backoff = Backoff(self._backoff.min_s, self._backoff.max_s)
        self._timing = timing = timing or ServiceTiming()
        self._plan = package.plan.service
        self._health = HealthWatch(
            spec.name,
            health_check,
            self._plan.health,
            rng,
            interval_s=spec.health_interval or self._plan.health.interval,
            first_check_s=timing.first_check_s,
            bad_interval_s=timing.bad_interval_s,
        )
        self._board = StatusBoard(spec, package, self._health)
        self._processes = ServiceProcesses(spec, package, paths, environment, host or LocalHost())
        self._side = SideTasks(spec.name)
        # Wishes and news: set from outside, read by the task.
        self._view: _View | None = None
        self._desired_up = spec.desired == "up"
        self._restart_asked = Callers()
        self._settling = Callers()
        self._ending = False
        self._wake = asyncio.Event()
        # What the task knows. Times are of the loop's monotonic clock.
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._up_at_s = 0.0
        self._retry_at_s = 0.0
        self._failed_context: dict[str, Any] | None = None
        self._rendered: RenderedService | None = None
        self._seen: _View | None = None
        self._written: RenderedService | None = None
        self._applied = Fingerprint()
        self._granted: Fingerprint | None = None
        self._apply_at_s = 0.0

    # ---- wishes and news -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to bring the service to what its spec wants; what still runs of it is adopted."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"service {self.spec.name}")

    def update(
        self,
        context: dict[str, Any],
        decision: TopologyDecision,
        group: CensusGroup,
        me: str,
        config_version: str = "",
    ) -> None:
        """Take a new view: cheap, coalesced, at any rate. ``context`` must not be changed later.

        ``config_version`` is the version of the group configuration that ``context`` holds.
        """
        self._view = _View(context, decision, group, me, config_version)
        self._processes.member_id = me
        self._wake.set()

    def set_desired(self, up: bool) -> None:
        """Want the process up or down from now on."""
        if up and not self._desired_up:
            self._backoff.reset()
        self._desired_up = up
        self._wake.set()
        self._board.changed.set()

    async def restart(self) -> None:
        """Restart now, without backoff; returns when the new start succeeded, failed or is held.

        Raises:
            ConflictError: the service is wanted down, or its topology would hold the new start.
        """
        if not self._desired_up or self._ending or self._task is None:
            raise ConflictError(f"service {self.spec.name} is down; start it first")
        await self._restart_asked.wait(self._wake)

    async def settled(self) -> None:
        """Return when the process is gone, or wanted again."""
        if self._task is None or self._task.done():
            return
        await self._settling.wait(self._wake)

    async def stop(self) -> None:
        """Stop the process and end the task; bounded whatever the service does."""
        self._ending = True
        self._wake.set()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=self.stop_bound_s)
        if late:
            logger.error("service stuck name=%s bound_s=%.0f", self.spec.name, self.stop_bound_s)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=2 * KILL_DEADLINE_S)

    @property
    def stop_bound_s(self) -> float:
        """The longest that ``stop`` waits in good order: signal, killing, post-stop hook twice."""
        hook_s = self._timing.post_stop_timeout_s + 2 * KILL_DEADLINE_S
        return self._plan.stop_timeout + 2 * KILL_DEADLINE_S + 2 * hook_s + STOP_MARGIN_S

    async def detach(self) -> None:
        """End the task and leave the process running, for the next supervisor to adopt."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._process is not None:
            self._process.detach()

    def status(self) -> ServiceStatus:
        """What is known now."""
        self._board.pid = None if self._process is None else self._process.pid
        return self._board.status(desired_up=self._desired_up)

    async def changed(self) -> None:
        """Wait until the status differs from what it was at the last return; for one caller only.

        A change between two calls is not lost: the second returns at once. A check's new output
        alone is no change.
        """
        await self._board.changed.wait()
        self._board.changed.clear()

    # ---- the task --------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            wait_s: float | None = 0
            step: Callable[[], Awaitable[float | None]] = self._adopt
            # What an earlier supervisor left is taken over even when the end is near: to be ended.
            while step == self._adopt or not self._ending:
                self._wake.clear()
                try:
                    wait_s = await step()
                except Exception:
                    # A mistake of ours must neither end the supervision nor pass unseen.
                    logger.exception("service fault name=%s", self.spec.name)
                    self._recover()
                    wait_s = FAULT_PAUSE_S
                step = self._step
                if not self._ending:
                    await self._sleep(wait_s)
            await self._end()
        finally:
            await self._side.end()
            self._refuse_restarts("it was unloaded")
            self._settling.answer()
            if self._ending and self._process is not None:
                await self._process.clear()

    async def _end(self) -> None:
        if self._process is not None and self._process.exit is None:
            await self._go_down("the supervisor ends it")
        elif self._process is not None:
            await self._handle_exit(self._process)
        if self._board.state is not State.DOWN:
            self._recover()
            self._board.enter(Event.STOP, "the supervisor ends it")

    def _recover(self) -> None:
        """After a fault in the middle of a step: to a state that the next step can begin from."""
        if self._process is None and self._board.state is State.STARTING:
            self._board.enter(Event.START_FAILED, "internal error, see the log")
        elif self._process is None and self._board.state is State.STOPPING:
            self._board.enter(Event.STOPPED, "internal error, see the log")

    async def _step(self) -> float | None:
        """One step towards what is wanted; seconds until the next, None: when there is news."""
        process = self._process
        if self._desired_up:
            self._settling.answer()
        if process is not None and process.exit is not None:
            await self._handle_exit(process)
            return 0
        if not self._desired_up:
            if process is not None:
                await self._go_down("the operator wants it down")
            elif self._board.state is not State.DOWN:
                self._board.enter(Event.STOP, "the operator wants it down")
            self._restart_asked.answer()
            self._settling.answer()
            return None
        if process is None:
            return await self._come_up()
        if self._restart_asked and self._view is not None and not self._view.decision.may_start:
            self._refuse_restarts(f"restart is held: {self._view.decision.reason}")
        if self._restart_asked:
            self._backoff.reset()
            await self._go_down("the operator restarts it")
            return 0
        return await self._converge(process)

    async def _adopt(self) -> float:
        """The first step: take over what an earlier supervisor left running."""
        process = await self._processes.adopt()
        if process is None:
            return 0
        self._process = process
        self._applied = Fingerprint.parse(process.identity.fingerprint)
        self._board.starts = 1
        age = age_s(process.identity.start_ticks)
        self._up_at_s = self._now() - age
        self._board.enter(Event.ADOPT)
        self._board.since_s = since_s = int(time.time() - age)
        self._begin_side_tasks(process)
        self._side.begin(self._know_adopted(since_s))
        try:
            # Hooks that the dead supervisor left half done; the service's own start is spared.
            await self._processes.sweep(keep=process.identity.mark)
            await self._processes.resolve_user()
        except (OperatorError, ProcessError) as error:
            self._board.problem(str(error))
        return 0

    async def _come_up(self) -> float | None:
        view, state = self._view, self._board.state
        if view is None:
            self._board.explain("waits for the first view of the ring")
            return None
        if not self._restart_asked:
            if state is State.BACKOFF and self._retry_at_s > self._now():
                return self._retry_at_s - self._now()
            if state is State.FAILED and not await self._is_mended(view):
                return None
        if not view.decision.may_start:
            if state is not State.DOWN:
                self._board.enter(Event.STOP)
            self._board.problem(f"start is held: {view.decision.reason}")
            self._restart_asked.answer()
            return None
        retry = state is State.BACKOFF and not self._restart_asked
        asked = (
            self._restart_asked.take()
        )  # who asks from here on means another start than this one
        self._board.enter(Event.RETRY if retry else Event.START)
        try:
            await self._start(view)
        except OperatorError as error:
            if error.exit_code is ExitCode.BAD_INPUT:
                self._failed_context = view.context
                self._health.force(Health.CRITICAL, str(error))
                self._board.enter(Event.GIVE_UP, str(error))
            else:
                self._start_failed(str(error))
        except (OSError, ProcessError) as error:
            self._start_failed(str(error))
        finally:
            asked.answer()
        return 0

    async def _is_mended(self, view: _View) -> bool:
        """Whether the templates that could not be rendered now can.

        Asked without a change of state: what is published of this service comes back in the next
        view, and a start for each would make the next one.
        """
        if view.context == self._failed_context:
            return False
        self._failed_context = view.context
        try:
            await self._render(view)
        except OperatorError as error:
            self._board.problem(str(error))
            return False
        return True

    async def _start(self, view: _View) -> None:
        """From STARTING to UP, BACKOFF (init failed) or DOWN (not wanted any more)."""
        await self._processes.prepare()
        rendered = await self._render(view)
        await self._write(rendered)
        await self._processes.sweep()
        if self._processes.has_hook("init"):
            hook = self._processes.hook("init", self._timing.init_timeout_s)
            result = await unless(self._wake, lambda: not self._wanted, hook)
            if result is not None and not result.ok:
                self._start_failed(f"init hook {result.reason}")
                return
        if not self._wanted:
            self._board.enter(Event.STOP)
            self._board.enter(Event.STOPPED, "not wanted any more")
            return
        process = await self._processes.start(rendered.fingerprint)
        self._process = process
        self._board.pid = process.pid
        self._applied = rendered.fingerprint
        self._rendered, self._seen, self._failed_context = rendered, view, None
        self._up_at_s = self._now()
        self._board.starts += 1
        self._board.has_config(rendered.config_version)
        self._board.pend("")
        self._board.enter(Event.SPAWNED)
        self._begin_side_tasks(process)
        if self._processes.has_hook("post-run"):
            self._side.begin(self._post_run())
        await self._processes.record(process, rendered.fingerprint)

    def _start_failed(self, reason: str) -> None:
        wait_s = self._backoff.next(self._rng)
        self._retry_at_s = self._now() + wait_s
        self._health.force(Health.CRITICAL, reason)
        self._board.enter(Event.START_FAILED, f"{reason}; next try in {wait_s:.1f} s")

    async def _handle_exit(self, process: Process) -> None:
        up_s = self._now() - self._up_at_s
        await self._let_go(process)
        wait_s = self._backoff.next(self._rng, up_s=up_s)
        self._retry_at_s = self._now() + wait_s
        how = f"ended with {self._board.last_exit} after {up_s:.1f} s"
        self._health.force(Health.CRITICAL, f"the process {how}")
        self._board.enter(Event.EXITED, f"{how}; next start in {wait_s:.1f} s")
        await self._post_stop()

    async def _go_down(self, reason: str) -> None:
        """Stop a running process in good order: STOPPING, the tree gone, post-stop, DOWN."""
        process = self._process
        assert process is not None
        self._board.enter(Event.STOP, reason)
        await self._side.end()
        left = await process.stop(self._plan.stop_signal_number, self._plan.stop_timeout)
        if left:
            logger.error("service unkillable name=%s pids=%s", self.spec.name, left)
        await self._let_go(process)
        self._health.force(Health.UNKNOWN, "")
        await self._post_stop()
        self._board.enter(Event.STOPPED, reason)

    async def _let_go(self, process: Process) -> None:
        await self._side.end()
        await process.clear()
        self._board.last_exit = str(process.exit or "unknown")
        self._process = self._board.pid = None
        self._board.pend("")
        await self._processes.forget()

    # ---- configuration ---------------------------------------------------------------------------

    async def _converge(self, process: Process) -> float | None:
        """Bring the running process to what the templates render from the newest view."""
        view = self._view
        if view is None:
            return None
        if view is not self._seen:
            try:
                self._rendered = await self._render(view)
            except OperatorError as error:
                self._board.problem(f"keeps its configuration: {error}")
                self._seen = view
                return None
            self._seen = view
            self._board.explain("")
        rendered = self._rendered
        if rendered is None:  # adopted, and the first render failed
            return None
        if rendered.fingerprint != self._applied:
            return await self._apply(process, view, rendered)
        if rendered is not self._written and not await self._write_or_put_off(rendered):
            return self._apply_at_s - self._now()  # other hooks may differ; nothing to restart
        self._board.has_config(rendered.config_version)
        self._board.pend("")
        return None

    async def _apply(
        self, process: Process, view: _View, rendered: RenderedService
    ) -> float | None:
        """Apply a change that is there, or say why it waits."""
        restart = rendered.fingerprint.start != self._applied.start
        restart = restart or not self._processes.has_hook("reconfigure")
        if restart and not view.decision.may_start:
            self._board.pend(f"restart is held: {view.decision.reason}")
            return ASK_AGAIN_S
        if rendered.fingerprint != self._granted:
            held = self._held(view)
            if held is not None:
                self._board.pend(f"new configuration is held: {held}")
                return ASK_AGAIN_S
            self._granted = rendered.fingerprint
            self._apply_at_s = 0.0
        if self._apply_at_s > self._now():
            return self._apply_at_s - self._now()
        if not await self._write_or_put_off(rendered):
            return self._apply_at_s - self._now()
        if restart:
            self._backoff.reset()
            await self._go_down("restarts with a new configuration")
            return 0
        # From the hook's first act on, the process may have neither the old configuration nor the
        # new one. Were that not on record, going back to the old one would look like no change.
        self._applied = Fingerprint(self._applied.start)
        await self._processes.record(process, self._applied)
        self._board.pend("the reconfigure hook runs")
        result = await unless(
            self._wake,
            lambda: not self._wanted or bool(self._restart_asked) or process.exit is not None,
            self._processes.hook("reconfigure", self._timing.hook_timeout_s),
        )
        if result is None:
            return 0
        if not result.ok:
            self._put_off(f"reconfigure hook {result.reason}")
            return self._apply_at_s - self._now()
        self._apply_backoff.reset()
        self._applied = rendered.fingerprint
        await self._processes.record(process, rendered.fingerprint)
        logger.info("service reconfigured name=%s", self.spec.name)
        self._board.has_config(rendered.config_version)
        self._board.pend("")
        self._health.check_soon()
        return 0

    def _held(self, view: _View) -> str | None:
        """Why the strategy holds a change of configuration back, or None: it may go."""
        now_us = int(self._now() * 1_000_000)
        try:
            decision = self._strategy.decide(view.group, view.me, Change.CONFIG, now_us)
            return None if decision.go else (decision.reason or f"strategy {self.spec.strategy}")
        except Exception as error:
            return f"strategy {self.spec.strategy} failed: {error!r}"

    def _put_off(self, problem: str) -> None:
        wait_s = self._apply_backoff.next(self._rng)
        self._apply_at_s = self._now() + wait_s
        self._board.pend(f"{problem}; tried again in {wait_s:.1f} s")

    async def _render(self, view: _View) -> RenderedService:
        last = self._rendered
        if last is not None and not needs_render(last.reads, last.context, view.context):
            return replace(last, config_version=view.config_version)
        return await asyncio.to_thread(
            render_service, self.package, view.context, view.config_version
        )

    async def _write(self, rendered: RenderedService) -> None:
        if self._written is None or self._written.files is not rendered.files:
            await self._processes.write(rendered.files)
        self._written = rendered

    async def _write_or_put_off(self, rendered: RenderedService) -> bool:
        try:
            await self._write(rendered)
        except OSError as error:
            where = error.filename or self.paths.root
            self._put_off(f"can't write {where}: {error.strerror}")
            return False
        return True

    # ---- small things ----------------------------------------------------------------------------

    @property
    def _wanted(self) -> bool:
        return self._desired_up and not self._ending

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _sleep(self, wait_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    def _begin_side_tasks(self, process: Process) -> None:
        self._side.begin(self._watch(process))
        self._side.begin(self._processes.bound_log())
        self._side.begin(
            self._health.run(lambda: self._processes.check_context(process_up=process.exit is None))
        )

    async def _know_adopted(self, since_s: int) -> None:
        await self._health.checked.wait()
        if self._board.state is State.ADOPTED:
            self._board.enter(Event.CHECKED, self._board.reason)
            self._board.since_s = since_s  # of the process, not of its supervisor

    async def _watch(self, process: Process) -> None:
        await process.wait()
        self._wake.set()

    async def _post_stop(self) -> None:
        if self._processes.has_hook("post-stop"):
            result = await self._processes.hook("post-stop", self._timing.post_stop_timeout_s)
            if not result.ok:
                logger.warning("hook post-stop name=%s %s", self.spec.name, result.reason)

    async def _post_run(self) -> None:
        backoff = Backoff(self._backoff.min_s, self._backoff.max_s)
        while True:
            result = await self._processes.hook("post-run", self._timing.hook_timeout_s)
            if result.ok:
                return
            logger.warning("hook post-run name=%s %s", self.spec.name, result.reason)
            await asyncio.sleep(backoff.next(self._rng))

    def _refuse_restarts(self, reason: str) -> None:
        self._restart_asked.refuse(ConflictError(f"service {self.spec.name}: {reason}"))
