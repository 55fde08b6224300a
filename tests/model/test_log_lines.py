"""The form of a log line and the times that an operator writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.log_lines import (
    LogLine,
    LogQuery,
    line_json,
    notice,
    parse_line,
    parse_when,
    stamp_in,
    text_shown,
)

NOW_US = 1_795_384_056_123_456  # 2026-11-22T21:47:36.123456Z
STAMP = b"2026-11-22T21:47:36.123456Z"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (STAMP + b" hello", LogLine(STAMP.decode(), "", b"hello")),
        (STAMP + b"+more", LogLine(STAMP.decode(), "continues", b"more")),
        (STAMP + b"!sup: words", LogLine(STAMP.decode(), "notice", b"sup: words")),
        (STAMP + b" ", LogLine(STAMP.decode(), "", b"")),
        (STAMP, LogLine("", "", STAMP)),
        (STAMP + b"-x", LogLine("", "", STAMP + b"-x")),
        (b"no stamp", LogLine("", "", b"no stamp")),
        (b"", LogLine("", "", b"")),
        (b"2026-11-22 21:47:36.123456Z x", LogLine("", "", b"2026-11-22 21:47:36.123456Z x")),
    ],
)
def test_parse_line_known_forms(line: bytes, found: LogLine) -> None:
    """Only the exact form is a stamp; all else is text."""
    assert parse_line(line) == found
    assert stamp_in(line).decode() == found.stamp


@given(st.binary(max_size=100).filter(lambda b: b"\n" not in b))
def test_parse_line_any_text_after_a_stamp_is_kept(text: bytes) -> None:
    """A service can't write anything that passes for our words."""
    assert parse_line(STAMP + b" " + text) == LogLine(STAMP.decode(), "", text)


@given(st.binary(max_size=200))
def test_text_shown_any_bytes_are_harmless(text: bytes) -> None:
    """Nothing that steers a terminal or ends a line comes through."""
    shown = text_shown(text)
    assert all(c.isprintable() or c == "\t" for c in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("grün\t✓".encode(), "grün\t✓"),
        (b"dos\r", "dos"),
        (b"a\rb", "a\\u000db"),
    ],
)
def test_text_shown_known_bytes(text: bytes, shown: str) -> None:
    """What can't be printed is shown by its number."""
    assert text_shown(text) == shown


@given(st.binary(max_size=200).filter(lambda b: b"\n" not in b))
def test_line_json_is_one_line_of_json(text: bytes) -> None:
    """Any bytes become one JSON object on one line."""
    data = line_json(LogLine(STAMP.decode(), "notice", text), "web")
    assert b"\n" not in data
    row = json.loads(data)
    assert row["time"] == STAMP.decode()
    assert row["service"] == "web"
    assert row["notice"] is True
    assert row["text"] == text.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2026-11-22T21:47:36.123456Z", "2026-11-22T21:47:36.123456Z"),
        ("2026-11-22T22:47:36+01:00", "2026-11-22T21:47:36.000000Z"),
        ("2026-11-22 22:47:36+01:00", "2026-11-22T21:47:36.000000Z"),
        ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
        ("30s", "2026-11-22T21:47:06.123456Z"),
        ("10m", "2026-11-22T21:37:36.123456Z"),
        ("10 min ago", "2026-11-22T21:37:36.123456Z"),
        ("2h", "2026-11-22T19:47:36.123456Z"),
        ("1d ago", "2026-11-21T21:47:36.123456Z"),
        ("1w", "2026-11-15T21:47:36.123456Z"),
        ("500ms", "2026-11-22T21:47:35.623456Z"),
        ("999999999w", "1970-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_parse_when_known_times(text: str, stamp: str) -> None:
    """RFC 3339 with any offset, a date, and a while ago."""
    assert parse_when(text, "since", NOW_US) == stamp.encode()


@pytest.mark.parametrize("text", ["", "soon", "2026-11-22T21:47:36", "10", "-5m", "10y", "²h"])
def test_parse_when_nonsense_is_refused_with_the_form(text: str) -> None:
    """One line that says how a time is written; a time without an offset is not guessed at."""
    with pytest.raises(OperatorError, match="is not a time; write 2026"):
        parse_when(text, "since", NOW_US)


def test_query_line_without_a_stamp_is_wanted() -> None:
    """Of a log without stamps nothing is known, so nothing is hidden."""
    assert LogQuery(since=STAMP).wants(b"")
    assert LogQuery(since=STAMP).wants(STAMP)
    assert not LogQuery(until=STAMP).wants(STAMP[:-2] + b"7Z")


def test_notice_has_the_form_of_a_line_of_ours() -> None:
    """What the supervisor adds is told from what the service wrote."""
    assert parse_line(notice("gone", STAMP)[:-1]).mark == "notice"
