"""Find, load and check plugins: the only reader of installed distributions' metadata (floor 8).

A plugin is an entry point of the group ``sup``; it is imported only when the operator names it
(``sup run --plugin NAME``) or asks for the list (``sup plugin list``). What its hooks return is
held to the protocols of ``sup.policies`` before anything runs, so that a broken plugin is one line
at start and never a surprise in the middle of a rollout. The built-ins of ``sup.builtin`` take the
same way.

It never decides what a policy does, and never catches what a policy raises later.
Neighbours: ``sup.hookspecs`` (the hooks), ``sup.policies`` (the seams), ``docs/plugins.md`` (for
authors).
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pluggy

import sup
from sup import hookspecs
from sup.builtin import BUILTINS
from sup.errors import OperatorError
from sup.policies import HealthCheck, Renderer, Topology, UpdateStrategy

BUILTIN_DISTRIBUTION = "sup-ring"
CAUSE_CHARS_MAX = 300
"""Characters of a plugin's own error text in our line; a traceback there helps nobody."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9_-]{0,15}")


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """One plugin as ``sup plugin list`` shows it."""

    name: str
    """The entry point's name: what ``--plugin`` takes."""
    distribution: str
    version: str
    value: str
    """Module, or ``module:object``, that holds the hooks."""
    provides: tuple[str, ...] = ()
    """Such as ``topology leader`` or ``renderer .j2``, sorted; empty when it can't be loaded."""
    error: str = ""
    """Why it can't be loaded, in one line, or empty."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What the hooks of one plugin returned, checked."""

    topologies: Mapping[str, Topology] = field(default_factory=dict)
    strategies: Mapping[str, UpdateStrategy] = field(default_factory=dict)
    health_checks: Mapping[str, HealthCheck] = field(default_factory=dict)
    renderers: Mapping[str, Renderer] = field(default_factory=dict)

    def provides(self) -> tuple[str, ...]:
        """Kind and name of everything in it, sorted: ``strategy rolling``, ``renderer .j2``."""
        return tuple(
            sorted(
                f"{kind.word} {name}" if name else f"{kind.word} (default)"
                for kind in _KINDS
                for name in getattr(self, kind.field)
            )
        )


@dataclass(frozen=True, slots=True)
class Plugins:
    """Everything that the active plugins add, by the name that an operator uses; read-only."""

    topologies: Mapping[str, Topology]
    strategies: Mapping[str, UpdateStrategy]
    health_checks: Mapping[str, HealthCheck]
    renderers: Mapping[str, Renderer]
    """By file suffix; the empty suffix is the renderer of files that no other suffix claims."""
    active: tuple[InstalledPlugin, ...]
    """Built-ins first, then the named plugins in the order given."""


class PluginError(Exception):
    """Why one plugin can't be used; ``load`` puts its name and distribution before it."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One hook: where its result goes and what each value of the mapping must be."""

    hook: str
    field: str
    word: str
    protocol: type
    method: str
    arguments: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    is_async: bool = False


