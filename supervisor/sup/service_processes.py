"""What a service runs: its process and its hooks, as its user, in its environment, on record (floor
8).

This is where a plan, a spec and a directory become an argument list, an environment and a user. It
decides nothing: when something is started or stopped is up to ``sup.service``. ``process.json`` is
written as soon as a process exists and removed when its tree is gone; should the supervisor be
killed between the two, the mark that every process carries finds the process, and ``sweep`` ends
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sup.edge.habitat_packages import link_service
from sup.edge.hooks import HookResult, run_hook
from sup.edge.log_files import LOOK_MAX_S, LogBound
from sup.edge.process_tree import MARK_VARIABLE, kill_marked
from sup.edge.processes import (
    CgroupLimits,
    LocalHost,
    LogTarget,
    Process,
    ProcessError,
    ProcessHost,
    ProcessIdentity,
    SpawnRequest,
    load_identity,
    new_mark,
    save_identity,
)
from sup.edge.render_files import CompiledPackage, RenderedFile, write_rendered
from sup.edge.service_dir import mark_prefix, prepare_directory, service_environment
from sup.edge.state_files import quarantine
from sup.edge.users import Credentials, resolve_credentials
from sup.errors import OperatorError
from sup.model.check_settings import fill
from sup.model.health_plan import PROBE_HOOKS, TABLES, TTL_KIND
from sup.model.process_plan import INFINITY
from sup.model.readiness import Rules
from sup.model.service_paths import REPORT_SOCKET, ServicePaths
from sup.model.spec import Spec
from sup.policies import CheckContext
from sup.service_hook_runs import HookRuns
from sup.service_render import Fingerprint

logger = logging.getLogger("sup.service")


class ServiceProcesses:
    """Starts what belongs to one service. ``member_id`` is set when it is known."""

    def __init__(
        self,
        spec: Spec,
        package: CompiledPackage,
        paths: ServicePaths,
        environment: Mapping[str, str],
        host: ProcessHost | None = None,
    ) -> None:
        """``host`` starts the service; without one it is a child of this process."""
        self.member_id = ""
        self._host = host or LocalHost()
        self.hook_runs = HookRuns(spec.name)
        self._apart = asyncio.Lock()
        """Keeps a sweep and the one hook that may run before a start from each other."""
        self._spec = spec
        self._package = package
        self._plan = package.plan.service
        self._paths = paths
        self._base_environment = environment
        self._mark_prefix = mark_prefix(paths)
        self._credentials: Credentials | None = None

    @property
    def uid(self) -> int:
        """The user that the service runs as."""
        return os.geteuid() if self._credentials is None else self._credentials.uid

    def has_hook(self, name: str) -> bool:
        return name in self._package.hooks

    def hook_path(self, name: str) -> Path:
        """Where the rendered hook is."""
        return self._paths.hook(name)

    async def prepare(self) -> None:
        """Look the user up and make the directory.

        Raises:
            OperatorError: the user or group does not exist.
            OSError: the disk refuses.
        """
        await self.resolve_user()
        await asyncio.to_thread(prepare_directory, self._paths, self._credentials)
        if self._package.package.habitat is not None:
            problem = await asyncio.to_thread(link_service, self._spec.name, self._paths.root)
            if problem:
                logger.warning("service path name=%s: %s", self._spec.name, problem)

    async def resolve_user(self) -> None:
        """Look the user up. Raises ``OperatorError`` when it does not exist."""
        self._credentials = await asyncio.to_thread(
            resolve_credentials, self._plan.user or None, self._plan.group or None
        )

    async def write(self, files: Iterable[RenderedFile]) -> None:
        """Bring rendered files to the disk. Raises ``OSError`` when it refuses."""
        user = self._credentials
        owner = None if user is None else (user.uid, user.gid)
        await asyncio.to_thread(write_rendered, files, self._paths, owner)

    async def sweep(self, *, keep: str = "") -> None:
        """Kill whatever an earlier start or a dead supervisor left, but for the start marked
        ``keep``. A suitability hook that runs is waited for.

        Raises:
            ProcessError: something can't be killed.
        """
        async with self._apart:
            left = await asyncio.to_thread(kill_marked, self._mark_prefix, keep=keep)
        if left:
            raise ProcessError(f"process {left[0]} of an earlier start can't be killed")

    async def start(self, fingerprint: Fingerprint) -> Process:
        """Start the run hook or the command.

        Raises:
            ProcessError, OperatorError: it could not be executed, or its log can't be opened.
        """
        return await self._host.spawn(self._request(fingerprint))

    def _request(self, fingerprint: Fingerprint) -> SpawnRequest:
        plan = self._plan
        rules = Rules.of(plan)
        environment = self._environment() | plan.environment
        if plan.watchdog:
            # No WATCHDOG_PID: the number is not known before the program runs, and without it the
            # period is meant for whoever reads it (sd_watchdog_enabled(3)).
            environment["WATCHDOG_USEC"] = str(round(plan.watchdog * 1_000_000))
        # What is unbounded is what the kernel gives by itself.
        bounds = {name: n for name, n in plan.resources.given.items() if n != INFINITY}
        return SpawnRequest(
            name=self._spec.name,
            argv=self._argv(),
            directory=plan.directory or str(self._paths.root),
            environment=environment,
            mark=new_mark(self._mark_prefix),
            log=LogTarget(
                self._paths.logs,
                self._spec.name,
                max_bytes=plan.log.bytes_max,
                files=plan.log.files,
                line_bytes_max=plan.log.line_bytes_max,
            ),
            credentials=self._credentials,
            umask=plan.umask_bits,
            rlimits=plan.limits.given,
            oom_score_adjust=plan.oom_score_adjust,
            nice=plan.nice,
            cgroup=CgroupLimits(**bounds) if bounds else None,
            stop_signal=plan.stop_signal_number,
            stop_timeout_s=plan.stop_timeout,
            kill_mode=plan.kill_mode,
            notify=rules.listens,
            fingerprint=str(fingerprint),
        )

    async def adopt(self) -> Process | None:
        """The process that an earlier supervisor left: it runs, or a launcher kept its end."""
        identity = await asyncio.to_thread(self._load_identity)
        with contextlib.suppress(OperatorError):  # it is told at the next start
            await self.resolve_user()
        request = self._request(Fingerprint())
        process = await self._host.adopt(self._spec.name, identity, request)
        if process is not None and process.exit is None:
            # The record may be lost, or its writer was killed first; without a launcher the next
            # supervisor has nothing else to adopt by.
            named = await asyncio.to_thread(_names, self._paths.pid_file, process.pid)
            if process.identity != identity or not named:
                await self.record(process, Fingerprint.parse(process.identity.fingerprint))
        return process

    def _load_identity(self) -> ProcessIdentity | None:
        """What is on record; a damaged record is set aside with a message."""
        path = self._paths.process_json
        identity = load_identity(path)
        if identity is None and path.exists():
            try:
                kept = f"kept as {quarantine(path).name}"
            except OSError as error:
                kept = str(error.strerror)
            logger.warning(
                "record damaged name=%s: process.json; %s; what it named is replaced",
                self._spec.name,
                kept,
            )
        return identity

    async def record(self, process: Process, fingerprint: Fingerprint) -> None:
        """Write down which process runs and what it was configured with."""
        process.identity = msgspec.structs.replace(process.identity, fingerprint=str(fingerprint))
        try:
            await asyncio.to_thread(save_identity, self._paths.process_json, process.identity)
            await asyncio.to_thread(_write_pid, self._paths.pid_file, process.pid)
        except OSError as error:
            # The service runs; a next supervisor would only restart it instead of adopting it.
            logger.warning("service unrecorded name=%s: %s", self._spec.name, error)

    async def forget(self) -> None:
        """Remove the record: the process tree is gone."""
        await asyncio.to_thread(_remove, self._paths.process_json, self._paths.pid_file)

    async def hook(
        self,
        name: str,
        default_s: float | None = None,
        *,
        at_most_s: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> HookResult:
        """Run a hook of the package; one that can't be executed has no exit code and says why.

        It may take what the plan says, else ``default_s``, else the default of its kind; and never
        more than ``at_most_s``. How it ended is kept in ``hook_runs``; a bad end is an event.
        """
        timeout_s = self._plan.hooks.timeout_s(name, default_s)
        if at_most_s is not None:
            timeout_s = max(0.0, min(timeout_s, at_most_s))
        apart = self._apart if name == "suitability" else contextlib.nullcontext()
        try:
            async with apart:
                result = await run_hook(
                    [str(self._paths.hook(name))],
                    directory=self._paths.root,
                    environment={**self._environment(), **(environment or {})},
                    mark=new_mark(self._mark_prefix),
                    timeout_s=timeout_s,
                    credentials=self._credentials,
                    separate=name == "suitability",
                )
        except ProcessError as error:
            result = HookResult(None, None, False, str(error), 0)
        self.hook_runs.ended(name, result)
        return result

    def check_context(
        self, probe: str, *, process_up: bool, cfg: Mapping[str, Any]
    ) -> CheckContext:
        """What the check of one verdict (``readiness`` …) gets to know.

        Raises:
            OperatorError: its settings name a value that ``cfg`` does not have.
        """
        plan = self._plan.probes[probe]
        hook = next((name for name in PROBE_HOOKS[probe] if self.has_hook(name)), None)
        return CheckContext(
            service=self._spec.name,
            directory=str(self._paths.root),
            hook_path=None if hook is None else str(self._paths.hook(hook)),
            process_up=process_up,
            timeout_s=plan.timeout,
            user=self._plan.user or None,
            group=self._plan.group or None,
            environment=self._environment(),
            settings=fill(plan.settings, cfg, f"{TABLES[probe]}.settings"),
        )

    async def bound_log(self) -> None:
        """Keep the log within its bound, for ever, unless the launcher's log engine does."""
        if self._host.rotates_logs:
            return
        bound = LogBound(self._log_path)
        failing = False
        while True:
            try:
                pause_s = await asyncio.to_thread(bound.look)
                failing = False
            except OSError as error:  # the disk's, which may be mended
                if not failing:
                    logger.warning("log unbounded name=%s: %s", self._spec.name, error)
                failing, pause_s = True, LOOK_MAX_S
            await asyncio.sleep(pause_s)

    def _argv(self) -> list[str]:
        if self.has_hook("run"):
            return [str(self._paths.hook("run"))]
        argv = list(self._plan.argv or ())
        habitat = self._package.package.habitat
        return argv if habitat is None else habitat.argv(argv, str(self._paths.root))

    def _environment(self) -> dict[str, str]:
        environment = service_environment(
            self._base_environment,
            spec=self._spec,
            plan=self._package.plan,
            paths=self._paths,
            package_dir=self._package.package.directory,
            member_id=self.member_id,
            credentials=self._credentials,
        )
        habitat = self._package.package.habitat
        if habitat is not None:
            environment = habitat.environment(environment, str(self._paths.root))
        if any(probe.kind == TTL_KIND for probe in self._plan.probes.values()):
            environment["SUP_SOCKET"] = str(self._paths.root.parent.parent / REPORT_SOCKET)
        return environment | {MARK_VARIABLE: self._mark_prefix}

    @property
    def _log_path(self) -> Path:
        return self._paths.logs / f"{self._spec.name}.log"


def _names(path: Path, pid: int) -> bool:
    try:
        return path.read_text() == f"{pid}\n"
    except (OSError, ValueError):
        return False


def _write_pid(path: Path, pid: int) -> None:
    """For people and scripts: whole at any moment. It needs no sync, ``process.json`` decides."""
    new = path.with_name(f".{path.name}.tmp")
    new.write_text(f"{pid}\n")
    new.replace(path)


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
