"""Oracles and data of the Handlebars tests.

``rust`` renders with pyhandlebars (handlebars-rust 6.4.0), ``js`` with handlebars.js 4.7.10
in QuickJS. Both give the text, or None where the oracle raises. Both escape ``{{x}}`` for HTML;
that is undone here, which is exact as long as no input contains an entity.
"""

from __future__ import annotations

import html
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
JS_DEFAULT = HERE.parents[1] / "build" / "oracles" / "handlebars-4.7.10.min.js"
Oracle = Callable[[str, Any], "str | None"]


def sorted_keys(value: Any) -> Any:
    """Sort the keys of every table, as pyhandlebars does."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def corpus() -> dict[str, Any]:
    """``contexts`` by name and the list ``cases``."""
    data: dict[str, Any] = json.loads((HERE / "corpus.json").read_text())
    return data


@pytest.fixture(scope="session")
def rust() -> Oracle:
    """handlebars-rust 6.4.0, not strict."""
    if sys.version_info >= (3, 14):
        pytest.skip("pyhandlebars has no wheel for Python 3.14")
    module = pytest.importorskip("pyhandlebars", reason="pyhandlebars is not installed")

    def render(template: str, context: Any) -> str | None:
        # A client each: templates register under a name and would otherwise pile up.
        try:
            made = module.Template(template, client=module.PyHandlebars())
            return html.unescape(made.format(context))
        except module.PyHandlebarsError:
            return None

    return render


@pytest.fixture(scope="session")
def js() -> Oracle:
    """handlebars.js. Its ``noEscape`` adds neighbouring numbers up, so we undo escaping instead."""
    path = Path(os.environ.get("SUP_HANDLEBARS_JS") or JS_DEFAULT)
    if not path.exists():
        pytest.skip("handlebars.js is not here; run tests/handlebars/fetch_oracle.py")
    quickjs = pytest.importorskip("quickjs", reason="quickjs-ng is not installed")
    engine = quickjs.Context()
    engine.eval(path.read_text())
    engine.eval("function run(t, c) { return Handlebars.compile(t)(JSON.parse(c)); }")
    call = engine.get("run")

    def render(template: str, context: Any) -> str | None:
        try:
            return html.unescape(str(call(template, json.dumps(context))))
        except quickjs.JSException:
            return None

    return render
