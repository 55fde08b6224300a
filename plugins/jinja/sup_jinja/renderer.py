"""Compile and render Jinja2 templates as ``sup`` wants it: errors with a place, reads recorded.

Neighbours: ``environment`` (what a template may do), ``reads`` (what it may read).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from jinja2 import Template as CompiledTemplate
from jinja2 import TemplateSyntaxError

from sup.plugin_api import Rendered, TemplateError
from sup_jinja.environment import (
    OUTPUT_CHARS_MAX,
    SOURCE_CHARS_MAX,
    Environment,
    LimitError,
    MissingError,
    start_steps,
)
from sup_jinja.reads import Read, find_reads


class JinjaRenderer:
    """The renderer for ``.j2``; it holds no state but the two environments."""

    def __init__(self) -> None:
        self._environments = {strict: Environment(strict=strict) for strict in (True, False)}

    def compile(self, source: str, file: str, *, strict: bool) -> JinjaTemplate:
        """Compile ``source``, of at most ``SOURCE_CHARS_MAX`` characters.

        Raises:
            TemplateError: too long, bad syntax, an unknown filter or a statement that is refused.
        """
        if len(source) > SOURCE_CHARS_MAX:
            raise TemplateError(
                f"the template has {len(source)} characters, the limit is {SOURCE_CHARS_MAX}",
                file=file,
                line=1,
                column=1,
            )
        environment = self._environments[strict]
        try:
            # The tree for the reads is parsed apart from the one that is compiled, for compiling
            # rewrites its tree (constants are folded, loops are counted).
            reads = find_reads(environment.parse(source, file, file))
            code = environment.compile(source, file, file)
        except TemplateSyntaxError as error:
            raise TemplateError(
                _one_line(error.message or "bad syntax"), file=file, line=error.lineno, column=1
            ) from None
        except RecursionError:
            raise TemplateError(
                "the template is nested too deeply", file=file, line=1, column=1
            ) from None
        template = CompiledTemplate.from_code(environment, code, environment.globals)
        return JinjaTemplate(template, file, reads, frozenset(environment.globals))


class JinjaTemplate:
    """One compiled template; it may be rendered any number of times."""

    def __init__(
        self,
        template: CompiledTemplate,
        file: str,
        reads: tuple[Read, ...],
        globals_: frozenset[str],
    ) -> None:
        self._template = template
        self._file = file
        self._reads = reads
        self._outside = frozenset(
            read.path for read in reads if read.outside and read.root not in globals_
        )

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Render with ``context``, which is not changed.

        Raises:
            TemplateError: an undefined value, an operation that its values can't do, or a limit.
        """
        start_steps()
        parts = []
        size = 0
        try:
            for part in self._template.generate(**context):
                size += len(part)
                if size > OUTPUT_CHARS_MAX:
                    raise LimitError(f"its output is over {OUTPUT_CHARS_MAX} characters")
                parts.append(str(part))
        except Exception as error:  # a template's expressions may raise anything
            raise self._located(error) from None
        # A name that the template also defines itself, or that Jinja2 has, may still be read from
        # the context: on another branch, before the definition, in place of the global.
        given = frozenset(read.path for read in self._reads if read.root in context)
        return Rendered("".join(parts), self._outside | given)

    def _located(self, error: Exception) -> TemplateError:
        """Our error for what Jinja2 or an expression raised: the last line of ours on its way."""
        line = _last_line(error.__traceback__, self._file) or 1
        name = ""
        if isinstance(error, MissingError):
            name = self._full_name(error.name, line)
            message = f"{name} is not defined"
        elif isinstance(error, RecursionError):
            message = "it calls itself too deeply"
        else:
            message = _one_line(str(error)) or type(error).__name__
        return TemplateError(message, file=self._file, line=line, column=1, name=name)

    def _full_name(self, name: str, line: int) -> str:
        """The chain on this line that has the missing name, as it is written up to that name.

        Two chains of a line may both have it; then the first is named, and either helps.
        """
        for read in self._reads:
            names = read.chain.split(".")
            if read.line == line and name in names:
                return ".".join(names[: names.index(name) + 1])
        return name


def _last_line(trace: TracebackType | None, file: str) -> int | None:
    """Innermost line of the template in a traceback, whose frames Jinja2 has rewritten."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _one_line(text: str) -> str:
    return " ".join(text.split())
