"""The seams that plugins fill (floor 6): topologies, update strategies, health checks, renderers.

Policies are pure: they get a view and ``now_us`` and return a decision, so the same object runs in
production, in a unit test and in a simulated ring of a thousand. Health checks do I/O and are
therefore coroutines with a deadline. Everything here is re-exported by ``sup.plugin_api``; a plugin
imports that module and nothing else of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from sup.model.census import CensusGroup
from sup.model.health import CheckResult


@dataclass(frozen=True, slots=True)
class TopologyDecision:
    """What a topology says about one group at one moment.

    ``leader`` is a member id (hex) or None. ``may_start`` False holds a service that is not yet
    running, with ``reason`` shown to the operator; a service that already runs is never stopped by
    it.
    """

    leader: str | None = None
    may_start: bool = True
    reason: str = ""


@runtime_checkable
class Topology(Protocol):
    """Who plays which role in a group: ``decide`` is a pure function of the view."""

    def decide(self, group: CensusGroup, me: str, now_us: int) -> TopologyDecision:
        """Decide from this group's view; ``me`` is this supervisor's member id (hex)."""
        ...


class Change(Enum):
    """What wants to be applied to a running service."""

    CONFIG = "config"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class StrategyDecision:
    """``go`` True applies the change now; False holds it pending, with ``reason`` shown."""

    go: bool
    reason: str = ""


@runtime_checkable
class UpdateStrategy(Protocol):
    """When a change may reach this member: ``decide`` is a pure function of the view."""

    def decide(self, group: CensusGroup, me: str, change: Change, now_us: int) -> StrategyDecision:
        """Decide whether ``change`` may be applied here now; asked again when the view changes."""
        ...


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a health check may know of its service. ``environment`` is the service's own."""

    service: str
    directory: str
    hook_path: str | None
    process_up: bool
    timeout_s: float
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    """The service's group of the operating system, as ``user`` is its user."""


@runtime_checkable
class HealthCheck(Protocol):
    """One kind of health check; it must return within ``context.timeout_s`` or be cancelled."""

    async def check(self, context: CheckContext) -> CheckResult:
        """Check once. An exception counts as ``UNKNOWN`` with its text as output."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text of one rendered template, and the dotted paths of the values that it read.

    A path stands for the value there and all below it; ``reads`` may say more than was read
    (``cfg`` for ``cfg.port``), never less, for what it leaves out is not rendered again when it
    changes.
    """

    text: str
    reads: frozenset[str]
    warnings: tuple[str, ...] = ()
    """Mistakes that a lenient render forgave, ``file:line:column: message``."""


class TemplateError(Exception):
    """A template can't be compiled or rendered: ``file:line:column: message``, both from 1."""

    def __init__(self, message: str, *, file: str, line: int, column: int, name: str = "") -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.name = name
        """The variable, helper or partial that the message is about, or empty."""


class Template(Protocol):
    """A compiled template."""

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Render with ``context``: plain dict, list, str, int, float, bool and None.

        Raises:
            TemplateError: a value is undefined (strict mode), or of the wrong kind for its use.
        """
        ...


@runtime_checkable
class Renderer(Protocol):
    """A template language. A file's suffix chooses its renderer and is then removed."""

    def compile(self, source: str, file: str, *, strict: bool) -> Template:
        """Compile ``source``; ``strict`` makes reading an undefined value an error.

        Raises:
            TemplateError: the syntax is wrong.
        """
        ...
