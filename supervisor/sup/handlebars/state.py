"""What one render carries: scopes, output, indentation, reads, and the budget.

A scope is pushed by ``with``, ``each``, ``eachAlive`` and every partial, not by ``if``; ``../``
counts scopes. Indentation follows handlebars-rust: inside an indented partial every line is
prefixed, which needs to know whether the last text ended a line and whether anything was printed
since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sup.handlebars.limits import OUTPUT_CHARS_MAX, RENDER_DEPTH_MAX, STEPS_MAX
from sup.handlebars.syntax import Source
from sup.handlebars.values import MISSING, ValueTooDeep, is_table, size_of, text_of
from sup.policies import TemplateError

RING_NAMES = frozenset({"svc", "bind"})
FORGIVEN_MAX = 32
"""Mistakes that one lenient render remembers."""

Keys = tuple[str, ...]
"""A path from the root of the context."""


class Arg:
    """An evaluated expression: value, place in the context (None: computed), spelling."""

    __slots__ = ("keys", "name", "value")

    def __init__(self, value: Any, keys: Keys | None = None, name: str = "") -> None:
        self.value = value
        self.keys = keys
        self.name = name


class Scope:
    """One level of ``../``: the value that names are looked up in, and what the block defined."""

    __slots__ = ("keys", "names", "partials", "value", "variables")

    def __init__(
        self, value: Any, keys: Keys | None, variables: dict[str, Any] | None = None
    ) -> None:
        self.value = value
        self.keys = keys
        self.variables: dict[str, Any] = {} if variables is None else dict(variables)
        """``@index`` and the like, without the ``@``."""
        self.names: dict[str, Arg] = {}
        """Block parameters, and the hash arguments of a partial."""
        self.partials: dict[str, Render] = {}


class State:
    """One render; thrown away after it, whether it succeeded or raised."""

    __slots__ = (
        "content",
        "depth",
        "forgiven",
        "indent",
        "indent_next",
        "line_ended",
        "out",
        "partial_blocks",
        "partials",
        "place",
        "reads",
        "root",
        "scopes",
        "size",
        "steps",
        "strict",
    )

    def __init__(
        self,
        root: Mapping[str, Any],
        strict: bool,
        partials: Mapping[str, Render],
        place: tuple[Source, int],
    ) -> None:
        self.root = root
        self.strict = strict
        self.partials = partials
        self.place = place
        self.scopes = [Scope(root, ())]
        self.out: list[str] = []
        self.reads: set[Keys] = set()
        self.forgiven: dict[str, None] = {}
        self.partial_blocks: list[str | None] = []
        self.size = self.steps = self.depth = 0
        self.indent: str | None = None
        self.indent_next = self.line_ended = self.content = False

    # -- errors and bounds ---------------------------------------------------------------------

    def error(self, message: str, name: str = "") -> TemplateError:
        """Make an error for the statement that is being rendered."""
        source, at = self.place
        return source.error(message, at, name)

    def undefined(self, arg: Arg) -> TemplateError:
        """Make the error for a missing value, naming it and a likely spelling."""
        name = arg.name or "the value"
        if arg.keys is None:
            return self.error(f"{name} is not defined", name)
        full = ".".join(arg.keys)
        where = "" if full == name else f" ({full})"
        return self.error(f"{name}{where} is not defined{self._suggestion(arg.keys)}", full)

    def miss(self, arg: Arg) -> None:
        """A value that is to be printed or used isn't there: an error in strict mode, else noted.

        What the ring says (``svc``, ``bind``) comes and goes without anybody's mistake.

        Raises:
            TemplateError: strict mode.
        """
        if self.strict:
            raise self.undefined(arg)
        name = ".".join(arg.keys or ()) or arg.name
        if name.partition(".")[0] not in RING_NAMES:
            self.note(self.undefined(arg))

    def note(self, error: TemplateError) -> None:
        """Remember a mistake that lenient mode forgives; once, and only so many."""
        if len(self.forgiven) < FORGIVEN_MAX:
            self.forgiven.setdefault(str(error))

    def _suggestion(self, keys: Keys) -> str:
        value: Any = self.root
        for index, key in enumerate(keys):
            if not is_table(value):
                return f"; {'.'.join(keys[:index])} is not a table"
            if key not in value:
                from difflib import get_close_matches

                close = get_close_matches(key, [str(known) for known in value][:1000], 1)
                return f"; did you mean {'.'.join((*keys[:index], close[0]))}?" if close else ""
            value = value[key]
        return ""

    def step(self, count: int) -> None:
        """Charge ``count`` steps of the budget."""
        self.steps += count
        if self.steps > STEPS_MAX:
            raise self.error(f"template took more than {STEPS_MAX} steps; loop over less")

    def charge(self, value: Any) -> None:
        """Charge for walking all of ``value``."""
        self.step(size_of(value, STEPS_MAX))

    def check_length(self, length: int) -> None:
        """Refuse text of ``length`` characters that is too long, before it is made."""
        if length > OUTPUT_CHARS_MAX:
            raise self.error(f"text is {length} characters, limit is {OUTPUT_CHARS_MAX}")
        self.step(length >> 6)

    def enter(self, what: str) -> None:
        """Go one level deeper; ``self.depth -= 1`` comes back."""
        self.depth += 1
        if self.depth > RENDER_DEPTH_MAX:
            raise self.error(
                f"blocks and partials are entered more than {RENDER_DEPTH_MAX} deep at {what}; "
                "does a partial include itself?"
            )

    # -- output --------------------------------------------------------------------------------

    def text(self, value: Any) -> str:
        """Print ``value`` into a string."""
        if isinstance(value, str):
            return value
        if isinstance(value, list | tuple):
            self.charge(value)
        try:
            return text_of(value)
        except ValueTooDeep as error:
            raise self.error(str(error)) from None

    def emit(self, text: str) -> None:
        """Append ``text`` as it is."""
        self.size += len(text)
        if self.size > OUTPUT_CHARS_MAX:
            raise self.error(f"output is more than {OUTPUT_CHARS_MAX} characters")
        self.out.append(text)

    def write(self, text: str) -> None:
        """Append ``text``, indenting its lines inside an indented partial."""
        if not text:
            return
        self.content = True
        if self.indent is not None:
            if self.indent_next and text[0] not in "\r\n":
                self.emit(self.indent)
            lines = text.count("\n", 0, len(text) - 1)
            if lines:
                self.check_length(len(text) + lines * len(self.indent))
                text = text[:-1].replace("\n", "\n" + self.indent) + text[-1]
        self.emit(text)
        self.line_ended = self.indent_next = text[-1] in "\r\n"

    def capture(self, render: Render) -> str:
        """Render into a string of its own."""
        outer, self.out = self.out, []
        render(self)
        inner, self.out = self.out, outer
        return "".join(inner)

    # -- reads ---------------------------------------------------------------------------------

    def read_paths(self) -> frozenset[str]:
        """Give what was read as dotted paths.

        A key that contains a dot has no dotted path: its table stands for it. A read of the whole
        context is a read of each of its top-level values.
        """
        paths: set[str] = set()
        for keys in self.reads:
            kept: list[str] = []
            for key in keys:
                if "." in key or not key:
                    break
                kept.append(key)
            if kept:
                paths.add(".".join(kept))
            else:
                paths.update(str(key) for key in self.root)
        return frozenset(paths)


Render = Callable[[State], None]
Evaluate = Callable[[State], Arg]


class Invocation:
    """One call of a helper: evaluated arguments and, for a block, its arms."""

    __slots__ = ("args", "inverse", "name", "names", "options", "program", "state")

    def __init__(
        self,
        state: State,
        name: str,
        args: list[Arg],
        options: dict[str, Arg],
        program: Render | None = None,
        inverse: Render | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.state = state
        self.name = name
        self.args = args
        self.options = options
        self.program = program
        self.inverse = inverse
        self.names = names

    def arg(self, index: int) -> Arg:
        """Return an argument, defined or not. Raises ``TemplateError`` if it was not written."""
        if index >= len(self.args):
            count = f"{index + 1} argument{'s' if index else ''}"
            raise self.state.error(f"{self.name} needs {count}, got {len(self.args)}", self.name)
        return self.args[index]

    def defined(self, index: int) -> Any:
        """Return the value of an argument; in strict mode it must be defined."""
        arg = self.arg(index)
        if arg.value is MISSING:
            self.state.miss(arg)
            return None
        return arg.value

    def error(self, message: str) -> TemplateError:
        """Make an error that begins with the helper's name."""
        return self.state.error(f"{self.name} {message}", self.name)

    def branch(self, truth: bool) -> None:
        """Render the arm for ``truth``, if the block has it."""
        arm = self.program if truth else self.inverse
        if arm is not None:
            arm(self.state)
