"""The helpers, by name: those of handlebars-rust here, Habitat's from ``habitat_helpers``.

In strict mode an argument must be defined, except where asking whether something is there is the
point: ``if``, ``unless``, ``and``, ``or``, ``not``, the value of ``lookup`` inside those, and
``with`` and ``each`` that have an ``else``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sup.handlebars.habitat_helpers import VALUE_HELPERS, each_alive
from sup.handlebars.helper_kinds import Helper, Kind, fill_scope, over
from sup.handlebars.state import Arg, Invocation, Scope
from sup.handlebars.values import MISSING, ValueTooDeep, equal, is_list, is_table, is_true, kind_of
from sup.handlebars.values import order as order_of

__all__ = ["HELPERS", "Helper", "Kind"]

_LOG_LEVELS = ("error", "warn", "info", "debug", "trace")


def _if(call: Invocation) -> None:
    zero = call.options.get("includeZero")
    call.branch(is_true(call.arg(0).value, zero is not None and zero.value is True))


def _unless(call: Invocation) -> None:
    zero = call.options.get("includeZero")
    call.branch(not is_true(call.arg(0).value, zero is not None and zero.value is True))


def _with(call: Invocation) -> None:
    arg, state = call.arg(0), call.state
    if not is_true(arg.value):
        if call.inverse is None and arg.value is MISSING and state.strict:
            raise state.undefined(arg)
        call.branch(False)
        return
    scope = Scope(arg.value, arg.keys, state.scopes[-1].variables)
    if len(call.names) == 1:
        scope.names = {call.names[0]: Arg(arg.value, arg.keys)}
    state.scopes.append(scope)
    call.branch(True)
    state.scopes.pop()


def _each(call: Invocation) -> None:
    arg, state = call.arg(0), call.state
    value, program = arg.value, call.program
    if program is None:
        return
    listed = is_list(value)
    if (listed or is_table(value)) and (value or call.inverse is None):
        scope = Scope(value, arg.keys)
        state.scopes.append(scope)
        last = len(value) - 1
        for index, (key, item) in enumerate(over(value)):
            scope.variables.update(first=index == 0, last=index == last, index=index)
            if not listed:
                scope.variables["key"] = key
            fill_scope(scope, call, arg, key, item, index if listed else key)
            program(state)
        state.scopes.pop()
    elif call.inverse is not None:
        call.inverse(state)
    elif state.strict:
        if value is MISSING:
            raise state.undefined(arg)
        if value is not None:
            raise call.error(
                f"needs a list or a table, {arg.name or 'the value'} is {kind_of(value)}"
            )


def _lookup(call: Invocation) -> Arg:
    collection, key = call.arg(0), call.arg(1)
    table, wanted = collection.value, key.value
    found: Any = MISSING
    if is_list(table):
        if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted < len(table):
            found = table[wanted]
    elif is_table(table) and isinstance(wanted, str):
        found = table.get(wanted, MISSING)
    shown = f"lookup {collection.name or 'a value'} {call.state.text(wanted)[:64]}"
    return Arg(found, None, shown)


def _log(call: Invocation) -> None:
    """Nothing: rendering is pure. Only the level is checked, as in Rust."""
    level = call.options.get("level")
    if level is not None and str(level.value).lower() not in _LOG_LEVELS:
        raise call.error(f"has no level {call.state.text(level.value)[:64]}; use info or warn")


def _raw(call: Invocation) -> None:
    call.branch(True)


def _len(call: Invocation) -> int:
    value = call.defined(0)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return len(value) if is_list(value) or is_table(value) else 0


def _equal(call: Invocation) -> bool:
    left, right = call.defined(0), call.defined(1)
    call.state.charge(left)
    try:
        return equal(left, right)
    except ValueTooDeep as error:
        raise call.error(str(error)) from None


def _comparison(accept: Callable[[int], bool]) -> Callable[[Invocation], bool]:
    def compare(call: Invocation) -> bool:
        result = order_of(call.defined(0), call.defined(1))
        return result is not None and accept(result)

    return compare


HELPERS: Final[Mapping[str, Helper]] = {
    "if": Helper(_if, Kind.BLOCK),
    "unless": Helper(_unless, Kind.BLOCK),
    "with": Helper(_with, Kind.BLOCK),
    "each": Helper(_each, Kind.BLOCK),
    "eachAlive": Helper(each_alive, Kind.BLOCK),
    "lookup": Helper(_lookup, Kind.VALUE),
    "log": Helper(_log, Kind.BLOCK),
    "raw": Helper(_raw, Kind.BLOCK),
    "len": Helper(_len, Kind.VALUE),
    "eq": Helper(_equal, Kind.TRUTH),
    "ne": Helper(lambda call: not _equal(call), Kind.TRUTH),
    "gt": Helper(_comparison(lambda order: order > 0), Kind.TRUTH),
    "gte": Helper(_comparison(lambda order: order >= 0), Kind.TRUTH),
    "lt": Helper(_comparison(lambda order: order < 0), Kind.TRUTH),
    "lte": Helper(_comparison(lambda order: order <= 0), Kind.TRUTH),
    "and": Helper(lambda call: all(is_true(arg.value) for arg in call.args), Kind.TRUTH),
    "or": Helper(lambda call: any(is_true(arg.value) for arg in call.args), Kind.TRUTH),
    "not": Helper(lambda call: not is_true(call.arg(0).value), Kind.TRUTH),
    **{name: Helper(run, Kind.VALUE) for name, run in VALUE_HELPERS.items()},
}
"""All helpers; a name in this table can't be used for a value without ``this.`` before it."""
