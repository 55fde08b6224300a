"""Contract of a renderer: the same text from the same values, errors with a place, honest reads.

The one that matters most is the last: ``Rendered.reads`` decides what is rendered again, so a value
that is left out of it is a configuration change that never reaches the service.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sup.plugin_api import Rendered, Renderer, Template, TemplateError
from sup.testing.purity import forbid_effects
from sup.testing.views import make_member

_FILE = "config/app.conf"
_ABSENT = object()


def sample_context() -> dict[str, Any]:
    """A context with the names that the supervisor renders with, fresh each time."""
    members: list[dict[str, Any]] = [
        {
            "member_id": member.member_id,
            "alive": True,
            "sys": dict(member.sys),
            "cfg": dict(member.exports),
        }
        for member in (make_member(1), make_member(2), make_member(3))
    ]
    return {
        "sys": dict(members[0]["sys"]),
        "pkg": {"origin": "core", "name": "app", "version": "1.0.0", "ident": "core/app/1.0.0"},
        "cfg": {
            "port": 8080,
            "motto": '<&"> ünïcode',
            "verbose": True,
            "ratio": 0.5,
            "hosts": ["alpha", "beta"],
            "redis": {"maxmemory": "64mb", "items": 3},
        },
        "svc": {
            "service": "app",
            "group": "default",
            "me": members[0],
            "leader": None,
            "first": members[0],
            "members": members,
        },
        "bind": {},
    }


def covers(reads: frozenset[str], path: str) -> bool:
    """Whether one of ``reads`` is ``path`` (dotted, list indices as numbers) or above it."""
    names = path.split(".")
    return any(".".join(names[:count]) in reads for count in range(1, len(names) + 1))


class RendererContract:
    """Subclass as ``Test…``, define ``make`` and say four things in your template language."""

    prints_port: str
    """Prints ``cfg.port`` and nothing else."""
    prints_motto: str
    """Prints ``cfg.motto`` and nothing else."""
    lists_members: str
    """Prints ``sys.ip`` of each of ``svc.members``, each followed by one space."""
    reads_missing: str
    """Prints ``cfg.missing`` on its third line."""
    broken: str
    """Has a syntax error."""
    broken_line: int
    """The line that ``broken`` is to be blamed for."""
    samples: tuple[str, ...] = ()
    """More templates, for the check of reads: loops, conditions, computed names."""

    def make(self) -> Renderer:
        """Return a fresh renderer."""
        raise NotImplementedError("define make() in your test class")

    def _render(self, source: str, context: Mapping[str, Any], *, strict: bool = True) -> Rendered:
        return self.make().compile(source, _FILE, strict=strict).render(context)

    def _sources(self) -> tuple[str, ...]:
        return (self.prints_port, self.prints_motto, self.lists_members, *self.samples)

    def test_render_prints_values(self) -> None:
        """Values come out as they are: no escaping, no added or lost newline."""
        context = sample_context()
        assert self._render(self.prints_port, context).text == "8080"
        assert self._render(self.prints_motto, context).text == context["cfg"]["motto"]
        assert self._render(self.lists_members, context).text == "10.0.0.2 10.0.0.3 10.0.0.4 "
        for plain in ("", "plain", "plain\n", "two\nlines\n\n", "ünïcode ✓\n"):
            assert self._render(plain, context).text == plain, f"{plain!r} did not stay itself"

    def test_render_same_values_same_text(self) -> None:
        """One compiled template renders any number of times, each time alike."""
        for source in self._sources():
            template = self.make().compile(source, _FILE, strict=True)
            first = template.render(sample_context())
            assert template.render(sample_context()) == first, f"{source!r} rendered differently"

    def test_render_changes_nothing_in_the_context(self) -> None:
        """The context is shared by all templates of a service."""
        for source in self._sources():
            context, before = sample_context(), sample_context()
            self._render(source, context)
            assert context == before, f"{source!r} changed the context"

    def test_render_does_no_io_and_reads_no_clock(self) -> None:
        """A template sees its context alone."""
        for source in self._sources():
            template = self.make().compile(source, _FILE, strict=True)
            template.render(sample_context())  # a renderer may import lazily, once
            with forbid_effects(f"rendering {source!r}"):
                template.render(sample_context())

    def test_render_strict_undefined_value_is_an_error_with_its_line(self) -> None:
        """The error says file, line and name; lenient rendering prints nothing in its place."""
        template = self.make().compile(self.reads_missing, _FILE, strict=True)
        error = _error_of(lambda: template.render(sample_context()))
        assert error is not None, "reading cfg.missing in strict mode is no error"
        _check_place(error, 3)
        assert "missing" in error.name, f"name is {error.name!r}"
        self._render(self.reads_missing, sample_context(), strict=False)

    def test_render_missing_value_is_among_the_reads(self) -> None:
        """A value that is not there yet is read all the same: it may appear later."""
        rendered = self._render(self.reads_missing, sample_context(), strict=False)
        assert covers(rendered.reads, "cfg.missing"), f"reads are {sorted(rendered.reads)}"

    def test_compile_bad_syntax_is_an_error_with_its_line(self) -> None:
        """A template that can't work is refused when the package is loaded."""
        error = _error_of(lambda: self.make().compile(self.broken, _FILE, strict=True))
        assert error is not None, "bad syntax was compiled"
        _check_place(error, self.broken_line)

    def test_render_reads_cover_every_value_that_matters(self) -> None:
        """Each value is changed in turn: whenever the text changes, ``reads`` has said so."""
        for source in self._sources():
            template = self.make().compile(source, _FILE, strict=False)
            before = template.render(sample_context())
            for path, changed in _changes(sample_context()):
                if _text(template, changed) == before.text:
                    continue
                assert any(
                    _value(changed, read) != _value(sample_context(), read) for read in before.reads
                ), f"{source!r} depends on {path}, its reads are {sorted(before.reads)}"


def _text(template: Template, context: Mapping[str, Any]) -> str | None:
    """The rendered text; None for an error, which is a difference too."""
    try:
        return template.render(context).text
    except TemplateError:
        return None


def _value(context: Any, path: str) -> Any:
    """The value at a dotted path, or a value that no context has."""
    for name in path.split("."):
        try:
            context = context[int(name)] if isinstance(context, list) else context[name]
        except (LookupError, TypeError, ValueError):
            return _ABSENT
    return context


def _error_of(call: Callable[[], object]) -> TemplateError | None:
    try:
        call()
    except TemplateError as error:
        return error
    return None


def _check_place(error: TemplateError, line: int) -> None:
    assert error.file == _FILE, f"file is {error.file!r}"
    assert error.line == line, f"line is {error.line}, it should be {line}"
    assert error.column >= 1, "columns count from 1"
    assert "\n" not in str(error), "the error is more than one line"


def _changes(context: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, context with that one value changed, lengthened or removed), for every value in it."""
    for path in list(_paths(context, ())):
        for replacement in ("changed", None):
            changed = copy.deepcopy(context)
            holder: Any = changed
            for step in path[:-1]:
                holder = holder[step]
            if replacement is None and isinstance(holder, dict):
                del holder[path[-1]]
            elif isinstance(holder[path[-1]], list):
                holder[path[-1]] = [*holder[path[-1]], holder[path[-1]][0]]
            elif not isinstance(holder[path[-1]], dict):
                holder[path[-1]] = replacement
            yield ".".join(str(step) for step in path), changed


def _paths(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    steps: list[str | int] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    for step in steps:
        yield (*at, step)
        yield from _paths(value[step], (*at, step))
