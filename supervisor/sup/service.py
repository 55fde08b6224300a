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

The task never blocks the loop (hooks are processes; rendering and disk work run in threads), never
spins (every retry waits by backoff) and logs on a change of state only. Neighbours:
``sup.edge.processes``, ``sup.edge.hooks``, ``sup.edge.render_files``, ``sup.service_health``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sup.edge.hooks import HookResult, run_hook
from sup.edge.log_files import LogBound, open_log
from sup.edge.process_tree import KILL_DEADLINE_S, MARK_VARIABLE, age_s, kill_marked
from sup.edge.processes import (
    Process,
    ProcessError,
    adopt,
    load_identity,
    new_mark,
    save_identity,
    spawn,
)
from sup.edge.render_files import CompiledPackage, needs_render, write_rendered
from sup.edge.service_dir import mark_prefix, prepare_directory, service_environment
from sup.edge.users import Credentials, resolve_credentials
from sup.errors import ConflictError, ExitCode, OperatorError
from sup.model.backoff import Backoff
from sup.model.census import CensusGroup
from sup.model.health import Health
from sup.model.process_state import Event, State, next_state
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.policies import Change, CheckContext, HealthCheck, TopologyDecision, UpdateStrategy
from sup.service_health import HealthWatch
from sup.service_render import Fingerprint, RenderedService, render_service

logger = logging.getLogger("sup.service")
T = TypeVar("T")

ASK_AGAIN_S = 5.0
"""A strategy that said wait is asked at every update, and this often anyway: it may go by the time.
"""
FAULT_PAUSE_S = 5.0
"""Pause after an error of our own, so that it can't become a hot loop."""
STOP_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class ServiceTiming:
    """Times of one service, seconds; tests shorten them."""

    first_check_s: float = 1.0
    """From the start to the first check: a service that dies at once never counts as ok."""
    bad_interval_s: float = 5.0
    """Longest pause between checks of a service that is not ok."""
    init_timeout_s: float = 600.0
    """Init hooks migrate databases and unpack data."""
    hook_timeout_s: float = 60.0
    """reconfigure and post-run: they talk to a running service."""
    post_stop_timeout_s: float = 30.0
    """Also delays a shutdown of the host, so it is short."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is known of a service now. Times ending in ``_since_s`` are Unix seconds, for people
    only.
    """

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


@dataclass(frozen=True, slots=True)
class _View:
    """One update: what the supervisor last said about the world."""

    context: dict[str, Any]
    decision: TopologyDecision
    group: CensusGroup
    me: str
    config_version: str