_KINDS = (
    _Kind(
        "sup_topologies", "topologies", "topology", Topology, "decide", ("group", "me", "now_us")
    ),
    _Kind(
        "sup_update_strategies",
        "strategies",
        "strategy",
        UpdateStrategy,
        "decide",
        ("group", "me", "change", "now_us"),
    ),
    _Kind(
        "sup_health_checks",
        "health_checks",
        "health check",
        HealthCheck,
        "check",
        ("context",),
        is_async=True,
    ),
    _Kind(
        "sup_renderers",
        "renderers",
        "renderer",
        Renderer,
        "compile",
        ("source", "file"),
        ("strict",),
    ),
)
_HOOKS = tuple(kind.hook for kind in _KINDS)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plugin that could be imported; nothing of it has been."""

    name: str
    distribution: str
    version: str
    value: str
    get: Callable[[], object]
    """Import the plugin and return what holds the hooks; raises what the import raises."""

    @property
    def builtin(self) -> bool:
        return self.distribution == BUILTIN_DISTRIBUTION and BUILTINS.get(self.name) == self.value

    def listed(self, provides: tuple[str, ...] = (), error: str = "") -> InstalledPlugin:
        return InstalledPlugin(
            self.name, self.distribution, self.version, self.value, provides, error
        )


def load(names: Iterable[str] = ()) -> Plugins:
    """Load the built-ins and the plugins of these names, in this order, and nothing else.

    A name given twice counts once; the name of a built-in is accepted and changes nothing. Without
    any name no metadata is read at all.

    Raises:
        OperatorError: one line; for an unknown name it lists what is installed, for a broken plugin
        it
            names distribution, plugin and cause.
    """
    wanted = [name for name in dict.fromkeys(names) if name not in BUILTINS]
    candidates = [*_builtin_candidates(), *_named_candidates(wanted)]
    active: list[InstalledPlugin] = []
    merged: dict[str, dict[str, Any]] = {kind.field: {} for kind in _KINDS}
    owners: dict[tuple[str, str], _Candidate] = {}
    for candidate in candidates:
        try:
            contribution = inspect_plugin(candidate.get)
            _merge(contribution, candidate, merged, owners)
        except PluginError as error:
            raise OperatorError(
                f'plugin "{candidate.name}" of {candidate.distribution} {candidate.version}'
                f" can't be loaded: {error}"
            ) from error
        active.append(candidate.listed(contribution.provides()))
    return Plugins(
        **{name: MappingProxyType(values) for name, values in merged.items()}, active=tuple(active)
    )


def installed() -> list[InstalledPlugin]:
    """Describe every installed plugin, built-ins first, the others by name.

    This imports each of them, for only a plugin itself can say what it provides; a plugin that
    fails is listed with its error and disturbs no other. Only ``sup plugin list`` should want that.
    """
    listed = []
    for candidate in [*_builtin_candidates(), *_installed_candidates()]:
        try:
            if not candidate.builtin and candidate.name in BUILTINS:
                raise PluginError(f'the name "{candidate.name}" is reserved for a built-in')
            listed.append(candidate.listed(inspect_plugin(candidate.get).provides()))
        except PluginError as error:
            listed.append(candidate.listed(error=str(error)))
    return listed


def inspect_plugin(get: Callable[[], object]) -> Contribution:
    """Import one plugin with ``get``, call its hooks and check all that they return.

    Raises:
        PluginError: what is wrong, in one line. Nothing is registered anywhere.
    """
    try:
        plugin = get()
    except (Exception, SystemExit) as error:  # an import may do anything, even end the process
        raise PluginError(f"its import failed: {_cause(error)}") from error
    _check_hooks(plugin)
    # One pluggy manager per plugin: hooks then return what *this* plugin gave, wrappers included,
    # and what two plugins claim both can be told apart and told to the operator.
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(_cause(error)) from error
    found: dict[str, dict[str, Any]] = {}
    for kind in _KINDS:
        found[kind.field] = merged = {}
        try:
            results = getattr(manager.hook, kind.hook)()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{kind.hook} failed: {_cause(error)}") from error
        for result in results:
            _check_result(kind, result)
            merged.update(result)
    return Contribution(**found)


def _builtin_candidates() -> list[_Candidate]:
    return [
        _Candidate(
            name,
            BUILTIN_DISTRIBUTION,
            sup.__version__,
            module,
            lambda module=module: importlib.import_module(module),  # type: ignore[misc]
        )
        for name, module in BUILTINS.items()
    ]


def _installed_candidates() -> list[_Candidate]:
    """Every entry point of our group, sorted; reads metadata, imports no plugin."""
    # Costs 60 ms and 1 MB: not for a supervisor without plugins of others.
    import importlib.metadata

    found = []
    for point in importlib.metadata.entry_points(group=hookspecs.GROUP):
        distribution, version = "unknown distribution", "?"
        if point.dist is not None:
            distribution, version = point.dist.name, point.dist.version
        found.append(_Candidate(point.name, distribution, version, point.value, point.load))
    return sorted(found, key=lambda candidate: (candidate.name, candidate.distribution))


def _named_candidates(names: list[str]) -> list[_Candidate]:
    if not names:
        return []
    candidates = _installed_candidates()
    chosen = []
    for name in names:
        offered = [candidate for candidate in candidates if candidate.name == name]
        if not offered:
            others = [f"{c.name} ({c.distribution} {c.version})" for c in candidates]
            raise OperatorError(
                f'no plugin "{name}" is installed; installed: {", ".join(others) or "none"};'
                f" built in: {', '.join(BUILTINS)}"
            )
        if len(offered) > 1:
            owners = " and ".join(f"{c.distribution} {c.version}" for c in offered)
            raise OperatorError(f'plugin "{name}" is offered by {owners}; uninstall all but one')
        chosen.append(offered[0])
    return chosen


def _merge(
    contribution: Contribution,
    candidate: _Candidate,
    merged: dict[str, dict[str, Any]],
    owners: dict[tuple[str, str], _Candidate],
) -> None:
    """Add what one plugin gives to the whole. Raises ``PluginError`` when a name is taken."""
    for kind in _KINDS:
        for name, value in getattr(contribution, kind.field).items():
            owner = owners.setdefault((kind.field, name), candidate)
            if owner is not candidate:
                raise PluginError(
                    f'{kind.word} "{name}" is already given by plugin "{owner.name}" of'
                    f" {owner.distribution} {owner.version}"
                )
            merged[kind.field][name] = value


def _check_hooks(plugin: object) -> None:
    """Refuse misspelt, unmarked and wrongly declared hooks, and a plugin without any.

    pluggy checks part of this; it says nothing about a hook whose ``@hookimpl`` was forgotten,
    which would be a plugin that loads and does nothing.
    """
    count = 0
    for name in dir(plugin):
        try:
            value = getattr(plugin, name)
            options = getattr(value, f"{hookspecs.GROUP}_impl", None)
        except Exception:  # a property that fails is no hook
            continue
        if not callable(value):
            continue
        if not isinstance(options, dict):
            if name in _HOOKS:
                raise PluginError(f"{name} lacks @hookimpl")
            continue
        hook = options.get("specname") or name
        if hook not in _HOOKS:
            raise PluginError(f"{name} is no hook of ours; the hooks are {', '.join(_HOOKS)}")
        if parameters := list(inspect.signature(value).parameters):
            raise PluginError(f"{name} takes no arguments, it declares ({', '.join(parameters)})")
        count += 1
    if not count:
        raise PluginError(f"it has no function marked @hookimpl; the hooks are {', '.join(_HOOKS)}")


def _check_result(kind: _Kind, result: object) -> None:
    """Hold one hook's return value to its specification."""
    if not isinstance(result, Mapping):
        raise PluginError(f"{kind.hook} returned {_type(result)}, not a mapping by name")
    for name, value in result.items():
        label = f"{kind.hook}: {kind.word} {name!r}"
        if kind.hook == "sup_renderers":
            # The empty suffix stands for all files that no other renderer claims; only a built-in
            # has it, and a second one is refused as a duplicate.
            if not isinstance(name, str) or (name and not _SUFFIX.fullmatch(name)):
                raise PluginError(f"{label}: a suffix is a dot and 1 to 16 letters or digits")
        elif not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(f"{label}: a name is 1 to 64 of letters, digits, _ . -")
        if isinstance(value, type):
            raise PluginError(f"{label} is the class {value.__name__}, give an instance of it")
        if not isinstance(value, kind.protocol):
            raise PluginError(f"{label} is {_type(value)}, which has no {kind.method}()")
        _check_method(kind, label, getattr(value, kind.method))


def _check_method(kind: _Kind, label: str, method: object) -> None:
    """Check that the protocol's one method can be called as we call it."""
    asked = ", ".join([*kind.arguments, *(f"{keyword}=" for keyword in kind.keywords)])
    if not callable(method):
        raise PluginError(f"{label}: {kind.method} is {_type(method)}, not a method")
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # some compiled callables do not tell; the call itself will
        return
    try:
        signature.bind(*kind.arguments, **dict.fromkeys(kind.keywords))
    except TypeError as error:
        raise PluginError(
            f"{label}: {kind.method}{signature} can't be called as {kind.method}({asked})"
        ) from error
    if inspect.iscoroutinefunction(method) is not kind.is_async:
        want = "a coroutine function (async def)" if kind.is_async else "a plain function"
        raise PluginError(f"{label}: {kind.method} must be {want}")


def _cause(error: BaseException) -> str:
    """Type and text of an error on one line, of bounded length."""
    text = " ".join(str(error).split())
    if len(text) > CAUSE_CHARS_MAX:
        text = text[: CAUSE_CHARS_MAX - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _type(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
