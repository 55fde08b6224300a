"""The helpers that Habitat adds, with the details that existing templates depend on.

``eachAlive`` counts from 1, and its ``@first`` and ``@last`` are of the alive ones; ``strConcat``
and ``strJoin`` drop tables and remove every ``"`` of the JSON text; what takes a string takes
nothing else. Strict mode adds: a package that is not a dependency, and undefined arguments, are
errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sup.handlebars.helper_kinds import fill_scope, over
from sup.handlebars.state import Invocation, Scope
from sup.handlebars.values import (
    MISSING,
    ValueTooDeep,
    is_list,
    is_table,
    is_true,
    json_text,
    kind_of,
    listing,
)

PACKAGE_ROOT = "/hab/pkgs"
"""Where a dependency without a ``path`` of its own is installed."""


def _alive(member: Any) -> bool:
    return is_table(member) and member.get("alive") is True


def each_alive(call: Invocation) -> None:
    """Loop over the members of a list that are alive, or the keys of one member that is."""
    arg, state, program = call.arg(0), call.state, call.program
    value = arg.value
    if program is None:
        return
    if not is_true(value):
        if call.inverse is None and value is MISSING and state.strict:
            raise state.undefined(arg)
        call.branch(False)
        return
    if is_list(value):
        state.step(len(value) >> 3)
        alive = [(key, item) for key, item in over(value) if _alive(item)]
        scope = Scope(value, arg.keys)
        state.scopes.append(scope)
        for count, (key, item) in enumerate(alive, 1):
            scope.variables.update(first=count == 1, last=count == len(alive), index=count)
            fill_scope(scope, call, arg, key, item, count)
            program(state)
        state.scopes.pop()
    elif is_table(value):
        if not _alive(value):
            return
        scope = Scope(value, arg.keys)
        state.scopes.append(scope)
        for index, (key, item) in enumerate(over(value)):
            scope.variables.update(first=index == 0, key=key)
            fill_scope(scope, call, arg, key, item, key)
            program(state)
        state.scopes.pop()
    else:
        raise call.error(f"needs a list or a table, {arg.name or 'the value'} is {kind_of(value)}")


def _string(call: Invocation, index: int) -> str:
    value = call.defined(index)
    if not isinstance(value, str):
        name = call.arg(index).name or f"argument {index + 1}"
        raise call.error(f"needs a string, {name} is {kind_of(value)}")
    return value


def _json(call: Invocation, value: Any, *, pretty: bool) -> str:
    call.state.charge(value)
    try:
        text = json_text(value, pretty=pretty)
    except ValueTooDeep as error:
        raise call.error(str(error)) from None
    call.state.check_length(len(text))
    return text


def _bare(call: Invocation, value: Any) -> str:
    return _json(call, value, pretty=False).replace('"', "")


def _str_concat(call: Invocation) -> str:
    values = [call.defined(index) for index in range(len(call.args))]
    parts = [_bare(call, value) for value in values if not is_table(value)]
    call.state.check_length(sum(map(len, parts)))
    return "".join(parts)


def _str_join(call: Invocation) -> str:
    values = call.defined(0)
    if not is_list(values):
        name = call.arg(0).name or "argument 1"
        raise call.error(f"needs a list, {name} is {kind_of(values)}")
    separator = _string(call, 1)
    parts = [_bare(call, value) for value in values if not is_table(value)]
    call.state.check_length(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def _str_replace(call: Invocation) -> str:
    text, old, new = _string(call, 0), _string(call, 1), _string(call, 2)
    call.state.check_length(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


def _to_uppercase(call: Invocation) -> str:
    text = _string(call, 0).upper()
    call.state.check_length(len(text))
    return text


def _to_lowercase(call: Invocation) -> str:
    text = _string(call, 0).lower()
    call.state.check_length(len(text))
    return text


def _to_json(call: Invocation) -> str:
    return _json(call, call.defined(0), pretty=True)


def _to_toml(call: Invocation) -> str:
    from sup.handlebars.serialise import to_toml

    return _serialised(call, to_toml)


def _to_yaml(call: Invocation) -> str:
    from sup.handlebars.serialise import to_yaml

    return _serialised(call, to_yaml)


def _serialised(call: Invocation, write: Callable[[Any], str]) -> str:
    value = call.defined(0)
    call.state.charge(value)
    try:
        text = write(value)
    except ValueError as error:
        raise call.error(f"can't write {call.arg(0).name or 'the value'}: {error}") from None
    call.state.check_length(len(text))
    return text


def _ident(value: Any) -> tuple[str, ...]:
    """Split ``origin/name[/version[/release]]``, or such a table; empty if it is neither."""
    if is_table(value):
        keys = ("origin", "name", "version", "release")
        value = "/".join(str(value[key]) for key in keys if value.get(key))
    if not isinstance(value, str):
        return ()
    parts = tuple(value.split("/"))
    return parts if 2 <= len(parts) <= 4 and all(parts) else ()


def _pkg_path_for(call: Invocation) -> str:
    wanted = _ident(call.defined(0))
    if not wanted or is_table(call.arg(0).value):
        raise call.error("needs a package such as core/redis or core/redis/7.2.4")
    call.state.reads.add(("pkg", "deps"))
    package: Any = call.state.root.get("pkg")
    for dependency in listing(package.get("deps") if is_table(package) else None):
        ident = _ident(dependency)
        if ident[: len(wanted)] == wanted:
            path = dependency.get("path") if is_table(dependency) else None
            return path if isinstance(path, str) else "/".join((PACKAGE_ROOT, *ident))
    error = call.error(f"found no dependency {'/'.join(wanted)} in pkg.deps")
    if call.state.strict:
        raise error
    call.state.note(error)
    return ""


VALUE_HELPERS: Final[Mapping[str, Callable[[Invocation], str]]] = {
    "pkgPathFor": _pkg_path_for,
    "strConcat": _str_concat,
    "strJoin": _str_join,
    "strReplace": _str_replace,
    "toUppercase": _to_uppercase,
    "toLowercase": _to_lowercase,
    "toJson": _to_json,
    "toToml": _to_toml,
    "toYaml": _to_yaml,
}
