"""Strict mode, errors, reads, bounds, serialising and the renderer's face."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import tomli

from sup.builtin.handlebars_renderer import HandlebarsRenderer, sup_renderers
from sup.handlebars import compile_template
from sup.handlebars.limits import NESTING_MAX, OUTPUT_CHARS_MAX, SOURCE_CHARS_MAX
from sup.handlebars.serialise import to_toml, to_yaml
from sup.policies import Rendered, Renderer, TemplateError

CONTEXT: dict[str, Any] = {
    "cfg": {"port": 6379, "tags": ["a", "b"], "null": None, "a.b": 1},
    "svc": {"leader": {"sys": {"ip": "10.0.0.1"}}, "members": [{"name": "x", "alive": True}]},
}


def text(template: str, *, strict: bool = True, context: Any = None) -> str:
    """Render."""
    made = compile_template(template, "redis.conf", strict=strict)
    return made.render(CONTEXT if context is None else context).text


def fails(template: str, *, strict: bool = True, context: Any = None) -> TemplateError:
    """Render and give the error."""
    with pytest.raises(TemplateError) as caught:
        text(template, strict=strict, context=context)
    return caught.value


def test_strict_print_of_missing_names_file_line_column_and_variable() -> None:
    """The operator sees where and what, and a likely spelling."""
    error = fails("a\nb {{cfg.prot}}")
    assert str(error) == "redis.conf:2:3: cfg.prot is not defined; did you mean cfg.port?"
    assert (error.file, error.line, error.column, error.name) == ("redis.conf", 2, 3, "cfg.prot")


def test_strict_error_inside_with_names_the_whole_path() -> None:
    """A relative name is told with its place in the context."""
    error = fails("{{#with svc.leader.sys}}{{ipp}}{{/with}}")
    assert error.name == "svc.leader.sys.ipp"
    assert "ipp (svc.leader.sys.ipp) is not defined; did you mean svc.leader.sys.ip?" in str(error)


@pytest.mark.parametrize(
    "template",
    [
        "{{#if cfg.maybe}}x{{/if}}",
        "{{#unless cfg.maybe}}{{/unless}}",
        "{{#if svc.me.follower}}x{{/if}}",
        "{{#if (and cfg.maybe cfg.port)}}x{{/if}}",
        "{{#if (or cfg.maybe cfg.no)}}x{{/if}}",
        "{{#if (not cfg.maybe)}}{{/if}}",
        "{{#if (lookup cfg 'maybe')}}x{{/if}}",
        "{{#with cfg.maybe}}x{{else}}{{/with}}",
        "{{#each cfg.maybe}}x{{else}}{{/each}}",
        "{{#eachAlive cfg.maybe}}x{{else}}{{/eachAlive}}",
        "{{cfg.null}}",
        "{{#with cfg.null}}x{{/with}}",
        "{{#each cfg.null}}x{{/each}}",
        "{{^cfg.maybe}}{{/cfg.maybe}}",
    ],
)
def test_strict_question_about_missing_is_allowed(template: str) -> None:
    """Asking whether a value is there is not an error, and null is a value."""
    assert text(template) == ""


@pytest.mark.parametrize(
    "template",
    [
        "{{cfg.maybe}}",
        "{{#with cfg.maybe}}x{{/with}}",
        "{{#each cfg.maybe}}x{{/each}}",
        "{{#eachAlive cfg.maybe}}x{{/eachAlive}}",
        "{{lookup cfg 'maybe'}}",
        "{{eq cfg.maybe 1}}",
        "{{len cfg.maybe}}",
        "{{toJson cfg.maybe}}",
        "{{strConcat 'a' cfg.maybe}}",
        "{{@index}}",
        "{{#*inline 'p'}}{{v}}{{/inline}}{{> p v=cfg.maybe}}",
        "{{#*inline 'p'}}{{v}}{{/inline}}{{> p cfg.maybe}}",
        "{{#each cfg.port}}x{{/each}}",
    ],
)
def test_strict_use_of_missing_raises(template: str) -> None:
    """Using a value that is not there is an error in strict mode and empty otherwise."""
    fails(template)
    text(template, strict=False)


def test_unknown_helper_is_found_when_compiling() -> None:
    """A misspelt helper fails at load, also in a branch that is never taken."""
    with pytest.raises(TemplateError, match="eachAlve is not defined; did you mean eachAlive"):
        compile_template("{{#if no}}{{#eachAlve a}}{{/eachAlve}}{{/if}}", "t")


def test_pkg_path_for_missing_dependency_in_strict_raises() -> None:
    """Habitat prints nothing, which makes a path like /bin/x; strict mode refuses."""
    assert fails("{{pkgPathFor 'core/x'}}").name == "pkgPathFor"


def test_reads_are_dotted_paths_of_what_was_read() -> None:
    """Values, tables, loops, branches, missing values and names inside blocks are all recorded."""
    template = compile_template(
        "{{cfg.port}}{{#with svc.leader}}{{sys.ip}}{{/with}}{{#each cfg.tags}}{{this}}{{/each}}"
        "{{#if svc.me.follower}}{{cfg.untaken}}{{/if}}{{cfg.[a.b]}}{{@root.cfg.gone}}",
        "t",
    )
    assert template.render(CONTEXT).reads == {
        "cfg.port",
        "svc.leader",
        "svc.leader.sys.ip",
        "cfg.tags",
        "cfg.tags.0",
        "cfg.tags.1",
        "svc.me.follower",
        "cfg",
        "cfg.gone",
    }


def test_reads_through_partials_and_block_parameters_keep_their_paths() -> None:
    """A hash argument does not make the whole context a read."""
    template = compile_template(
        "{{#*inline 'p'}}{{v}}{{port}}{{/inline}}{{#with cfg as |c|}}{{> p v=c.null}}{{/with}}", "t"
    )
    assert template.render(CONTEXT).reads == {"cfg", "cfg.null", "cfg.port"}


def test_reads_of_the_whole_context_are_its_top_level_values() -> None:
    """`toJson this` depends on everything."""
    assert compile_template("{{toJson this}}", "t").render(CONTEXT).reads == {"cfg", "svc"}


def test_partials_given_by_name_are_found_and_named_in_errors() -> None:
    """An error inside another file names that file."""
    partials = {"p.conf": "port {{cfg.port}}\n{{cfg.nope}}"}
    template = compile_template("{{> p.conf}}", "t", partials=partials)
    assert template.render(CONTEXT).text == "port 6379\n"
    strict = compile_template("{{> p.conf}}", "t", strict=True, partials=partials)
    with pytest.raises(TemplateError) as caught:
        strict.render(CONTEXT)
    assert (caught.value.file, caught.value.line) == ("p.conf", 2)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("x" * (SOURCE_CHARS_MAX + 1), "limit is"),
        ("{{#if a}}" * (NESTING_MAX + 1), "nested deeper"),
        ("{{len " + "(len " * (NESTING_MAX + 1), "nested deeper"),
        ("{{len " + "[" * (NESTING_MAX + 2), "nested deeper"),
        ("{{#*inline 'p'}}{{> p}}{{/inline}}{{> p}}", "include itself"),
        ("{{#*inline 'p'}}{{> p x=(strConcat x x)}}{{/inline}}{{> p x='ab'}}", "limit is"),
        (
            "{{#each l}}{{#each @root.l}}{{#each @root.l}}x{{/each}}{{/each}}{{/each}}",
            "more than 1000000 steps",
        ),
        ("{{#each l}}{{@root.s}}{{/each}}", f"more than {OUTPUT_CHARS_MAX} characters"),
        ("{{deep}}", "nested deeper"),
        ("{{toJson deep}}", "nested deeper"),
        ("{{toYaml deep}}", "nested deeper"),
        ("{{toToml deep}}", "nested deeper"),
        ("{{eq deep deep2}}", "nested deeper"),
    ],
)
def test_bound_that_is_reached_is_a_template_error(template: str, message: str) -> None:
    """Every bound ends in an error that says which."""
    deep: list[Any] = []
    deep2: list[Any] = []
    for _ in range(200):
        deep, deep2 = [deep], [deep2]
    context = {"a": 1, "l": list(range(200)), "s": "s" * 100_000, "deep": deep, "deep2": deep2}
    assert message in str(fails(template, strict=False, context=context))


def test_recursion_to_the_bound_stays_inside_the_stack() -> None:
    """The deepest allowed nesting renders; the bounds come before Python's own."""
    depth = NESTING_MAX - 1
    assert text("{{#if cfg}}" * depth + "x" + "{{/if}}" * depth) == "x"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": [1, {"b": "x"}], "c": {}}, "a:\n- 1\n- b: x\nc: {}\n"),
        ([[1, 2], []], "- - 1\n  - 2\n- []\n"),
        ({"a": "yes", "b": "true", "c": "1", "d": "", "e": "~"},
         "a: yes\nb: 'true'\nc: '1'\nd: ''\ne: '~'\n"),
        ({"a": "x: y", "b": "- x", "c": "it's", "d": "#x", "e": " x"},
         "a: 'x: y'\nb: '- x'\nc: it's\nd: '#x'\ne: ' x'\n"),
        ({"a": "l1\nl2", "b": "l1\nl2\n", "c": "l\n\n"},
         "a: |-\n  l1\n  l2\nb: |\n  l1\n  l2\nc: |+\n  l\n\n"),
        ({"a": "tab\t", "b": 1.0, "c": 1e16, "d": None, "e": True},
         'a: "tab\\t"\nb: 1.0\nc: 1e16\nd: null\ne: true\n'),
        ("plain", "plain\n"),
    ],
)  # fmt: skip
def test_to_yaml_writes_as_serde_yaml(value: Any, wanted: str) -> None:
    """Style by style; the expectations were taken from serde_yaml 0.9.34."""
    assert to_yaml(value) == wanted