class Service:
    """One loaded service. All methods are called from the event loop that ran ``start``."""

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
        backoff: Backoff | None = None,
        timing: ServiceTiming = ServiceTiming(),
    ) -> None:
        """``environment`` is all that the service gets from the supervisor's own."""
        self.spec = spec
        self.package = package
        self.paths = paths
        self._strategy = strategy
        self._rng = rng
        self._base_environment = dict(environment)
        self._backoff = backoff or Backoff()
        self._reconfigure_backoff = Backoff(self._backoff.min_s, self._backoff.max_s)
        self._timing = timing
        self._plan = package.plan.service
        self._mark_prefix = mark_prefix(paths)
        self._health = HealthWatch(
            spec.name,
            health_check,
            self._plan.health,
            rng,
            interval_s=spec.health_interval or self._plan.health.interval,
            first_check_s=timing.first_check_s,
            bad_interval_s=timing.bad_interval_s,
        )
        # Wishes and news: set from outside, read by the task.
        self._view: _View | None = None
        self._desired_up = spec.desired == "up"
        self._restart_asked: list[asyncio.Future[None]] = []
        self._ending = False
        self._wake = asyncio.Event()
        # What the task knows.
        self._task: asyncio.Task[None] | None = None
        self._side: list[asyncio.Task[None]] = []
        self._state = State.DOWN
        self._since_s = int(time.time())
        self._process: Process | None = None
        self._credentials: Credentials | None = None
        self._up_at_s = 0.0
        self._retry_at_s = 0.0
        self._starts = 0
        self._last_exit = ""
        self._reason = ""
        self._pending = ""
        self._config_version = ""
        self._failed_context: dict[str, Any] | None = None
        self._rendered: RenderedService | None = None
        self._seen: _View | None = None
        self._written: RenderedService | None = None
        self._applied = Fingerprint()
        self._granted: Fingerprint | None = None
        self._reconfigure_at_s = 0.0
        self._changed = asyncio.Event()
        self._health.changed = self._changed

    # ---- wishes and news -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to bring the service to what its spec wants; a process that still runs is adopted."""
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
        """Take a new view: cheap, coalesced, at any rate. ``context`` is not copied."""
        self._view = _View(context, decision, group, me, config_version)
        self._wake.set()

    def set_desired(self, up: bool) -> None:
        """Want the process up or down from now on."""
        if up and not self._desired_up:
            self._backoff.reset()
        self._desired_up = up
        self._wake.set()
        self._changed.set()

    async def restart(self) -> None:
        """Restart now, without backoff; returns when the new start has succeeded, failed or is
        held.

        Raises:
            ConflictError: the service is wanted down.
        """
        if not self._desired_up or self._ending or self._task is None:
            raise ConflictError(f"service {self.spec.name} is down; start it first")
        done = asyncio.get_running_loop().create_future()
        self._restart_asked.append(done)
        self._wake.set()
        await done

    async def stop(self) -> None:
        """Stop the process and end the task; bounded by ``stop_bound_s``, whatever the service
        does.
        """
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
        """The longest that ``stop`` waits in good order: signal, killing, twice the post-stop hook."""
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
        return ServiceStatus(
            name=self.spec.name,
            group=self.spec.group,
            desired="up" if self._desired_up else "down",
            process=self._state.value,
            pid=None if self._process is None else self._process.pid,
            since_s=self._since_s,
            health=self._health.verdict,
            health_since_s=self._health.since_s,
            output=self._health.output,
            restarts=max(0, self._starts - 1),
            last_exit=self._last_exit,
            reason=self._reason,
            pending=self._pending,
            config_version=self._config_version,
            package=self.package.plan.ident,
            topology=self.spec.topology,
            strategy=self.spec.strategy,
        )

    async def changed(self) -> None:
        """Wait until the status differs from what it was at the last return; for one caller only.

        A change between two calls is not lost: the second returns at once. A check's new output
        alone is no change.
        """
        await self._changed.wait()
        self._changed.clear()

    # ---- the task --------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._adopt()
            while not self._ending:
                self._wake.clear()
                try:
                    wait_s = await self._step()
                except Exception:
                    # A mistake of ours must neither end the supervision nor pass unseen.
                    logger.exception("service fault name=%s", self.spec.name)
                    self._tell(reason="internal error, see the log; tried again")
                    wait_s = FAULT_PAUSE_S
                    self._recover()
                if not self._ending:
                    await self._sleep(wait_s)
            await self._end()
        finally:
            await self._end_side_tasks()
            for done in self._restart_asked:
                done.cancel()
            if self._ending and self._process is not None:
                await self._process.clear()

    async def _end(self) -> None:
        if self._process is not None and self._process.exit is None:
            await self._go_down("the supervisor ends it")
        elif self._process is not None:
            await self._handle_exit(self._process)
        if self._state is not State.DOWN:
            self._enter(Event.STOP, "the supervisor ends it")

    def _recover(self) -> None:
        """After a fault in the middle of a step: back to a state that the next step can begin from."""
        if self._process is None and self._state is State.STARTING:
            self._enter(Event.START_FAILED, self._reason)
        elif self._process is None and self._state is State.STOPPING:
            self._enter(Event.STOPPED, self._reason)

    async def _step(self) -> float | None:
        """One step towards what is wanted; the seconds until the next, None: when something
        happens.
        """
        process = self._process
        if process is not None and process.exit is not None:
            await self._handle_exit(process)
            return 0
        if not self._desired_up:
            if process is not None:
                await self._go_down("the operator wants it down")
            elif self._state is not State.DOWN:
                self._enter(Event.STOP, "the operator wants it down")
            return None
        if process is None:
            return await self._come_up()
        if self._restart_asked and (self._view is None or self._view.decision.may_start):
            self._backoff.reset()
            await self._go_down("the operator restarts it")
            return 0
        return await self._converge(process)

    async def _adopt(self) -> None:
        identity = await asyncio.to_thread(load_identity, self.paths.process_json)
        process = None if identity is None else adopt(identity)
        if process is None or identity is None:
            return
        self._process = process
        self._applied = Fingerprint.parse(identity.fingerprint)
        self._starts = 1
        age = age_s(identity.start_ticks)
        self._up_at_s = self._now() - age
        self._enter(Event.ADOPT, "")
        self._since_s = int(time.time() - age)
        # Hooks that the dead supervisor left half done; the service's own start is spared.
        await asyncio.to_thread(kill_marked, self._mark_prefix, keep=identity.mark)
        await self._resolve_user()
        self._begin_side_tasks(process)

    async def _come_up(self) -> float | None:
        view = self._view
        if view is None:
            self._tell(reason="waits for the first view of the ring")
            return None
        if not self._restart_asked:
            if self._state is State.BACKOFF and self._retry_at_s > self._now():
                return self._retry_at_s - self._now()
            if self._state is State.FAILED and view.context == self._failed_context:
                return None
        if not view.decision.may_start:
            if self._state is not State.DOWN:
                self._enter(Event.STOP, "")
            self._tell(reason=f"start is held: {view.decision.reason}")
            self._answer_restarts()
            return None
        retry = self._state is State.BACKOFF and not self._restart_asked
        self._enter(Event.RETRY if retry else Event.START, "")
        try:
            await self._start(view)
        except OperatorError as error:
            if error.exit_code is ExitCode.BAD_INPUT:
                self._failed_context = view.context
                self._health.force(Health.CRITICAL, str(error))
                self._enter(Event.GIVE_UP, str(error))
            else:
                self._start_failed(str(error))
        except (OSError, ProcessError) as error:
            self._start_failed(str(error))
        finally:
            self._answer_restarts()
        return 0

    async def _start(self, view: _View) -> None:
        """From STARTING to UP, BACKOFF (init failed) or DOWN (not wanted any more)."""
        await self._resolve_user()
        await asyncio.to_thread(prepare_directory, self.paths, self._credentials)
        rendered = await self._render(view)
        await self._write(rendered)
        left = await asyncio.to_thread(kill_marked, self._mark_prefix)
        if left:
            raise ProcessError(f"process {left[0]} of an earlier start can't be killed")
        if "init" in self.package.hooks:
            hook = self._hook("init", self._timing.init_timeout_s)
            result = await self._unless(lambda: not self._wanted, hook)
            if result is not None and not result.ok:
                self._start_failed(f"init hook {result.reason}")
                return
        if not self._wanted:
            self._enter(Event.STOP, "not wanted any more")
            self._enter(Event.STOPPED, "not wanted any more")
            return
        output = await asyncio.to_thread(open_log, self._log_path)
        try:
            process = await spawn(
                self._argv(),
                directory=self.paths.root,
                environment=self._environment(),
                mark=new_mark(self._mark_prefix),
                output=output,
                credentials=self._credentials,
                fingerprint=str(rendered.fingerprint),
            )
        finally:
            os.close(output)
        self._process = process
        self._applied = rendered.fingerprint
        self._rendered, self._seen, self._failed_context = rendered, view, None
        self._starts += 1
        self._up_at_s = self._now()
        self._config_version = rendered.config_version
        self._pending = ""
        self._enter(Event.SPAWNED, "")
        await self._remember(process)
        self._begin_side_tasks(process)
        if "post-run" in self.package.hooks:
            self._begin_side_task(self._post_run())

    def _start_failed(self, reason: str) -> None:
        wait_s = self._backoff.next(self._rng)
        self._retry_at_s = self._now() + wait_s
        self._health.force(Health.CRITICAL, reason)
        self._enter(Event.START_FAILED, f"{reason}; next try in {wait_s:.1f} s")

    async def _handle_exit(self, process: Process) -> None:
        up_s = self._now() - self._up_at_s
        await self._end_side_tasks()
        self._last_exit = str(process.exit)
        await self._let_go(process)
        wait_s = self._backoff.next(self._rng, up_s=up_s)
        self._retry_at_s = self._now() + wait_s
        how = f"ended with {self._last_exit} after {up_s:.1f} s"
        self._health.force(Health.CRITICAL, f"the process {how}")
        self._enter(Event.EXITED, f"{how}; next start in {wait_s:.1f} s")
        await self._post_stop()

    async def _go_down(self, reason: str) -> None:
        """Stop a running process in good order: STOPPING, the tree gone, post-stop, DOWN."""
        process = self._process
        assert process is not None
        self._enter(Event.STOP, reason)
        await self._end_side_tasks()
        left = await process.stop(self._plan.stop_signal_number, self._plan.stop_timeout)
        if left:
            logger.error("service unkillable name=%s pids=%s", self.spec.name, left)
        self._last_exit = str(process.exit or "unknown")
        await self._let_go(process)
        self._health.force(Health.UNKNOWN, "")
        await self._post_stop()
        self._enter(Event.STOPPED, reason)

    async def _let_go(self, process: Process) -> None:
        await process.clear()
        self._process = None
        self._pending = ""
        await asyncio.to_thread(_remove, self.paths.process_json, self.paths.pid_file)

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
                self._tell(reason=f"keeps its configuration: {error}")
                self._seen = view
                return None
            self._seen = view
            self._tell(reason="")
        rendered = self._rendered
        if rendered is None:  # adopted, and the first render failed
            return None
        if rendered.fingerprint == self._applied:
            if rendered is not self._written:
                await self._write_or_tell(rendered)  # other hooks may differ; nothing to restart
            self._config_version_is(rendered.config_version)
            self._tell(pending="")
            return None
        return await self._apply(process, view, rendered)

    async def _apply(
        self, process: Process, view: _View, rendered: RenderedService
    ) -> float | None:
        restart = (
            rendered.fingerprint.start != self._applied.start
            or "reconfigure" not in self.package.hooks
        )
        if restart and not view.decision.may_start:
            self._tell(pending=f"restart is held: {view.decision.reason}")
            return ASK_AGAIN_S
        if rendered.fingerprint != self._granted:
            held = self._held(view)
            if held is not None:
                self._tell(pending=f"new configuration is held: {held}")
                return ASK_AGAIN_S
            self._granted = rendered.fingerprint
            self._reconfigure_at_s = 0.0
        if self._reconfigure_at_s > self._now():
            return self._reconfigure_at_s - self._now()
        if not await self._write_or_tell(rendered):
            return self._reconfigure_at_s - self._now()
        if restart:
            self._backoff.reset()
            await self._go_down("restarts with a new configuration")
            return 0
        self._tell(pending="reconfigure hook runs")
        hook = self._hook("reconfigure", self._timing.hook_timeout_s)
        result = await self._unless(
            lambda: not self._wanted or bool(self._restart_asked) or process.exit is not None, hook
        )
        if result is None:
            return 0
        if not result.ok:
            self._put_off(f"reconfigure hook {result.reason}")
            return self._reconfigure_at_s - self._now()
        self._reconfigure_backoff.reset()
        self._applied = rendered.fingerprint
        process.identity = msgspec.structs.replace(
            process.identity, fingerprint=str(rendered.fingerprint)
        )
        await self._remember(process)
        logger.info("service reconfigured name=%s", self.spec.name)
        self._config_version_is(rendered.config_version)
        self._tell(pending="")
        self._health.check_soon()
        return 0

    def _held(self, view: _View) -> str | None:
        """Why the strategy holds a change of configuration back, or None: it may go."""
        now_us = int(self._now() * 1_000_000)
        try:
            decision = self._strategy.decide(view.group, view.me, Change.CONFIG, now_us)
        except Exception as error:
            return f"strategy {self.spec.strategy} failed: {error!r}"
        return None if decision.go else (decision.reason or f"strategy {self.spec.strategy}")

    def _put_off(self, problem: str) -> None:
        wait_s = self._reconfigure_backoff.next(self._rng)
        self._reconfigure_at_s = self._now() + wait_s
        self._tell(pending=f"{problem}; tried again in {wait_s:.1f} s")

    async def _render(self, view: _View) -> RenderedService:
        last = self._rendered
        if last is not None and not needs_render(last.reads, last.context, view.context):
            return replace(last, config_version=view.config_version)
        return await asyncio.to_thread(
            render_service, self.package, view.context, view.config_version
        )

    async def _write(self, rendered: RenderedService) -> None:
        owner = (
            None if self._credentials is None else (self._credentials.uid, self._credentials.gid)
        )
        await asyncio.to_thread(write_rendered, rendered.files, self.paths, owner)
        self._written = rendered

    async def _write_or_tell(self, rendered: RenderedService) -> bool:
        try:
            await self._write(rendered)
        except OSError as error:
            self._put_off(f"can't write {error.filename or self.paths.root}: {error.strerror}")
            return False
        return True

    # ---- processes -------------------------------------------------------------------------------

    async def _hook(self, name: str, timeout_s: float) -> HookResult:
        try:
            return await run_hook(
                [str(self.paths.hook(name))],
                directory=self.paths.root,
                environment=self._environment(),
                mark=new_mark(self._mark_prefix),
                timeout_s=timeout_s,
                credentials=self._credentials,
            )
        except ProcessError as error:
            return HookResult(None, None, False, str(error), 0)

    async def _post_stop(self) -> None:
        if "post-stop" in self.package.hooks:
            result = await self._hook("post-stop", self._timing.post_stop_timeout_s)
            if not result.ok:
                logger.warning(
                    "hook failed name=%s hook=post-stop: %s", self.spec.name, result.reason
                )

    async def _post_run(self) -> None:
        backoff = Backoff(self._backoff.min_s, self._backoff.max_s)
        while True:
            result = await self._hook("post-run", self._timing.hook_timeout_s)
            if result.ok:
                return
            logger.warning("hook failed name=%s hook=post-run: %s", self.spec.name, result.reason)
            await asyncio.sleep(backoff.next(self._rng))

    async def _resolve_user(self) -> None:
        self._credentials = await asyncio.to_thread(
            resolve_credentials, self._plan.user or None, self._plan.group or None
        )

    async def _remember(self, process: Process) -> None:
        try:
            await asyncio.to_thread(save_identity, self.paths.process_json, process.identity)
            await asyncio.to_thread(self.paths.pid_file.write_text, f"{process.pid}\n")
        except OSError as error:
            # The service runs; a next supervisor would only restart it instead of adopting it.
            logger.warning("service unrecorded name=%s: %s", self.spec.name, error)

    def _argv(self) -> list[str]:
        if "run" in self.package.hooks:
            return [str(self.paths.hook("run"))]
        return list(self._plan.argv or ())

    def _environment(self) -> dict[str, str]:
        environment = service_environment(
            self._base_environment,
            spec=self.spec,
            plan=self.package.plan,
            paths=self.paths,
            package_dir=self.package.package.directory,
            member_id="" if self._view is None else self._view.me,
            credentials=self._credentials,
        )
        return environment | {MARK_VARIABLE: self._mark_prefix}

    def _check_context(self) -> CheckContext:
        hook = self.paths.hook("health-check") if "health-check" in self.package.hooks else None
        return CheckContext(
            service=self.spec.name,
            directory=str(self.paths.root),
            hook_path=None if hook is None else str(hook),
            process_up=self._process is not None and self._process.exit is None,
            timeout_s=self._plan.health.timeout,
            user=self._plan.user or None,
            group=self._plan.group or None,
            environment=self._environment(),
            settings=self._plan.health.settings,
        )

    @property
    def _log_path(self) -> Path:
        return self.paths.logs / f"{self.spec.name}.log"

    # ---- tasks beside the process ----------------------------------------------------------------

    def _begin_side_tasks(self, process: Process) -> None:
        self._begin_side_task(self._watch(process))
        self._begin_side_task(self._bound_log())
        self._begin_side_task(self._health.run(self._check_context))

    def _begin_side_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._side.append(asyncio.create_task(self._guarded(work)))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("service fault name=%s", self.spec.name)

    async def _end_side_tasks(self) -> None:
        side, self._side = self._side, []
        for task in side:
            task.cancel()
        if side:
            await asyncio.wait(side)

    async def _watch(self, process: Process) -> None:
        await process.wait()
        self._wake.set()

    async def _bound_log(self) -> None:
        bound = LogBound(self._log_path)
        while True:
            await asyncio.sleep(await asyncio.to_thread(bound.look))

    # ---- small things ----------------------------------------------------------------------------

    @property
    def _wanted(self) -> bool:
        return self._desired_up and not self._ending

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _sleep(self, wait_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_s)

    async def _unless(
        self, interrupted: Callable[[], bool], work: Coroutine[Any, Any, T]
    ) -> T | None:
        """Do ``work`` unless ``interrupted`` turns true first: then cancel it and return None."""
        task = asyncio.create_task(work)
        try:
            while not task.done() and not interrupted():
                self._wake.clear()
                news = asyncio.create_task(self._wake.wait())
                await asyncio.wait({task, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
            if task.done():
                return task.result()
            return None
        finally:
            self._wake.set()  # whatever came meanwhile is looked at next
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def _enter(self, event: Event, reason: str) -> None:
        """Go to the state after ``event``; one log line per change."""
        before, self._state = self._state, next_state(self._state, event)
        self._tell(reason=reason)
        if before is not self._state:
            self._since_s = int(time.time())
            self._changed.set()
            pid = "-" if self._process is None else self._process.pid
            level = (
                logging.WARNING if self._state in (State.BACKOFF, State.FAILED) else logging.INFO
            )
            logger.log(
                level,
                "service %s name=%s pid=%s was=%s%s",
                self._state.value,
                self.spec.name,
                pid,
                before.value,
                f" reason={reason!r}" if reason else "",
            )

    def _tell(self, *, reason: str | None = None, pending: str | None = None) -> None:
        """Show a reason or a pending change; logged once, when it becomes another."""
        if reason is not None and reason != self._reason:
            self._reason = reason
            self._changed.set()
            if reason.startswith(("keeps its configuration", "start is held", "internal")):
                logger.warning("service problem name=%s reason=%r", self.spec.name, reason)
        if pending is not None and pending != self._pending:
            self._pending = pending
            self._changed.set()
            if pending:
                logger.info("service pending name=%s what=%r", self.spec.name, pending)

    def _config_version_is(self, version: str) -> None:
        if version != self._config_version:
            self._config_version = version
            self._changed.set()

    def _answer_restarts(self) -> None:
        asked, self._restart_asked = self._restart_asked, []
        for done in asked:
            if not done.done():
                done.set_result(None)


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
