"""What a helper is to the evaluator, and what the loops have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sup.handlebars.state import Arg, Invocation, Scope
from sup.handlebars.values import is_list


class Kind(Enum):
    """What becomes of the result of a helper."""

    BLOCK = 1
    """It renders its arms itself; used as a value it is empty text."""
    VALUE = 2
    """Its result is printed or passed on."""
    TRUTH = 3
    """Its result is a boolean: printed, passed on, or the choice between the arms of a block."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper."""

    run: Callable[[Invocation], Any]
    kind: Kind


def over(value: Any) -> Iterable[tuple[str, Any]]:
    """Give the items of a list or table with the path segment that leads to each."""
    if is_list(value):
        return ((str(index), item) for index, item in enumerate(value))
    return ((str(key), item) for key, item in value.items())


def fill_scope(
    scope: Scope, call: Invocation, arg: Arg, segment: str, item: Any, second: int | str
) -> None:
    """Move a loop's scope on to ``item``; ``second`` is the value of the second block parameter."""
    scope.value = item
    scope.keys = None if arg.keys is None else (*arg.keys, segment)
    if call.names:
        scope.names = {call.names[0]: Arg(item, scope.keys)}
        if len(call.names) == 2:
            scope.names[call.names[1]] = Arg(second)
