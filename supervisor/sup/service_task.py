"""The task of one service: gathers what is known, and takes the step that follows (floor 8).

Level-triggered: ``Wishes`` holds what is wanted and what is news, set from outside; the task looks
at all of it, ``sup.model.next_step`` names one step, the task takes it and looks again. It never
blocks the loop (hooks are processes; rendering and disk work run in threads) and never spins (every
retry waits by backoff). Neighbours: ``service_processes`` (what is run), ``service_convergence``
(what it is run with), ``service_ends`` (what follows from an end), ``service_readiness`` (when it
counts as started, and as stuck).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sup.edge.process_tree import age_s
from sup.edge.processes import Exit, Process, ProcessError, ProcessHost
from sup.edge.render_files import CompiledPackage
from sup.errors import ConflictError, ExitCode, OperatorError
from sup.model import next_step
from sup.model.backoff import Backoff
from sup.model.health import Health
from sup.model.next_step import Decision, Facts, Fault, Step, decide
from sup.model.process_state import Event, State
from sup.model.readiness import Rules
from sup.model.restart import Cause
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.policies import UpdateStrategy
from sup.service_convergence import Convergence, View
from sup.service_ends import After, Ends
from sup.service_gates import StartGate, held_by
from sup.service_health import HealthWatch
from sup.service_hooks import InstallTurn, LifecycleHooks
from sup.service_processes import ServiceProcesses
from sup.service_readiness import Readiness
from sup.service_render import Fingerprint
from sup.service_status import StatusBoard
from sup.service_tasks import Callers, SideTasks, unless
from sup.service_timing import ServiceTiming

logger = logging.getLogger("sup.service")

HOOKS_WAIT_S = 5.0
"""For the hooks of a service that is about to start to be rendered and written."""
FAULT_PAUSE_S = 5.0
"""Pause after an error of our own, so that it can't become a hot loop."""


