"""What a template says: the tree that the parser builds and ``evaluate`` compiles.

Plain values without behaviour. ``at`` is always the offset of the construct in its source text;
``Source`` turns it into line and column when, and only when, there is an error to report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sup.policies import TemplateError


@dataclass(frozen=True, slots=True)
class Source:
    """Name and text of one template file."""

    file: str
    text: str

    def error(self, message: str, at: int, name: str = "") -> TemplateError:
        """Make the error for offset ``at``; both count from 1, in characters."""
        before = self.text[:at]
        line = before.count("\n") + 1
        column = at - (before.rfind("\n") + 1) + 1
        return TemplateError(message, file=self.file, line=line, column=column, name=name)


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, true, false, null, list or object written in the template."""

    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Path:
    """A reference such as ``cfg.port``, ``../name``, ``@index``, or ``@root.sys.ip``."""

    raw: str
    """As written: what errors call it."""
    segments: tuple[str, ...]
    ups: int
    """How many scopes up, from leading ``../``."""
    root: bool
    local: bool
    """True for ``@name``: a variable that a block set, not a value of the context."""
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """A helper with its arguments, as an expression, a subexpression or the head of a block."""

    name: str
    args: tuple[Expression, ...]
    options: tuple[tuple[str, Expression], ...]
    """The hash arguments ``key=value``, in order; a key that is repeated: the last one counts."""
    at: int


Expression: TypeAlias = Literal | Path | Call


@dataclass(frozen=True, slots=True)
class Text:
    """Text to copy, after whitespace control and escapes."""

    text: str


@dataclass(frozen=True, slots=True)
class Print:
    """``{{expression}}``."""

    value: Expression
    at: int


@dataclass(frozen=True, slots=True)
class Block:
    """``{{#helper args as |names|}}program{{else}}inverse{{/helper}}``."""

    call: Call
    names: tuple[str, ...]
    program: Program
    inverse: Program | None
    indent_first: bool
    """The opening tag stood alone on its line, so what it prints begins a line."""
    at: int


@dataclass(frozen=True, slots=True)
class Partial:
    """``{{> name context key=value}}``; ``program`` is the body of ``{{#> name}}``."""

    name: str | Expression
    args: tuple[Expression, ...]
    options: tuple[tuple[str, Expression], ...]
    program: Program | None
    indent: str | None
    """Whitespace before the tag: put before every line of the partial."""
    indent_first: bool
    at: int


@dataclass(frozen=True, slots=True)
class Inline:
    """``{{#*inline "name"}}program{{/inline}}``."""

    name: Expression
    program: Program
    at: int


Statement: TypeAlias = Text | Print | Block | Partial | Inline


@dataclass(frozen=True, slots=True)
class Program:
    """A sequence of statements."""

    statements: tuple[Statement, ...] = field(default=())
