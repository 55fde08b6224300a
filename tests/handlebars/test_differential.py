"""The corpus against two other engines; every difference is listed here with its reason.

A reason that stops being true fails too, so the lists can't rot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Oracle = Callable[[str, Any], "str | None"]

HABITAT = (
    "eachAlive",
    "pkgPathFor",
    "strConcat",
    "strJoin",
    "strReplace",
    "toUppercase",
    "toLowercase",
    "toJson",
    "toToml",
    "toYaml",
)

JS_SKIP = ("len", "eq", "ne ", "gt", "lt", "{{and", "{{#and", "or ", "not ", "{{or", "raw")
"""Helpers that handlebars.js has not."""

RUST_6_4_0 = {
    "paths 33": "we take list[0] as list.[0], which older packages wrote",
    "paths 34": "as paths 33",
    "paths 35": "as paths 33",
    "if 24": "we take {{^value}} as a block, as handlebars.js does",
    "if 25": "as if 24",
    "if 26": "as if 24",
    "if 27": "as if 24",
    "with 9": "since 6.4.4 `with` inherits @index",
    "partials 13": "since 6.4.4 a partial inherits @index",
    "partials 23": "we take a partial name in quotes",
    "partials 27": "since 6.4.4 an inline partial ends with its block",
}
_PRINT = "handlebars.js prints 1.0, lists and tables in its own way"
_SEGMENT = "handlebars.js wants list.[0] or has no such segment"
JS = {
    "values 4": _PRINT,
    "values 10": _PRINT,
    "values 11": _PRINT,
    "values 12": _PRINT,
    "values 13": _PRINT,
    "paths 23": _PRINT,
    "each 3": _PRINT,
    "each 13": _PRINT,
    "each 22": _PRINT,
    "helpers 8": _PRINT,
    "paths 9": _SEGMENT,
    "paths 10": _SEGMENT,
    "paths 12": _SEGMENT,
    "paths 21": _SEGMENT,
    "paths 33": _SEGMENT,
    "paths 34": _SEGMENT,
    "paths 35": _SEGMENT,
    "paths 25": "Rust refuses `.`, `..` and a literal as a value",
    "paths 36": "Rust refuses `.`, `..` and a literal as a value",
    "syntax errors 10": "Rust refuses `.`, `..` and a literal as a value",
    "syntax errors 16": "Rust refuses `.`, `..` and a literal as a value",
    "paths 30": "Rust looks in the innermost scope when there are too few",
    "paths 32": "Rust: a name in a list is an error",
    "literals 16": "handlebars.js has no list or object literals",
    "literals 17": "handlebars.js has no list or object literals",
    "literals 18": "handlebars.js has no list or object literals",
    "literals 27": "handlebars.js has no list or object literals",
    "whitespace 6": "handlebars.js has no tilde inside triple braces",
    "whitespace 31": "Rust: the tilde before a comment reaches past it",
    "if 9": "handlebars.js: an empty table is true",
    "with 4": "handlebars.js: an empty table is true",
    "if 21": "handlebars.js: {{^name}} always opens a block",
    "if 28": "handlebars.js: if needs exactly one argument",
    "helpers 6": "handlebars.js: a text index finds list items",
    "helpers 25": "handlebars.js: no call as the whole expression",
    "helpers 31": "handlebars.js: an unknown block is a section over a value",
    "helpers 34": "handlebars.js: an unknown block is a section over a value",
    "helpers 32": "handlebars.js: an unknown helper without arguments is undefined",
    "helpers 33": "handlebars.js logs at any level",
    "partials 8": "handlebars.js: a closing tag needs its name",
    "syntax errors 15": "handlebars.js allows more block parameters",
}


def differences(
    corpus: dict[str, Any], oracle: Oracle, skip: tuple[str, ...] = ()
) -> dict[str, tuple[str, Any, Any]]:
    """Run all cases that use no helper of Habitat's; give those whose outcome differs."""
    found = {}
    for case in corpus["cases"]:
        template = case["template"]
        if any(name in template for name in (*HABITAT, *skip)) or "aborts" in case.get("rust", ""):
            continue
        theirs = oracle(template, sorted_tables(corpus["contexts"][case["context"]]))
        ours = case.get("expected")
        if ours != theirs:
            found[case["name"]] = (template, ours, theirs)
    return found


def sorted_tables(value: Any) -> Any:
    """Sort keys: pyhandlebars does, and the corpus does not depend on order elsewhere."""
    if isinstance(value, dict):
        return {key: sorted_tables(value[key]) for key in sorted(value)}
    return [sorted_tables(item) for item in value] if isinstance(value, list) else value


def test_corpus_against_handlebars_rust_differs_only_as_listed(
    corpus: dict[str, Any], rust: Oracle
) -> None:
    """The engine that Habitat uses gives the same text."""
    found = differences(corpus, rust)
    assert {k: v for k, v in found.items() if k not in RUST_6_4_0} == {}
    assert set(RUST_6_4_0) <= set(found)


def test_corpus_against_handlebars_js_differs_only_as_listed(
    corpus: dict[str, Any], js: Oracle
) -> None:
    """The original gives the same text, but for what Rust does differently."""
    found = differences(corpus, js, JS_SKIP)
    assert {k: v for k, v in found.items() if k not in JS} == {}
    assert set(JS) <= set(found)
