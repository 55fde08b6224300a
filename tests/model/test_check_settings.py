"""Values of the configuration in the settings of a check."""

from __future__ import annotations

import pytest

from sup.errors import OperatorError
from sup.model.check_settings import fill

CFG = {"server": {"port": 8080, "name": "web"}, "tls": True, "list": [1]}


def test_fill_whole_keeps_the_type_and_part_makes_text() -> None:
    """A number stays one; within a text it is written out; tables and arrays are gone through."""
    settings = {
        "port": "{{cfg.server.port}}",
        "url": "http://{{ cfg.server.name }}:{{cfg.server.port}}/{{cfg.tls}}",
        "headers": {"Host": "{{cfg.server.name}}"},
        "status": ["200-299", 401],
        "list": "{{cfg.list}}",
    }
    assert fill(settings, CFG, "s") == {
        "port": 8080,
        "url": "http://web:8080/true",
        "headers": {"Host": "web"},
        "status": ["200-299", 401],
        "list": [1],
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{{cfg.server.prot}}", "s.a: cfg.server.prot is not set"),
        ("x{{cfg.server}}", "s.a: cfg.server is a table"),
    ],
)
def test_fill_what_is_not_there_is_one_line(value: str, words: str) -> None:
    """It names the setting and the path."""
    with pytest.raises(OperatorError, match=r"^[^\n]*$") as caught:
        fill({"a": value}, CFG, "s")
    assert words in caught.value.message


def test_fill_leaves_other_braces_alone() -> None:
    """Only a plain path of cfg is a place."""
    settings = {"a": "{{x}}", "b": "{{#if cfg.a}}", "c": "{"}
    assert fill(settings, CFG, "s") == settings
