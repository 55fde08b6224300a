"""The plan of a package, ``plan.toml``: what it is called and how its service is run (pure).

Unknown keys are errors, so that a typing mistake never passes for a default. Times are seconds. A
plan says nothing about a place: group, topology, strategy and binds to real groups are in the
service's spec.
"""

from __future__ import annotations

import re
import signal
from typing import Annotated

import msgspec
from msgspec import Meta

from sup.errors import OperatorError
from sup.model.config_layers import parse_toml
from sup.model.convert import convert_table, near
from sup.model.health_plan import (
    HealthPlan,
    LivenessPlan,
    ProbePlan,
    StartupPlan,
    check_probe,
)
from sup.model.hook_rules import HookTimes
from sup.model.service_group import check_name

PLAN_BYTES_MAX = 64 * 1024
"""A plan is written by hand; ten times the longest one known."""
ENTRIES_MAX = 64
"""Exports, binds and arguments; they are gossiped or become environment, both bounded."""
COMMAND_ARGUMENTS_MAX = 256
SHELL = "/bin/sh"
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
    """``[service]``: how the process is run and stopped.

    ``command`` is an argument list, or a string for the shell; a ``run`` hook goes before it.
    ``stop_timeout`` is the seconds between ``stop_signal`` and SIGKILL. ``strict`` makes an
    undefined variable in a template an error.
    """

    user: str = ""
    group: str = ""
    stop_signal: str = "TERM"
    stop_timeout: Seconds = 8.0
    command: str | list[str] | None = None
    strict: bool = True
    exposes: list[str] = []
    hooks: HookTimes = HookTimes()
    health: HealthPlan = HealthPlan()
    startup: StartupPlan | None = None
    liveness: LivenessPlan | None = None

    @property
    def probes(self) -> dict[str, ProbePlan]:
        """The checks there are, by the name of their verdict: ``startup``, ``readiness`` …"""
        probes = {"startup": self.startup, "readiness": self.health, "liveness": self.liveness}
        return {name: probe for name, probe in probes.items() if probe is not None}

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
        return int(signal.Signals[_signal_name(self.stop_signal)])


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
    if not _VERSION.fullmatch(plan.package.version):
        raise OperatorError(
            f"{file}: package.version {plan.package.version!r:.80} is not a version;"
            " use letters, digits and . _ + ~ -, at most 64"
        )
    for where, probe in (
        ("health", plan.service.health),
        ("startup", plan.service.startup),
        ("liveness", plan.service.liveness),
    ):
        if probe is not None:
            check_probe(probe, f"{file}: service.{where}")
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
    _check_signal(plan.service.stop_signal, file)
    _check_command(plan.service.command, f"{file}: service.command")
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


def _signal_name(text: str) -> str:
    return text if text.startswith("SIG") else f"SIG{text}"


def _check_signal(text: str, file: str) -> None:
    known = [s.name.removeprefix("SIG") for s in signal.Signals]
    if _signal_name(text) not in signal.Signals.__members__:
        hint = near(text.removeprefix("SIG").upper(), known)
        hint = hint if "mean" in hint else "; use TERM, INT, QUIT, HUP, USR1, …"
        raise OperatorError(f"{file}: service.stop_signal {text!r:.40} is not a signal{hint}")