def test_to_toml_leaves_null_out_and_reads_back() -> None:
    """TOML has no null; everything else survives a round trip."""
    value = {"a": 1, "t": {"x": [1.5, "é\n"], "n": None}, "l": [{"k": True}]}
    assert tomli.loads(to_toml(value)) == {"a": 1, "t": {"x": [1.5, "é\n"]}, "l": [{"k": True}]}
    inline = to_toml([{"a b": [1, {"c": "d"}]}, {}])
    assert tomli.loads(f"v = {inline}")["v"] == [{"a b": [1, {"c": "d"}]}, {}]
    with pytest.raises(ValueError, match="no null"):
        to_toml([None])


def test_renderer_is_registered_as_default_and_for_hbs() -> None:
    """Files without a renderer of their own are Handlebars."""
    renderers = sup_renderers()
    assert set(renderers) == {"", ".hbs"}
    assert isinstance(renderers[""], Renderer)
    rendered = HandlebarsRenderer().compile("{{a}}", "f", strict=True).render({"a": 1})
    assert rendered == Rendered("1", frozenset({"a"}))


def test_import_loads_no_serialiser() -> None:
    """Importing the renderer stays light: TOML writing and difflib come when they are needed."""
    code = (
        "import sys, sup.builtin.handlebars_renderer;"
        "sys.exit(any(m in sys.modules for m in ('tomli_w', 'difflib', 'yaml', 'asyncio')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
