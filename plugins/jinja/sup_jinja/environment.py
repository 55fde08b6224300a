"""The Jinja2 environment: sandboxed, immutable, without loader, clock or chance, and with limits.

The limits stop accidents, such as a loop over the product of two long lists. They are no defence
against the author of a package, who decides what runs on the host anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

from jinja2 import ChainableUndefined, StrictUndefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

SOURCE_CHARS_MAX = 256 * 1024
"""Characters of one template; compiling takes about a second per megabyte."""
OUTPUT_CHARS_MAX = 1024 * 1024
"""Characters of one rendered file."""
STEPS_MAX = 1_000_000
"""Loop iterations and calls of one rendering: under a second, and far above any real file."""
WIDTH_MAX = 10_000
"""Width or repetition asked of one string operation."""

_STEPS_NAME = "sup_steps"
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_LEFT: ContextVar[list[int]] = ContextVar("sup_jinja_steps_left")


class LimitError(Exception):
    """A rendering went over one of the limits above."""


class MissingError(UndefinedError):
    """A value is not defined; ``name`` is the last name of what the template reads."""

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class _Strict(StrictUndefined):
    """``StrictUndefined`` whose error knows the name."""

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = None,
        name: str | None = None,
        exc: Any = UndefinedError,
    ) -> None:
        if exc is UndefinedError and name is not None:
            exc = partial(MissingError, str(name))
        super().__init__(hint, obj, name, exc)


class Environment(ImmutableSandboxedEnvironment):
    """One environment per strictness, shared by all templates."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, *, strict: bool) -> None:
        super().__init__(
            undefined=_Strict if strict else ChainableUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
            cache_size=0,
        )
        for name in ("random", "urlize", "xmlattr"):  # chance; HTML
            self.filters.pop(name, None)
        self.globals.pop("lipsum", None)
        self.filters["tojson"] = _to_json
        self.filters["center"] = _center
        self.globals[_STEPS_NAME] = counted

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all(
            (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.For, nodes.Name)
        ):
            if isinstance(node, nodes.For):
                if node.recursive:
                    raise TemplateSyntaxError(
                        "recursive loops are not supported", node.lineno, name, filename
                    )
                steps = nodes.Name(_STEPS_NAME, "load", lineno=node.lineno)
                node.iter = nodes.Call(steps, [node.iter], [], None, None, lineno=node.lineno)
            elif isinstance(node, nodes.Name):
                if node.name == _STEPS_NAME and node.ctx != "load":
                    raise TemplateSyntaxError(
                        f"the name {_STEPS_NAME} is taken", node.lineno, name, filename
                    )
            else:
                raise TemplateSyntaxError(
                    "include, import and extends are not supported: a template is one file",
                    node.lineno,
                    name,
                    filename,
                )
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look a name up in a table first: ``cfg.items`` is the key ``items`` if there is one."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call within the sandbox, counted: macros may call themselves."""
        spend()
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        if isinstance(getattr(method, "__self__", None), str):
            if method.__name__ in _PADDING:
                for value in (*args, *kwargs.values()):
                    _bound(value)
            if method.__name__ in ("format", "format_map"):
                raise SecurityError("str.format is not supported; use % or ~")
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Bound what can make much out of little: repetition, powers and padded formats."""
        if operator == "*" and not (_is_number(left) and _is_number(right)):
            _bound(left)
            _bound(right)
        if operator == "**":
            _bound(right)
        if operator == "%" and isinstance(left, str) and any(c.isdigit() for c in left):
            digits = "".join(c if c.isdigit() else " " for c in left).split()
            _bound(max(int(run[:9]) for run in digits))
        return super().call_binop(context, operator, left, right)


def start_steps() -> None:
    """Give the rendering that now starts in this context its full budget."""
    _LEFT.set([STEPS_MAX])


def spend() -> None:
    """Take one step off the budget of this rendering. Raises ``LimitError`` when none is left."""
    left = _LEFT.get()
    left[0] -= 1
    if left[0] < 0:
        raise LimitError(f"it takes over {STEPS_MAX} loop steps and calls")


def counted(values: Iterable[Any]) -> Iterable[Any]:
    """``values``, one step each; a sized value stays sized, so ``loop.length`` costs no copy."""
    if isinstance(values, list | tuple | dict | str):
        left = _LEFT.get()
        left[0] -= len(values)
        if left[0] < 0:
            raise LimitError(f"it takes over {STEPS_MAX} loop steps and calls")
        return values
    return _steps(values)


def _steps(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        spend()
        yield value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _bound(value: object) -> None:
    if isinstance(value, int) and abs(value) > WIDTH_MAX:
        raise LimitError(f"a width or repetition of {value} is over {WIDTH_MAX}")


def _center(value: object, width: int = 80) -> str:
    _bound(width)
    return str(value).center(width)


def _to_json(value: object, indent: int | None = None) -> str:
    """Plain JSON: Jinja2's own filter escapes ``<`` and friends for HTML pages."""
    _bound(indent)
    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False)
