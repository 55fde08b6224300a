"""The plan of a package, ``plan.toml``: what it is called and how its service is run (pure).

Unknown keys are errors, so that a typing mistake never passes for a default. Times are seconds. A
plan says nothing about a place: group, topology, strategy and binds to real groups are in the
service's spec.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from sup.errors import OperatorError
from sup.model.backoff import WAIT_S_MIN
from sup.model.config_layers import parse_toml
from sup.model.convert import convert_table, near
from sup.model.health_plan import (
    TABLES,
    HealthPlan,
    LivenessPlan,
    PositiveSeconds,
    ProbePlan,
    StartupPlan,
    check_probe,
)
from sup.model.hook_rules import HookTimes
from sup.model.process_plan import (
    Condition,
    KillMode,
    LimitsPlan,
    LogPlan,
    ResourcesPlan,
    RestartWord,
    ServiceType,
    check_environment,
    check_signal,
    check_statuses,
    check_tables,
    check_umask,
    signal_name,
)
from sup.model.service_group import check_name

PLAN_BYTES_MAX = 64 * 1024
"""A plan is written by hand; ten times the longest one known."""
ENTRIES_MAX = 64
"""Exports, binds and arguments; they are gossiped or become environment, both bounded."""
COMMAND_ARGUMENTS_MAX = 256
SHELL = "/bin/sh"
START_TIMEOUT_S = 90.0
"""A notify service's time from exec to READY=1; systemd's default."""
WRAPPED = "-"
"""Origin and ident of a plan that wraps a bare command: there is no package."""

Text = Annotated[str, Meta(max_length=1024)]
Seconds = Annotated[float, Meta(ge=0.0, le=86400.0)]

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}")


class PackageMeta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[package]``: the identity ``origin/name/version``."""

    name: str
    origin: str = "local"
    version: str = "0"
    description: Text = ""
    license: Text = ""


class ServicePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service]``: how the process is run, restarted and stopped; ``docs/plan.md`` has each key.

    ``command`` is an argument list, or a string for the shell; a ``run`` hook goes before it.
    ``stop_timeout`` is the seconds between ``stop_signal`` and SIGKILL. ``strict`` makes an
    undefined variable in a template an error. None stands for "as the type wants it".
    """

    user: str = ""
    group: str = ""
    stop_signal: str = "TERM"
    stop_timeout: Seconds = 8.0
    kill_mode: KillMode = "group"
    command: str | list[str] | None = None
    strict: bool = True
    exposes: list[str] = []
    type: ServiceType = "simple"
    start_timeout: Seconds | None = None
    watchdog: Seconds = 0.0
    watchdog_signal: str = "ABRT"
    restart: RestartWord | None = None
    success_exit: list[int | str] = []
    restart_prevent_exit: list[int | str] = []
    restart_force_exit: list[int | str] = []
    restart_min: Annotated[float, Meta(ge=WAIT_S_MIN, le=86400.0)] = 1.0
    restart_max: PositiveSeconds = 60.0
    stable_for: PositiveSeconds = 60.0
    start_limit_burst: Annotated[int, Meta(ge=0, le=1000)] = 0
    start_limit_interval: PositiveSeconds = 300.0
    umask: str = "027"
    directory: str = ""
    environment: dict[str, str] = {}
    nice: Annotated[int, Meta(ge=-20, le=19)] | None = None
    oom_score_adjust: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    after: dict[str, Condition] = {}
    limits: LimitsPlan = LimitsPlan()
    resources: ResourcesPlan = ResourcesPlan()
    log: LogPlan = LogPlan()
    hooks: HookTimes = HookTimes()
    health: HealthPlan = HealthPlan()
    startup: StartupPlan | None = None
    liveness: LivenessPlan | None = None

    @property
    def probes(self) -> dict[str, ProbePlan]:
        """The checks there are, by the name of their verdict: ``startup``, ``readiness`` …"""
        probes: dict[str, ProbePlan] = {"readiness": self.health}
        if self.startup is not None:
            probes = {"startup": self.startup, **probes}
        if self.liveness is not None:
            probes["liveness"] = self.liveness
        return probes

    @property
    def argv(self) -> tuple[str, ...] | None:
        """The command as arguments for exec, or None; a string goes to ``/bin/sh -c``."""
        if self.command is None:
            return None
        if isinstance(self.command, str):
            return (SHELL, "-c", self.command)
        return tuple(self.command)

    @property
    def stop_signal_number(self) -> int:
        """Number of ``stop_signal`` on this system."""
        return int(signal.Signals[signal_name(self.stop_signal)])

    @property
    def watchdog_signal_number(self) -> int:
        """Number of ``watchdog_signal`` on this system."""
        return int(signal.Signals[signal_name(self.watchdog_signal)])

    @property
    def start_timeout_s(self) -> float:
        """Seconds until the start must be done; 0: any time. A oneshot has all the time it wants
        unless its plan says otherwise.
        """
        if self.start_timeout is not None:
            return self.start_timeout
        return START_TIMEOUT_S if self.type == "notify" else 0.0

    @property
    def umask_bits(self) -> int:
        """``umask`` as a number."""
        return int(self.umask, 8)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole ``plan.toml``. ``exports`` maps a name to a dotted path in ``cfg``."""

    package: PackageMeta
    exports: dict[str, str] = {}
    binds: dict[str, list[str]] = {}
    binds_optional: dict[str, list[str]] = {}
    service: ServicePlan = ServicePlan()

    @property
    def ident(self) -> str:
        """``origin/name/version``, or ``-`` for a wrapped command."""
        if self.package.origin == WRAPPED:
            return WRAPPED
        return f"{self.package.origin}/{self.package.name}/{self.package.version}"


