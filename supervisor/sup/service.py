"""One loaded service on this host: a task that brings the process to what is wanted and keeps it
there.

Theory of operation. Inputs (a new view of the ring, a wish of the operator, an exit, a timer) only
set values and wake the task (``service_task``); the task gathers them as ``Facts``,
``sup.model.next_step`` names one step, and the task takes it: start, converge, stop. It is
level-triggered, so nothing is lost by coming at a bad moment. The states and their legal changes
are the table in ``sup.model.process_state``. What is shown is in ``service_status``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sup import events
from sup.edge.loop_lag import LoopLag
from sup.edge.process_tree import KILL_DEADLINE_S
from sup.edge.processes import ProcessHost
from sup.edge.render_files import CompiledPackage
from sup.errors import ConflictError, OperatorError
from sup.model.backoff import Backoff
from sup.model.census import CensusGroup
from sup.model.process_state import State
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.model.start_order import Standing
from sup.policies import HealthCheck, TopologyDecision, UpdateStrategy
from sup.service_convergence import View
from sup.service_gates import StartGate
from sup.service_health import HealthWatch
from sup.service_hooks import InstallTurn
from sup.service_status import ServiceStatus
from sup.service_task import ServiceTask, Wishes
from sup.service_timing import ServiceTiming

__all__ = ["Service", "ServiceStatus", "ServiceTiming"]

logger = logging.getLogger("sup.service")

STOP_MARGIN_S = 5.0


class Service:
    """One loaded service. All methods are called from one event loop."""

    def __init__(
        self,
        spec: Spec,
        package: CompiledPackage,
        paths: ServicePaths,
        *,
        health_check: HealthCheck,
        probe_checks: Mapping[str, HealthCheck] | None = None,
        lag: LoopLag | None = None,
        strategy: UpdateStrategy,
        rng: random.Random,
        environment: Mapping[str, str],
        backoff: Backoff | None = None,
        timing: ServiceTiming | None = None,
        host: ProcessHost | None = None,
        gates: Sequence[StartGate] = (),
        installs: InstallTurn | None = None,
    ) -> None:
        """``environment`` is all that the service gets of the supervisor's own. ``backoff`` is for
        tests: the plan's is the rule. ``gates`` can hold the start. ``probe_checks`` has the checks
        of ``startup`` and ``liveness`` where the plan has them. ``installs`` remembers which
        releases are installed; without it none is.
        """
        self.spec = spec
        self.package = package
        self.paths = paths
        self._plan = plan = package.plan.service
        self._timing = timing = timing or ServiceTiming()
        self._wishes = Wishes(desired_up=spec.desired == "up")
        self._health = HealthWatch(
            spec.name,
            {"readiness": health_check, **(probe_checks or {})},
            plan.probes,
            rng,
            interval_s=spec.health_interval,
            first_check_s=timing.first_check_s,
            bad_interval_s=timing.bad_interval_s,
            lag=lag,
            share_times=timing.share,
        )
        self._health.wake = self._wishes.wake
        self._acts = ServiceTask(
            spec,
            package,
            paths,
            self._wishes,
            health=self._health,
            strategy=strategy,
            rng=rng,
            environment=environment,
            backoff=backoff or Backoff(plan.restart_min, plan.restart_max, plan.stable_for),
            timing=timing,
            host=host,
            gates=gates,
            installs=installs,
        )
        self._task: asyncio.Task[None] | None = None

    # ---- wishes and news -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to bring the service to what its spec wants; what still runs of it is adopted."""
        if self._task is None:
            self._task = asyncio.create_task(self._acts.run(), name=f"service {self.spec.name}")

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
        self._wishes.view = View(context, decision, group, me, config_version)
        self._acts.processes.member_id = me
        self._health.see(group, me)
        self._wishes.wake.set()

    @property
    def uid(self) -> int:
        """The user that the service runs as."""
        return self._acts.processes.uid

    @property
    def health(self) -> HealthWatch:
        """Its health: checks, results, reports, maintenance."""
        return self._health

    def look(self) -> None:
        """Wake the task: a gate may have opened."""
        self._wishes.wake.set()

    def set_desired(self, up: bool) -> None:
        """Want the process up or down from now on."""
        if up and not self._wishes.desired_up:
            self._acts.ends.forgive()
        self._wishes.desired_up = up
        self._wishes.wake.set()
        self._acts.board.changed.set()

    def try_again(self) -> None:
        """The operator says start: what waits for its time, has failed or is done starts now."""
        # No process runs in these, even while the last one is still being cleared away.
        if self._acts.board.state in (State.BACKOFF, State.FAILED, State.DONE):
            self._wishes.try_again = True
            self._acts.ends.forgive()
            self._wishes.wake.set()

    def reset_failed(self) -> None:
        """Forget the deaths, the backoff and the start limit; what had failed is tried again."""
        if self._acts.board.state is not State.DONE:
            self.try_again()
        self._acts.ends.forgive()
        self._wishes.forget_deaths = True
        self._wishes.wake.set()

    async def restart(self) -> None:
        """Restart now, without backoff; returns when the new start succeeded, failed or is held.

        Raises:
            ConflictError: the service is wanted down, or its topology would hold the new start.
        """
        if not self._wishes.desired_up or self._wishes.ending or self._task is None:
            raise ConflictError(f"service {self.spec.name} is down; start it first")
        await self._wishes.restart_asked.wait(self._wishes.wake)

    async def settled(self) -> None:
        """Return when the process is gone, or wanted again."""
        if self._task is None or self._task.done():
            return
        await self._wishes.settling.wait(self._wishes.wake)

    async def stop(self) -> None:
        """Stop the process and end the task; bounded whatever the service does."""
        self._wishes.ending = True
        self._wishes.wake.set()
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
        hook_s = self._plan.hooks.timeout_s("post-stop", self._timing.post_stop_timeout_s)
        hook_s += 2 * KILL_DEADLINE_S
        return self._plan.stop_timeout + 2 * KILL_DEADLINE_S + 2 * hook_s + STOP_MARGIN_S

    async def detach(self) -> None:
        """End the task and leave the process running, for the next supervisor to adopt."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._acts.process is not None:
            self._acts.process.detach()

    @property
    def standing(self) -> Standing:
        """How far it has come, for services that come after it."""
        acts = self._acts
        process = acts.process
        there = process is not None and process.exit is None
        return Standing(acts.board.state, there, there and acts.readiness.ready, self._health.ready)

    # ---- hooks that others ask for ---------------------------------------------------------------

    async def suitability(self) -> int | None:
        """How fit this member is to lead, as its suitability hook says; higher is fitter.

        None: there is no hook, it failed, took too long, said no number, or could not be rendered.
        Also answers before the first start, which an election may hold. Bounded by the hook's
        time-out; an answer younger than ``SUITABILITY_FRESH_S`` is given again.
        """
        acts = self._acts
        if not acts.hooks.has("suitability") or self._task is None:
            return None
        await acts.adopted.wait()
        try:
            await acts.make_hooks_ready()
        except (OperatorError, OSError) as error:
            acts.processes.hook_runs.tell("suitability", f"suitability hook did not run: {error}")
            return None
        return await acts.hooks.suitability()

    async def demote(self, timeout_s: float) -> bool:
        """Give the leadership up: the demote hook within ``timeout_s``, else the process stops.

        True: the hook exited with 0, so the process goes on as a follower, or there is no process.
        False: there is no hook, or it failed or took too long; the process is gone by now, and
        comes up again when its topology says so. The stop adds at most ``stop_timeout`` and the
        killing of its tree; whoever has a hard deadline leaves room for it.
        """
        acts = self._acts
        if acts.process is None or self._task is None or self._task.done():
            return True
        result = await acts.hooks.demote(timeout_s)
        if result is not None and result.ok:
            return True
        why = "there is no demote hook" if result is None else f"demote hook {result.reason}"
        events.tell("hook", self.spec.name, f"leadership is lost, the process stops: {why}")
        await self._wishes.demoting.wait(self._wishes.wake)
        return False

    async def pre_update(self) -> str:
        """Whether the service may go down for an update now: why not, or empty.

        Who takes it down for a new release asks before; a restart by configuration asks by itself.
        """
        return await self._acts.hooks.pre_update() if self._acts.process is not None else ""

    async def file_updated(self, names: list[str]) -> None:
        """Files in ``svc/NAME/files`` are new, changed or gone: tell the process, if it runs."""
        await self._acts.adopted.wait()
        await self._acts.file_updated(names)

    async def uninstall(self) -> str:
        """Run the uninstall hook after ``stop``; why it failed, or empty."""
        return await self._acts.hooks.uninstall()

    def hooks(self) -> dict[str, Any]:
        """For the REST interface: the last run of each hook, and what suitability said."""
        runs = self._acts.processes.hook_runs.answer()
        said = self._acts.hooks.suitability_said
        if "suitability" in runs and said is not None:
            runs["suitability"]["value"] = said.value
        return runs

    # ---- what is shown ---------------------------------------------------------------------------

    def status(self) -> ServiceStatus:
        """What is known now."""
        acts = self._acts
        process, board, ends = acts.process, acts.board, acts.ends
        board.pid = None if process is None or process.exit is not None else process.pid
        wait_s = 0.0
        if board.state is State.BACKOFF:
            wait_s = ends.retry_at_s - asyncio.get_running_loop().time()
        return board.status(
            desired_up=self._wishes.desired_up,
            started=process is not None and acts.readiness.ready,
            next_try_s=int(time.time() + wait_s) if wait_s > 0 else 0,
            cause=ends.cause,
            tally=ends.tally,
        )

    async def changed(self) -> None:
        """Wait until the status differs from what it was at the last return; for one caller only.

        A change between two calls is not lost: the second returns at once. A check's new output
        alone is no change.
        """
        await self._acts.board.changed.wait()
        self._acts.board.changed.clear()