@dataclass(slots=True)
class Wishes:
    """What is wanted of a service and what is news: set from outside, read by its task."""

    desired_up: bool
    view: View | None = None
    restart_asked: Callers = field(default_factory=Callers)
    settling: Callers = field(default_factory=Callers)
    """Who waits until the process is gone."""
    demoting: Callers = field(default_factory=Callers)
    """Who wants a process down that must not lead any longer, and waits until it is."""
    try_again: bool = False
    """What waits for its time, has failed or is done shall start now."""
    forget_deaths: bool = False
    ending: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wanted(self) -> bool:
        """The process shall be there."""
        return self.desired_up and not self.ending

    async def sleep(self, wait_s: float | None) -> None:
        """Until there is news, or ``wait_s`` is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.wake.wait()


class ServiceTask:
    """The one who acts on a service. Public attributes are for ``sup.service`` to read."""

    def __init__(
        self,
        spec: Spec,
        package: CompiledPackage,
        paths: ServicePaths,
        wishes: Wishes,
        *,
        health: HealthWatch,
        strategy: UpdateStrategy,
        rng: random.Random,
        environment: Mapping[str, str],
        backoff: Backoff,
        timing: ServiceTiming,
        host: ProcessHost | None,
        gates: Sequence[StartGate],
        installs: InstallTurn | None,
    ) -> None:
        self._name = spec.name
        self._wishes = wishes
        self._rng = rng
        self._plan = plan = package.plan.service
        self._backoff = backoff
        self._timing = timing
        self._gates = gates
        self.health = health
        self.board = StatusBoard(spec, package, health)
        self.processes = ServiceProcesses(spec, package, paths, environment, host)
        self.hooks = LifecycleHooks(spec.name, package.package, self.processes, installs)
        self.adopted = asyncio.Event()
        """Set when it is known what an earlier supervisor left."""
        self.readiness = Readiness(spec.name, Rules.of(plan), self.board, wishes.wake)
        self.ends = Ends(spec.name, plan, paths.tally, backoff, rng)
        self._side = SideTasks(spec.name)
        self._convergence = Convergence(
            spec,
            package,
            self.processes,
            self.board,
            health,
            strategy,
            rng,
            Backoff(backoff.min_s, backoff.max_s),
            timing,
            wishes.wake,
            self.hooks,
        )
        self.process: Process | None = None
        # Times are of the loop's monotonic clock.
        self._starting = Callers()
        self._up_at_s = 0.0
        self._failed_context: dict[str, Any] | None = None

    async def run(self) -> None:
        """Bring the service to what is wanted until ``ending``; then take it down.

        Cancelled, it leaves the process alone.
        """
        try:
            wait_s: float | None = 0
            act: Callable[[], Awaitable[float | None]] = self._adopt
            # What an earlier supervisor left is taken over even when the end is near: to be ended.
            while act == self._adopt or not self._wishes.ending:
                self._wishes.wake.clear()
                try:
                    wait_s = await act()
                except Exception:
                    # A mistake of ours must neither end the supervision nor pass unseen.
                    logger.exception("service fault name=%s", self._name)
                    self._recover()
                    wait_s = FAULT_PAUSE_S
                self.adopted.set()
                act = self._step
                if not self._wishes.ending:
                    await self._wishes.sleep(wait_s)
            await self._end()
        finally:
            await self._side.end()
            self._refuse_restarts("it was unloaded")
            self._wishes.settling.answer()
            self._wishes.demoting.answer()
            self._starting.answer()
            await self.hooks.end()
            if self._wishes.ending and self.process is not None:
                await self.process.clear()

    async def _end(self) -> None:
        if self.process is not None and self.process.exit is None:
            await self._go_down("the supervisor ends it")
        elif self.process is not None:
            await self._handle_exit(self.process)
        if self.board.state is not State.DOWN:
            self._recover()
            self.board.enter(Event.STOP, "the supervisor ends it")

    def _recover(self) -> None:
        """After a fault in the middle of a step: to a state that the next step can begin from."""
        if self.process is None and self.board.state is State.STARTING:
            self.board.enter(Event.START_FAILED, "internal error, see the log")
        elif self.process is None and self.board.state is State.STOPPING:
            self.board.enter(Event.STOPPED, "internal error, see the log")

    def _facts(self) -> Facts:
        wishes = self._wishes
        process, view = self.process, wishes.view
        presence = next_step.Process.NONE
        if process is not None:
            ended = process.exit is not None
            presence = next_step.Process.EXITED if ended else next_step.Process.RUNS
        fault = self.readiness.fault
        if fault is None and self.health.wants_restart:
            fault = Fault(Cause.LIVENESS, self.health.wants_restart)
        return Facts(
            state=self.board.state,
            process=presence,
            wanted=wishes.wanted,
            viewed=view is not None,
            held=self._held(),
            restart_asked=bool(self._wishes.restart_asked)
            or (process is None and self._wishes.try_again),
            retry_in_s=self.ends.retry_at_s - self._now(),
            fault=fault,
            demoted=bool(wishes.demoting),
            ready=self.readiness.ready,
            mendable=(
                self._failed_context is not None
                and view is not None
                and view.context != self._failed_context
            ),
        )

    def _held(self) -> str:
        """Why a start may not be now; empty: it may."""
        view = self._wishes.view
        if view is not None and not view.decision.may_start:
            return view.decision.reason or "the topology does not let it start"
        return held_by(self._gates)

    async def _step(self) -> float | None:
        """One step towards what is wanted; seconds until the next, None: when there is news."""
        if self._wishes.desired_up:
            self._wishes.settling.answer()
        if self._wishes.forget_deaths:
            self._wishes.forget_deaths = False
            await self.ends.reset()
            self.board.changed.set()
        if self.process is None:
            self._wishes.demoting.answer()
        facts = self._facts()
        decision = decide(facts)
        wait_s = await self._take(decision, facts)
        if not (self.board.state is State.STARTING and self.process is not None):
            self._starting.answer()
        return wait_s

    async def _take(self, decision: Decision, facts: Facts) -> float | None:
        process, view = self.process, self._wishes.view
        match decision.step:
            case Step.REST:
                if not facts.wanted:
                    self.health.rest()
                    self._wishes.restart_asked.answer()
                    self._wishes.settling.answer()
                return decision.wait_s
            case Step.HANDLE_EXIT if process is not None:
                await self._handle_exit(process)
            case Step.TAKE_DOWN:
                await self._go_down("the operator wants it down")
            case Step.ENTER_DOWN:
                await self.ends.wanted()
                self.board.enter(Event.STOP, "the operator wants it down")
            case Step.AWAIT_VIEW:
                self.board.explain("waits for the first view of the ring")
                return None
            case Step.HOLD:
                self._hold(facts.held)
                return None
            case Step.MEND if view is not None:
                if not await self._is_mended(view):
                    return None
                await self._come_up(view, decision.event)
            case Step.START if view is not None:
                await self._come_up(view, decision.event)
            case Step.END_FAULTY if process is not None and facts.fault is not None:
                await self._end_faulty(process, facts.fault)
            case Step.BECOME_UP if process is not None:
                self._become_up(process)
            case Step.REFUSE_RESTART:
                self._refuse_restarts(f"restart is held: {facts.held}")
            case Step.DEMOTE:
                self.ends.forgive()
                await self._go_down("its leadership is lost")
            case Step.RESTART:
                self.ends.forgive()
                await self._go_down("the operator restarts it")
            case Step.CONVERGE if process is not None and view is not None:
                return await self._converge(process, view, facts.held)
            case Step.CONVERGE:
                return None  # adopted, and the first view is not there yet
        return 0

    async def _adopt(self) -> float:
        """The first step: take over what an earlier supervisor left running, or ended."""
        await self.ends.load()
        process = await self.processes.adopt()
        if process is None:
            return 0
        self.process = process
        self._convergence.applied = Fingerprint.parse(process.identity.fingerprint)
        self.board.starts, self.board.pid = 1, process.pid
        age = age_s(process.identity.start_ticks)
        self._up_at_s = self._now() - age
        self.board.enter(Event.ADOPT)
        self.board.since_s = since_s = int(time.time() - age)
        self._begin_watching(process, adopted=True)
        self._begin_checking(process)
        self._side.begin(self._know_adopted(since_s))
        try:
            # Hooks that the dead supervisor left half done; the service's own start is spared.
            await self.processes.sweep(keep=process.identity.mark)
            await self.processes.resolve_user()
        except (OperatorError, ProcessError) as error:
            self.board.problem(str(error))
        return 0

    def _hold(self, reason: str) -> None:
        if self.board.state is not State.DOWN:
            self.board.enter(Event.STOP)
        self.board.hold(reason)
        self._wishes.restart_asked.answer()
        self._wishes.try_again = False

    async def _come_up(self, view: View, event: Event) -> None:
        asked = self._wishes.try_again or bool(self._wishes.restart_asked)
        self._wishes.try_again = False
        # Who asks from here on means another start than this one.
        callers = self._wishes.restart_asked.take()
        self.board.enter(event)
        try:
            await self._start(view, asked=asked)
        except OperatorError as error:
            if error.exit_code is ExitCode.BAD_INPUT:
                self._failed_context = view.context
                self.health.force(Health.CRITICAL, str(error))
                self.board.enter(Event.GIVE_UP, str(error))
            else:
                await self._start_failed(str(error))
        except (OSError, ProcessError) as error:
            await self._start_failed(str(error))
        finally:
            self._starting.join(callers)

    async def _is_mended(self, view: View) -> bool:
        """Whether the templates that could not be rendered now can.

        Asked without a change of state: what is published of this service comes back in the next
        view, and a start for each would make the next one.
        """
        self._failed_context = view.context
        try:
            await self._convergence.render(view)
        except OperatorError as error:
            self.board.problem(str(error))
            return False
        return True

    async def _start(self, view: View, *, asked: bool) -> None:
        """From STARTING to UP, BACKOFF (init failed), DOWN (not wanted any more), or to where an
        earlier run left it in this boot; a notify service stays STARTING until it is ready.
        """
        await self.processes.prepare()
        rendered = await self._convergence.render(view)
        left = self.ends.outcome(rendered.fingerprint)
        if left is not None and not asked:
            self._leave(After(Event.COMPLETED if left.done else Event.GIVE_UP, left.reason))
            return
        await self.ends.wanted()
        await self._convergence.write(rendered)
        await self.processes.sweep()
        self.ends.starts()
        installing = self.hooks.install()
        reason = await unless(self._wishes.wake, lambda: not self._wishes.wanted, installing)
        if reason:
            await self._start_failed(reason)
            return
        if self.processes.has_hook("init"):
            hook = self.processes.hook("init", self._timing.init_timeout_s)
            result = await unless(self._wishes.wake, lambda: not self._wishes.wanted, hook)
            if result is not None and not result.ok:
                await self._start_failed(f"init hook {result.reason}")
                return
        if not self._wishes.wanted:
            self.board.enter(Event.STOP)
            self.board.enter(Event.STOPPED, "not wanted any more")
            return
        process = await self.processes.start(rendered.fingerprint)
        self.process = process
        self.board.pid = process.pid
        self._failed_context = None
        self._up_at_s = self._now()
        self.board.starts += 1
        self._convergence.started(rendered, view)
        self._begin_watching(process, adopted=False)
        if self.readiness.ready:
            self._become_up(process)
        else:
            self.board.explain("waits for READY=1")
        await self.processes.record(process, rendered.fingerprint)

    def _become_up(self, process: Process) -> None:
        self.board.enter(Event.SPAWNED)
        self._begin_checking(process)
        if self.processes.has_hook("post-run"):
            self._side.begin(self._post_run())

    async def _start_failed(self, reason: str) -> None:
        after = self.ends.start_failed(reason, self._convergence.applied)
        if after.event is not Event.GIVE_UP:
            after = After(Event.START_FAILED, after.reason)
        self._leave(after)
        await self.ends.save()

    def _leave(self, after: After) -> None:
        """Enter the state after an end; what it says of the health needs no check."""
        if after.event is Event.COMPLETED:
            self.health.force(Health.OK, after.reason)
        else:
            self.health.force(Health.CRITICAL, after.reason)
        self.board.enter(after.event, after.reason)

    async def _handle_exit(self, process: Process) -> None:
        up_s = self._now() - self._up_at_s
        assert process.exit is not None
        await self._side.end()
        # First of all it is shown; what it left behind, and the disk, come after.
        self.board.last_exit = str(process.exit)
        self.board.pid = None
        self._leave(self.ends.ended(process.exit, up_s, self._convergence.applied))
        await self._let_go(process)
        await self.ends.save()
        await self._post_stop()

    async def _go_down(self, reason: str) -> None:
        """Stop a running process in good order: STOPPING, the tree gone, post-stop, DOWN."""
        assert self.process is not None
        await self._stop_process(self.process, reason, self._plan.stop_signal_number)
        self.health.force(Health.UNKNOWN, "")
        await self._post_stop()
        self.board.enter(Event.STOPPED, reason)

    async def _end_faulty(self, process: Process, fault: Fault) -> None:
        """Stop a process that must not go on; what comes then is for the restart policy."""
        if self.health.wants_restart:
            self.health.take_restart()
        logger.warning("service faulty name=%s cause=%s", self._name, fault.cause.value)
        up_s = self._now() - self._up_at_s
        watchdog = fault.cause is Cause.WATCHDOG
        number = self._plan.watchdog_signal_number if watchdog else self._plan.stop_signal_number
        exit = await self._stop_process(process, fault.text, number)
        await self._post_stop()
        self._leave(self.ends.ended(exit, up_s, self._convergence.applied, fault))
        await self.ends.save()

    async def _stop_process(self, process: Process, reason: str, number: int) -> Exit:
        self.board.enter(Event.STOP, reason)
        await self._side.end()
        left = await process.stop(number, self._plan.stop_timeout, self._plan.kill_mode)
        if left:
            logger.error("service unkillable name=%s pids=%s", self._name, left)
        await self._let_go(process, cleared=True)
        return process.exit or Exit()

    async def _let_go(self, process: Process, *, cleared: bool = False) -> None:
        await self._side.end()
        if not cleared:  # a stop has done it
            await process.clear()
        self.board.last_exit = str(process.exit or "unknown")
        self.process = self.board.pid = None
        self.readiness.end()
        self.board.pend("")
        await self.processes.forget()

    async def _converge(self, process: Process, view: View, held: str) -> float | None:
        if self._plan.type == "oneshot":
            return None  # it is to end by itself; the next run has the new configuration
        done = await self._convergence.converge(
            process,
            view,
            held,
            lambda: (
                not self._wishes.wanted
                or bool(self._wishes.restart_asked or self._wishes.demoting)
                or process.exit is not None
            ),
        )
        if done.restart:
            self.ends.forgive()
            await self._go_down("restarts with a new configuration")
            return 0
        return done.wait_s

    # ---- hooks that others ask for ---------------------------------------------------------------

    async def make_hooks_ready(self) -> None:
        """Render the hooks of a service that does not run, so that one can be asked before a start.

        A start that is under way writes them itself; that is waited for, not for long.

        Raises:
            OperatorError, OSError: a template fails, or the disk does.
        """
        view = self._wishes.view
        if self.process is not None or view is None:
            return
        if self.board.state is not State.STARTING:
            await self.processes.prepare()
            await self._convergence.write_before_start(
                view, lambda: self.process is None and self.board.state is not State.STARTING
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOOKS_WAIT_S):
                await self._convergence.on_disk.wait()

    async def file_updated(self, names: list[str]) -> None:
        """Run the file-updated hook of a running process; it ends with the process at last."""
        if self.process is not None and self.board.state.running:
            await asyncio.wait([self._side.begin(self.hooks.file_updated(names))])

    # ---- small things ----------------------------------------------------------------------------

    def _cfg(self) -> Mapping[str, Any]:
        """The configuration that was rendered last, for the settings of checks."""
        cfg = self._convergence.context.get("cfg")
        if not cfg and self._wishes.view is not None:
            cfg = self._wishes.view.context.get("cfg")
        return cfg if isinstance(cfg, Mapping) else {}

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _begin_watching(self, process: Process, *, adopted: bool) -> None:
        self.readiness.begin(process, adopted=adopted)
        self._side.begin(self._watch(process))
        self._side.begin(self.processes.bound_log())
        if self.readiness.rules.timed:
            self._side.begin(self.readiness.watch())

    def _begin_checking(self, process: Process) -> None:
        self._side.begin(
            self.health.run(
                lambda probe: self.processes.check_context(
                    probe, process_up=process.exit is None, cfg=self._cfg()
                )
            )
        )

    async def _know_adopted(self, since_s: int) -> None:
        await self.health.checked.wait()
        if self.board.state is State.ADOPTED:
            self.board.enter(Event.CHECKED, self.board.reason)
            self.board.since_s = since_s  # of the process, not of its supervisor

    async def _watch(self, process: Process) -> None:
        await process.wait()
        self._wishes.wake.set()

    async def _post_stop(self) -> None:
        if self.processes.has_hook("post-stop"):
            result = await self.processes.hook("post-stop", self._timing.post_stop_timeout_s)
            if not result.ok:
                logger.warning("hook post-stop name=%s %s", self._name, result.reason)

    async def _post_run(self) -> None:
        backoff = Backoff(self._backoff.min_s, self._backoff.max_s)
        while True:
            result = await self.processes.hook("post-run", self._timing.hook_timeout_s)
            if result.ok:
                return
            logger.warning("hook post-run name=%s %s", self._name, result.reason)
            await asyncio.sleep(backoff.next(self._rng))

    def _refuse_restarts(self, reason: str) -> None:
        self._wishes.restart_asked.refuse(ConflictError(f"service {self._name}: {reason}"))