def parse_plan(data: bytes, file: str) -> Plan:
    """Read ``plan.toml``; ``file`` is what errors call it.

    Raises:
        OperatorError: one line that names the file and the path of the value.
    """
    table = parse_toml(data, file, bytes_max=PLAN_BYTES_MAX)
    plan = convert_table(table, Plan, file)
    check_name(plan.package.name, f"{file}: package.name")
    check_name(plan.package.origin, f"{file}: package.origin")
    check_version(plan.package.version, f"{file}: package.version")
    for name, probe in plan.service.probes.items():
        check_probe(probe, f"{file}: {TABLES[name]}")
    for what, names in (
        ("exports", plan.exports),
        ("binds", plan.binds),
        ("binds_optional", plan.binds_optional),
    ):
        _check_count(len(names), f"{file}: {what}")
        for name in names:
            check_name(name, f"{file}: {what}: name")
    for name, path in plan.exports.items():
        if not path or "" in path.split("."):
            raise OperatorError(
                f"{file}: exports.{name}: {path!r} is not a path; write it as in 'server.port'"
            )
    both = sorted(set(plan.binds) & set(plan.binds_optional))
    if both:
        raise OperatorError(
            f"{file}: bind {both[0]!r} is in [binds] and in [binds_optional]; keep one"
        )
    for name in plan.service.exposes:
        if name not in plan.exports:
            raise OperatorError(
                f"{file}: service.exposes: {name!r} is not an export"
                + near(name, sorted(plan.exports))
            )
    _check_service(plan, file)
    return plan


def for_command(name: str, command: list[str] | tuple[str, ...] | str) -> Plan:
    """The plan that wraps a program without a package (``sup run --exec``).

    Raises:
        OperatorError: ``name`` is not a name, or the command is empty.
    """
    argv = command if isinstance(command, str) else list(command)
    _check_command(argv, "command")
    return Plan(
        package=PackageMeta(name=check_name(name, "service name"), origin=WRAPPED, version="0"),
        service=ServicePlan(command=argv),
    )


def check_version(version: str, what: str) -> None:
    """Refuse what is not a version; ``what`` begins the error line.

    Raises:
        OperatorError: as said.
    """
    if not _VERSION.fullmatch(version):
        raise OperatorError(
            f"{what} {version!r:.80} is not a version;"
            " use letters, digits and . _ + ~ -, at most 64"
        )


def check_command(command: str | list[str] | None, what: str) -> None:
    """Refuse an empty or overlong command; None passes. ``what`` begins the error line.

    Raises:
        OperatorError: as said.
    """
    _check_command(command, what)


def _check_command(command: str | list[str] | None, what: str) -> None:
    if command is None:
        return
    words = [command] if isinstance(command, str) else command
    if not words or not words[0].strip():
        raise OperatorError(f"{what} is empty; give a program to run")
    if len(words) > COMMAND_ARGUMENTS_MAX:
        raise OperatorError(
            f"{what} has {len(words)} arguments, limit is {COMMAND_ARGUMENTS_MAX}; use a script"
        )
    if any("\0" in word for word in words):
        raise OperatorError(f"{what} has a zero byte; remove it")


def _check_count(count: int, what: str) -> None:
    if count > ENTRIES_MAX:
        raise OperatorError(f"{what} has {count} entries, limit is {ENTRIES_MAX}; remove some")


def _check_service(plan: Plan, file: str) -> None:
    service = plan.service
    check_signal(service.stop_signal, f"{file}: service.stop_signal")
    check_signal(service.watchdog_signal, f"{file}: service.watchdog_signal")
    for name in ("success_exit", "restart_prevent_exit", "restart_force_exit"):
        check_statuses(getattr(service, name), f"{file}: service.{name}")
    check_umask(service.umask, f"{file}: service.umask")
    check_environment(service.environment, f"{file}: service.environment")
    check_tables(service.limits, service.resources, service.log, file)
    check_after(service.after, plan.package.name, f"{file}: service.after")
    _check_command(service.command, f"{file}: service.command")
    if service.restart_min > service.restart_max:
        raise OperatorError(
            f"{file}: service.restart_min is {service.restart_min:g} s, more than restart_max"
            f" ({service.restart_max:g} s); swap them"
        )
    if service.type == "oneshot" and service.restart in ("always", "on-success"):
        raise OperatorError(
            f'{file}: service.restart is "{service.restart}", and a oneshot that succeeded is done;'
            ' use "on-failure" or "no", or another type'
        )
    if service.watchdog and service.type == "oneshot":
        raise OperatorError(f"{file}: service.watchdog is for services that stay; drop it here")
    if service.directory and ("\0" in service.directory or not service.directory.startswith("/")):
        raise OperatorError(
            f"{file}: service.directory {service.directory!r:.80} is not an absolute path"
        )


def check_after(after: Mapping[str, str], name: str, what: str) -> None:
    """Refuse what is no service's name, the service itself, and too many.

    Raises:
        OperatorError: one line that begins with ``what``.
    """
    _check_count(len(after), what)
    for other in after:
        check_name(other, f"{what}: name")
        if other == name:
            raise OperatorError(f"{what}: {other} can't wait for itself; remove it")
