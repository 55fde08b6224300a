"""The services of this host: spec files in, running services and their rumors out.

Level-triggered: ``scan`` compares the spec files with what is loaded (``model.reconcile``),
``refresh`` gives every service the present view. A spec or package that can't be used is shown with
its reason and tried again at each scan; it never disturbs the other services. Editing a spec file
and running the command are the same thing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sup.edge.loop_lag import LoopLag
from sup.edge.operator_files import read_operator_file, reason
from sup.edge.processes import LocalHost, ProcessHost
from sup.edge.releases import Releases, package_of
from sup.edge.render_files import CompiledPackage, RenderError, render
from sup.errors import ConflictError, NotFoundError, OperatorError
from sup.group_configs import GroupConfigs, Held
from sup.group_files import GroupFiles
from sup.maintenance import Maintenance
from sup.model.binds import Bound, look
from sup.model.census import Census, CensusGroup
from sup.model.config_layers import (
    CONFIG_BYTES_MAX,
    check_types,
    effective_config,
    environment_layer,
    parse_toml,
)
from sup.model.plan import Plan
from sup.model.reconcile import Load, Reload, Start, Stop, Unload, reconcile
from sup.model.render_context import build_context
from sup.model.service_group import ServiceGroup
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.model.start_order import After
from sup.plugins import Plugins
from sup.policies import TopologyDecision
from sup.service import Service
from sup.service_binds import BindGate
from sup.service_files import ServiceFiles
from sup.service_hooks import InstallTurn
from sup.service_packages import check_environment, resolve
from sup.service_specs import SERVICES_MAX, SpecFiles
from sup.start_order import OrderGate, StartOrder

log = logging.getLogger("sup.services")
T = TypeVar("T")

OWN_VARIABLES = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM"),
        *("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "MAINPID", "SYSTEMD_EXEC_PID"),
    }
)
"""Variables by which a service manager speaks to the supervisor; a service must not answer them."""


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What services get of the supervisor's environment: all but what is addressed to it alone."""
    return {
        name: value
        for name, value in environment.items()
        if name not in OWN_VARIABLES and not name.startswith("SUP_")
    }


def _after(spec: Spec, compiled: CompiledPackage) -> After:
    """What a service comes after: the plan's word, and the spec's, which wins."""
    return {**compiled.plan.service.after, **spec.after}


@dataclass(slots=True)
class Loaded:
    """One spec that is loaded here; ``service`` is None while its package can't be used."""

    spec: Spec
    compiled: CompiledPackage | None = None
    service: Service | None = None
    problem: str = ""
    """Why the package or a configuration layer can't be used, in one line, or empty."""
    user: Mapping[str, Any] = field(default_factory=dict)
    user_signature: tuple[int, int] | None = None
    gate: BindGate | None = None
    files: ServiceFiles | None = None


