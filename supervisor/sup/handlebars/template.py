"""The template as its users hold it: compile once, render with any context.

Holds no state between renders, so one compiled template may be rendered again and again.
Neighbours: ``parser`` and ``evaluate`` do the work; ``sup.builtin.handlebars_renderer`` offers it
to the supervisor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sup.handlebars.evaluate import Compiler
from sup.handlebars.helpers import HELPERS
from sup.handlebars.parser import parse
from sup.handlebars.state import Render, State
from sup.handlebars.syntax import Source
from sup.policies import Rendered


class CompiledTemplate:
    """A template that parsed; ``sup.policies.Template``."""

    __slots__ = ("_partials", "_render", "_source", "_strict")

    def __init__(
        self, source: Source, render: Render, strict: bool, partials: Mapping[str, Render]
    ) -> None:
        self._source = source
        self._render = render
        self._strict = strict
        self._partials = partials

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Render with ``context``. Raises ``TemplateError`` and nothing else."""
        state = State(context, self._strict, self._partials, (self._source, 0))
        try:
            self._render(state)
            text = "".join(state.out)
        except RecursionError:
            # The bounds keep us well below the limit; a caller that is deep itself may still meet
            # it.
            raise state.error("template is nested too deep for the stack that is left") from None
        return Rendered(text, state.read_paths(), tuple(state.forgiven))


def _compile(source: Source, keep_tilde_lines: bool) -> Render:
    program = parse(source, HELPERS, keep_tilde_lines=keep_tilde_lines)
    return Compiler(source).program(program)


def compile_template(
    text: str,
    file: str,
    *,
    strict: bool = False,
    partials: Mapping[str, str] | None = None,
    keep_tilde_lines: bool = False,
) -> CompiledTemplate:
    """Compile ``text``; ``file`` is its name in errors.

    ``strict`` makes printing an undefined value an error instead of empty text. ``partials`` are
    further templates by the name that ``{{> name}}`` uses. ``keep_tilde_lines`` is for Habitat
    plans: those before handlebars-rust 4 were written for one that never took the line of a tag
    that stands alone, and put ``~`` where they wanted it gone; a tag with ``~`` keeps to that.
    Raises ``TemplateError``.
    """
    source = Source(file, text)
    try:
        compiled = {
            name: _compile(Source(name, partial), keep_tilde_lines)
            for name, partial in (partials or {}).items()
        }
        return CompiledTemplate(source, _compile(source, keep_tilde_lines), strict, compiled)
    except RecursionError:
        raise source.error("template is nested too deep for the stack that is left", 0) from None
