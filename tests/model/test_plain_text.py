"""Text of others that reaches a terminal or a log."""

from __future__ import annotations

import tomllib

import pytest
import tomli_w

from sup.model.plain_text import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("anna", "anna"),
        ("Zoë 你好 🙂", "Zoë 你好 🙂"),
        ("a\x1b[2Jb", "a\\u001b[2Jb"),
        ("a\x9b2Jb", "a\\u009b2Jb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udc80b", "a\\udc80b"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\x7f\x00\r\nb", "a\\u007f\\u0000\\u000d\nb"),
    ],
)
def test_printable_shows_by_number_what_can_not_be_printed(text: str, shown: str) -> None:
    """Escape sequences, both sets of control characters, marks that turn the direction."""
    assert printable(text) == shown
    assert printable(shown) == shown


def test_one_line_is_one_line() -> None:
    """A name with a line end can't fake a line of a table."""
    assert one_line("a\n\x1b[31mb\u2028c") == "a \\u001b[31mb\\u2028c"


def test_printable_toml_stays_the_same_document() -> None:
    """What 'config show' prints can be applied again."""
    table = {"a\u202e": "x\x9by\x1b\nz"}
    assert tomllib.loads(printable(tomli_w.dumps(table))) == table