class Services:
    """The loaded services by name; ``changed`` is called when one has something new to tell."""

    def __init__(
        self,
        state_dir: Path,
        plugins: Plugins,
        configs: GroupConfigs,
        me: str,
        sys: Callable[[], Mapping[str, Any]],
        changed: Callable[[], None],
        rng: random.Random,
        *,
        host: ProcessHost | None = None,
        files: GroupFiles | None = None,
    ) -> None:
        """``host`` starts the processes; by default they are children of this process. Without
        ``files`` no group has any.
        """
        self.host: ProcessHost = host or LocalHost()
        self._order = StartOrder(self._service)
        self._environment = _inherited(os.environ)
        self._state_dir = state_dir
        self._specs = SpecFiles(state_dir / "specs")
        self.plans_dir = state_dir / "plans"
        self._plugins = plugins
        self._configs = configs
        self._files = files
        self._installs = InstallTurn(Releases(state_dir))
        self._uninstall_problems: dict[str, str] = {}
        self._me = me
        self._sys = sys
        self._changed = changed
        self._rng = rng
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._bad_user: dict[str, str] = {}
        self._lag = LoopLag()
        self.maintenance = Maintenance(state_dir / "maintenance")
        self._census = Census()
        self._scanning = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._ended = False
        self.loaded: dict[str, Loaded] = {}

    @property
    def warnings(self) -> list[str]:
        """Spec and user.toml files that can't be used, a line each."""
        return [*self._specs.warnings, *self._bad_user.values()]

    # Specs

    def write_spec(self, spec: Spec) -> None:
        """Make ``spec`` the wish for its service, durably. The next ``scan`` acts on it.

        Raises:
            OperatorError: the disk refuses (exit 1); the wish before it stays.
        """
        self._specs.write(spec)

    async def wish(self, spec: Spec) -> Loaded:
        """Make ``spec`` the wish for its service, durably, and act on it.

        Raises:
            OperatorError: the disk refuses, or there are too many; the wish before it stays.
            ConflictError: the supervisor ends, or the wish was taken back meanwhile.
        """
        self._refuse_at_end()
        if spec.name not in self.loaded and len(self.loaded) >= SERVICES_MAX:
            raise OperatorError(f"{SERVICES_MAX} services are loaded, the limit; unload one")
        await self._write(self._specs.write, spec)
        await self.scan()
        if spec.name not in self.loaded:
            raise ConflictError(f'service "{spec.name}" was unloaded meanwhile')
        return self.loaded[spec.name]

    async def unwish(self, name: str) -> str:
        """Forget the wish for ``name``, durably, and unload it. Raises as ``wish`` does.

        Returns why its uninstall hook failed, or empty; the service is unloaded either way.
        """
        self._refuse_at_end()
        self._uninstall_problems.pop(name, None)
        await self._write(self._specs.remove, name)
        await self.scan()
        return self._uninstall_problems.pop(name, "")

    async def _write(self, change: Callable[[T], None], what: T) -> None:
        """Change a spec file in a thread, one at a time, also when nobody waits for it any more."""

        async def turn() -> None:
            async with self._writing:
                await asyncio.to_thread(change, what)

        await asyncio.shield(asyncio.create_task(turn(), name="write spec"))

    def _refuse_at_end(self) -> None:
        if self._ended:
            raise ConflictError("the supervisor ends; nothing is changed any more")

    def spec(self, name: str) -> Spec:
        """The spec that is loaded under ``name``. Raises ``NotFoundError``."""
        loaded = self.loaded.get(name)
        if loaded is None:
            here = ", ".join(sorted(self.loaded)) or "none"
            raise NotFoundError(f'no service "{name}" is loaded here; loaded: {here}')
        return loaded.spec

    def has_spec_file(self, name: str) -> bool:
        """Whether there is a wish for ``name``, usable or not."""
        return self._specs.has(name)

    async def scan(self) -> None:
        """Read the spec files and make the loaded services equal to them; read user.toml files.

        Raises:
            ConflictError: ``stop_all`` came first; nothing is started any more.
        """
        if self.maintenance.expire():
            self._tell_maintenance()
        async with self._scanning:
            self._refuse_at_end()
            desired = await asyncio.to_thread(self._read_specs)
            running = {name: loaded.spec for name, loaded in self.loaded.items()}
            # What frees names and ports goes first; within a phase nobody waits for another's stop.
            down: list[str] = []
            gone: set[str] = set()
            up: list[Spec] = []
            for action in reconcile(desired, running):
                match action:
                    case Unload(name):
                        down.append(name)
                        gone.add(name)
                    case Reload(name, spec):
                        down.append(name)
                        up.append(spec)
                    case Load(_, spec):
                        up.append(spec)
                    case Start(name) | Stop(name):
                        self._set_desired(name, desired[name])
            await asyncio.gather(*(self._unload(name, forget=name in gone) for name in down))
            await asyncio.gather(*map(self._load, up))
            for name, loaded in list(self.loaded.items()):
                if loaded.service is None:
                    await self._load(loaded.spec)
                elif self._read_user_toml(name, loaded):
                    self._refresh(loaded)

    async def begin_maintenance(self, name: str, reason: str, for_s: float | None) -> None:
        """Take a service (or all) out of use, durably. Raises ``OperatorError``."""
        await self.maintenance.begin(name, reason, for_s)
        self._tell_maintenance()

    async def end_maintenance(self, name: str) -> list[str]:
        """Take it (or all) back into use, durably; returns whose maintenance it was."""
        ended = await self.maintenance.end(name)
        self._tell_maintenance()
        return ended

    def _tell_maintenance(self) -> None:
        for name, loaded in self.loaded.items():
            if loaded.service is not None:
                loaded.service.health.set_maintenance(self.maintenance.reason(name))
        self._changed()

    def _read_specs(self) -> dict[str, Spec]:
        return self._specs.read({name: loaded.spec for name, loaded in self.loaded.items()})

    # Loading

    async def _load(self, spec: Spec) -> None:
        loaded = self.loaded.setdefault(spec.name, Loaded(spec))
        try:
            compiled = await asyncio.to_thread(resolve, spec, self._plugins, self.plans_dir)
            check_environment(spec.name, compiled)
        except OperatorError as error:
            self._set_problem(loaded, error.message)
            return
        for warning in compiled.package.warnings:
            log.warning("package warning name=%s: %s", spec.name, warning)
        loaded.compiled = compiled
        loaded.gate = BindGate(spec, compiled.plan)
        self._order.put(spec.name, _after(spec, compiled))
        self._set_problem(loaded, "")
        self._read_user_toml(spec.name, loaded)
        loaded.files = self._service_files(loaded, compiled.plan)
        loaded.service = Service(
            spec,
            compiled,
            ServicePaths.of(self._state_dir, spec.name),
            health_check=self._plugins.health_checks[compiled.plan.service.health.kind],
            probe_checks={
                probe: self._plugins.health_checks[plan.kind]
                for probe, plan in compiled.plan.service.probes.items()
            },
            lag=self._lag,
            strategy=self._plugins.strategies[spec.strategy],
            rng=self._rng,
            environment=self._environment,
            host=self.host,
            gates=(loaded.gate, loaded.files, OrderGate(self._order, spec.name)),
            installs=self._installs,
        )
        loaded.service.set_desired(spec.desired == "up")
        loaded.service.health.set_maintenance(self.maintenance.reason(spec.name))
        self._refresh(loaded)
        loaded.service.start()
        log.info("service loaded name=%s package=%s", spec.name, compiled.plan.ident)
        self._watchers[spec.name] = asyncio.create_task(
            self._watch(loaded.service), name=f"watch {spec.name}"
        )
        self._changed()

    def _service_files(self, loaded: Loaded, plan: Plan) -> ServiceFiles:
        """What keeps the files of its group in this service's directory."""
        spec = loaded.spec
        group = spec.service_group

        def read(name: str) -> bytes | None:
            file = None if self._files is None else self._files.read(group, name)
            return None if file is None else file.data

        async def updated(names: list[str]) -> None:
            if loaded.service is not None:
                await loaded.service.file_updated(names)

        def opened() -> None:
            if loaded.service is not None:
                loaded.service.look()

        paths = ServicePaths.of(self._state_dir, spec.name)
        return ServiceFiles(spec.name, plan, paths, read, updated, opened)

    def _service(self, name: str) -> Service | None:
        loaded = self.loaded.get(name)
        return None if loaded is None else loaded.service

    async def _watch(self, service: Service) -> None:
        while True:
            await service.changed()
            self._order.tell(service.spec.name)
            self._changed()

    async def _unload(self, name: str, *, forget: bool) -> None:
        """Stop it and drop it; with ``forget`` the package goes too when nobody else is of it."""
        loaded = self.loaded[name]
        if loaded.files is not None:
            await loaded.files.end()
        if loaded.service is not None:
            await loaded.service.stop()
            self._watchers.pop(name).cancel()
        del self.loaded[name]
        self._order.drop(name)
        self._order.tell(name)
        self._bad_user.pop(name, None)
        if forget and loaded.service is not None and not self._has_package_of(loaded):
            problem = await loaded.service.uninstall()
            if problem:
                log.error("service unloaded, but name=%s: %s", name, problem)
                self._uninstall_problems[name] = problem
        log.info("service unloaded name=%s", name)
        self._changed()

    def _has_package_of(self, gone: Loaded) -> bool:
        """Whether a loaded service is of the package of one that is not loaded any more."""
        assert gone.compiled is not None
        package = package_of(gone.compiled.plan.ident)
        return any(
            package_of(loaded.compiled.plan.ident) == package
            for loaded in self.loaded.values()
            if loaded.compiled is not None
        )

    def _set_desired(self, name: str, spec: Spec) -> None:
        loaded = self.loaded[name]
        loaded.spec = spec
        if loaded.service is not None:
            loaded.service.set_desired(spec.desired == "up")

    async def detach_all(self) -> None:
        """Let go of every service and leave its process running, for the next supervisor."""
        self._ended = True
        services = [loaded.service for loaded in self.loaded.values() if loaded.service]
        for watcher in self._watchers.values():
            watcher.cancel()
        await self._end_files()
        await asyncio.gather(*(service.detach() for service in services))

    async def stop_all(self) -> None:
        """Stop every service for good, in the reverse of their order; bounded."""
        self._ended = True
        async with self._scanning:
            await self._end_files()
            await self._order.stop(
                {name: one.service for name, one in self.loaded.items() if one.service}
            )
            for watcher in self._watchers.values():
                watcher.cancel()
            self._watchers.clear()

    async def _end_files(self) -> None:
        await asyncio.gather(*(one.files.end() for one in self.loaded.values() if one.files))

    # The view

    def refresh(self, census: Census) -> None:
        """Give every service the present view; cheap for those that it does not concern."""
        self._census = census
        if self._files is not None:
            self._files.refresh()
        for loaded in self.loaded.values():
            if loaded.service is not None:
                self._refresh(loaded)

    def _refresh(self, loaded: Loaded) -> None:
        assert loaded.compiled is not None
        assert loaded.service is not None
        held = self._configs.get(loaded.spec.service_group)
        if loaded.files is not None:
            loaded.files.want(self._versions(loaded.spec.service_group))
        try:
            context, decision = self.view(loaded, held)
        except OperatorError as error:
            # What runs keeps its last good configuration; the reason is shown until it is mended.
            self._set_problem(loaded, error.message)
            return
        self._set_problem(loaded, "")
        group = self._census.group(loaded.spec.name, loaded.spec.group)
        loaded.service.update(context, decision, group, self._me, held.version)

    def _bound(self, loaded: Loaded, plan: Plan) -> tuple[Bound, ...]:
        if loaded.gate is not None:
            return loaded.gate.look(self._census)
        spec = loaded.spec  # of a start that is only tried
        return look(plan, spec.binds, self._census, ready=spec.bind_ready)

    def _versions(self, group: ServiceGroup) -> Mapping[str, str]:
        return {} if self._files is None else self._files.versions(group)

    def config(self, loaded: Loaded, held: Held) -> dict[str, Any]:
        """``cfg`` of one service: all layers, the group's being ``held``.

        Raises:
            OperatorError: the configuration layers do not fit together.
        """
        assert loaded.compiled is not None
        return effective_config(
            loaded.compiled.default,
            environment_layer(
                loaded.spec.name,
                os.environ,
                habitat=loaded.compiled.package.habitat is not None,
            ),
            loaded.user,
            held.table,
        )

    def view(self, loaded: Loaded, held: Held) -> tuple[dict[str, Any], TopologyDecision]:
        """Rendering context and role of one service under the group configuration ``held``.

        Raises:
            OperatorError: the configuration layers do not fit together, or the topology fails.
        """
        assert loaded.compiled is not None
        spec, plan = loaded.spec, loaded.compiled.plan
        cfg = self.config(loaded, held)
        group = self._census.group(spec.name, spec.group)
        decision = self._decide(spec.topology, group)
        context = build_context(
            census=self._census,
            group_name=group.name,
            me=self._me,
            decision=decision,
            plan=plan,
            cfg=cfg,
            paths=ServicePaths.of(self._state_dir, spec.name),
            sys=self._sys(),
            bound=self._bound(loaded, plan),
            **loaded.compiled.package.context(
                str(ServicePaths.of(self._state_dir, spec.name).root)
            ),
        )
        return context, decision

    def _decide(self, topology: str, group: CensusGroup) -> TopologyDecision:
        """Ask the topology. A plugin's mistake is one service's problem, never the supervisor's."""
        now_us = int(asyncio.get_running_loop().time() * 1_000_000)
        try:
            decision = self._plugins.topologies[topology].decide(group, self._me, now_us)
        except Exception as error:
            raise OperatorError(f"topology {topology} failed: {error!r}") from error
        if not isinstance(decision, TopologyDecision):
            raise OperatorError(f"topology {topology} failed: it returned {decision!r:.80}")
        return decision

    async def dry_render(self, loaded: Loaded, held: Held) -> None:
        """Render everything in memory under ``held``. Raises ``OperatorError``; writes nothing."""
        assert loaded.compiled is not None
        context, _ = self.view(loaded, held)
        await asyncio.to_thread(render, loaded.compiled, context)

    async def check_start(self, spec: Spec) -> None:
        """Render ``spec`` as it would start now, in memory; for who can still be told to mend it.

        A value of the ring (a leader, a bind) may come later: that one is missing is no mistake.

        Raises:
            OperatorError: the package, a template or a layer of configuration can't be used.
        """
        compiled = await asyncio.to_thread(resolve, spec, self._plugins, self.plans_dir)
        check_environment(spec.name, compiled)
        if line := self._order.circle_with(spec.name, _after(spec, compiled)):
            raise OperatorError(line)
        loaded = Loaded(spec, compiled)
        if ServicePaths.of(self._state_dir, spec.name).user_toml.exists():
            loaded.user = self._user_layer(spec.name, compiled)
        try:
            await self.dry_render(loaded, self._configs.get(spec.service_group))
        except RenderError as error:
            if error.name.partition(".")[0] not in ("svc", "bind"):
                raise

    def _set_problem(self, loaded: Loaded, problem: str) -> None:
        if problem == loaded.problem:
            return
        loaded.problem = problem
        if problem:
            log.error("service has a problem name=%s: %s", loaded.spec.name, problem)
        else:
            log.info("service problem is gone name=%s", loaded.spec.name)
        self._changed()

    def _read_user_toml(self, name: str, loaded: Loaded) -> bool:
        """Read ``user.toml`` when it changed; True when the layer is another one now."""
        try:
            # Asked each second for each service: without a Path, which costs ten times the stat.
            found = os.stat(f"{self._state_dir}/svc/{name}/user.toml")
            signature = (found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            signature = None
        except OSError as error:
            self._keep_user_layer(name, f"svc/{name}/user.toml: {reason(error)}")
            return False
        if signature == loaded.user_signature:
            return False
        loaded.user_signature = signature
        assert loaded.compiled is not None
        try:
            loaded.user = self._user_layer(name, loaded.compiled) if signature else {}
        except OperatorError as error:
            self._keep_user_layer(name, error.message)
            return False
        self._bad_user.pop(name, None)
        log.info("user.toml read name=%s", name)
        return True

    def _keep_user_layer(self, name: str, problem: str) -> None:
        if self._bad_user.get(name) != problem:
            log.error("user.toml ignored, the values before it stay: %s", problem)
        self._bad_user[name] = problem

    def _user_layer(self, name: str, compiled: CompiledPackage) -> dict[str, Any]:
        """``user.toml`` as it is now. Raises ``OperatorError``, also for what can't be read."""
        file, shown = ServicePaths.of(self._state_dir, name).user_toml, f"svc/{name}/user.toml"
        data, _ = read_operator_file(file, CONFIG_BYTES_MAX, shown)
        layer = parse_toml(data, shown)
        check_types(layer, compiled.default, file=shown)
        return layer
