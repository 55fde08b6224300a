"""What Jinja2 templates may do in ``sup``, and what an author reads when they may not."""

from typing import Any

import pytest

from sup.plugin_api import TemplateError
from sup_jinja import environment
from sup_jinja.renderer import JinjaRenderer

CONTEXT: dict[str, Any] = {
    "cfg": {"port": 8080, "items": ["a", "b"], "tags": {"x": "<&>", "y": "z"}},
    "svc": {"members": [{"sys": {"ip": "10.0.0.1"}}, {"sys": {"ip": "10.0.0.2"}}]},
}


def render(source: str, *, strict: bool = True) -> str:
    return JinjaRenderer().compile(source, "config/a.j2", strict=strict).render(CONTEXT).text


def error(source: str, *, strict: bool = True) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(source, strict=strict)
    return caught.value


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% if cfg.port %}\nyes\n{% endif %}\n", "yes\n"),
        ("  {% for i in cfg['items'] %}\n- {{ i }}\n  {% endfor %}\nend", "- a\n- b\nend"),
        ("{{ cfg.items | join(' ') }}", "a b"),
        ("{% for k, v in cfg.tags.items() %}{{ k }}{{ v }}{% endfor %}", "x<&>yz"),
        ("{{ cfg.tags | tojson }}", '{"x": "<&>", "y": "z"}'),
        ("{{ cfg.port | default(1) }} {{ cfg.nothing | default('none') }}", "8080 none"),
        ("{% for m in svc.members %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/2 2/2 "),
        ("{{ range(3) | list }} {{ 2 ** 10 }} {{ '%05d' % 42 }}", "[0, 1, 2] 1024 00042"),
    ],
)
def test_render_dialect(source: str, text: str) -> None:
    """Blocks leave no blank lines, keys win over methods, nothing is escaped."""
    assert render(source) == text


def test_render_lenient_undefined_at_any_depth_is_empty() -> None:
    """Without strict mode a missing value is nothing, and so is all below it."""
    assert render("[{{ cfg.a.b.c }}{{ nope }}]", strict=False) == "[]"


@pytest.mark.parametrize(
    ("source", "line", "name"),
    [
        ("a\nb {{ cfg.prot }}\n", 2, "cfg.prot"),
        ("{{ cfg.tags.deep.deeper }}", 1, "cfg.tags.deep"),
        ("{% for m in svc.members %}\n{{ m.nope }}\n{% endfor %}", 2, "m.nope"),
        ("\n\n{{ nope }}", 3, "nope"),
        ("{% if cfg.nope %}{% endif %}", 1, "cfg.nope"),
        ("{{ nope() }}", 1, "nope"),
    ],
)
def test_render_strict_undefined_names_the_value_as_written(
    source: str, line: int, name: str
) -> None:
    """The whole chain is named, up to what is missing."""
    caught = error(source)
    assert str(caught) == f"config/a.j2:{line}:1: {name} is not defined"
    assert caught.name == name


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% include 'other' %}", "include, import and extends are not supported"),
        ("{% extends 'other' %}", "include, import and extends are not supported"),
        ("{% import 'other' as o %}", "include, import and extends are not supported"),
        ("{% from 'other' import o %}", "include, import and extends are not supported"),
        ("{% for a in cfg recursive %}{{ loop(a) }}{% endfor %}", "recursive loops"),
        ("{% set sup_steps = 1 %}", "sup_steps is taken"),
        ("{{ cfg.port | nothing }}", "No filter named 'nothing'"),
        ("{{ [1, 2] | random }}", "No filter named 'random'"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("x" * (environment.SOURCE_CHARS_MAX + 1), "the limit is 262144"),
    ],
)
def test_compile_refuses(source: str, words: str) -> None:
    """What a template can't do is said when the package is loaded."""
    with pytest.raises(TemplateError, match=words) as caught:
        JinjaRenderer().compile(source, "a.j2", strict=True)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ cfg.update({'port': 1}) }}", "unsafe"),
        ("{{ cfg['items'].append(1) }}", "unsafe"),
        ("{{ '{0.__class__}'.format(1) }}", "str.format is not supported"),
        ("{{ lipsum() }}", "lipsum is not defined"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{{ 'a' * 100000 }}", "over 10000"),
        ("{{ [0] * 100000 }}", "over 10000"),
        ("{{ 9 ** 99999 }}", "over 10000"),
        ("{{ '%99999d' % 1 }}", "over 10000"),
        ("{{ 'a'.zfill(99999) }}", "over 10000"),
        ("{{ 'a' | center(99999) }}", "over 10000"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply"),
        (
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
            "{{ f(60) }}",
            "loop steps and calls",
        ),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "loop steps and calls",
        ),
        ("{% for a in range(999) %}{{ 'x' * 9999 }}{% endfor %}", "output is over 1048576"),
    ],
)
def test_render_refuses(source: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation, escapes from the sandbox and runaway work end in one line, never in a hang."""
    monkeypatch.setattr(environment, "STEPS_MAX", 50_000)
    caught = error(source)
    assert words in str(caught)
    assert "\n" not in str(caught)


def test_render_after_a_limit_starts_with_a_full_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """One template that went over takes nothing from the next."""
    monkeypatch.setattr(environment, "STEPS_MAX", 10)
    error("{% for a in range(11) %}{% endfor %}")
    assert render("{% for a in range(8) %}{{ a }}{% endfor %}") == "01234567"
