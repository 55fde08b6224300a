"""The corpus: small templates with the text, or the error, that each must give.

``corpus.json`` is our own; its expectations were agreed with handlebars-rust except where a case
says ``rust`` and why.
"""

from __future__ import annotations

from typing import Any

import pytest

from sup.handlebars import compile_template
from sup.policies import TemplateError


def test_corpus_every_case_renders_as_expected(corpus: dict[str, Any]) -> None:
    """Each case gives its text, or its error at its line and column."""
    failures = []
    for case in corpus["cases"]:
        context = corpus["contexts"][case["context"]]
        try:
            got: dict[str, str] = {
                "expected": compile_template(case["template"], "t").render(context).text
            }
        except TemplateError as error:
            got = {"error": f"{error.line}:{error.column}: {error.message}"}
        wanted = {key: case[key] for key in ("expected", "error") if key in case}
        if got != wanted:
            failures.append((case["name"], case["template"], wanted, got))
    assert not failures
    assert len(corpus["cases"]) >= 300


def test_corpus_strict_mode_changes_nothing_but_errors(corpus: dict[str, Any]) -> None:
    """Strict mode renders the same text or raises; it never renders another text."""
    raised = 0
    for case in corpus["cases"]:
        if "expected" not in case:
            continue
        context = corpus["contexts"][case["context"]]
        try:
            text = compile_template(case["template"], "t", strict=True).render(context).text
        except TemplateError:
            raised += 1
            continue
        assert text == case["expected"], case
    assert 0 < raised < 60


def test_corpus_names_are_unique(corpus: dict[str, Any]) -> None:
    """A failure names one case."""
    names = [case["name"] for case in corpus["cases"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["{{cfg.port}}", "x", ""])
def test_template_rendered_twice_gives_the_same(text: str) -> None:
    """A compiled template keeps no state."""
    template = compile_template(text, "t")
    assert template.render({"cfg": {"port": 1}}) == template.render({"cfg": {"port": 1}})
