"""The lines of a service's log: their form, the times that an operator writes, and what is shown.

A line is a stamp of 27 characters (RFC 3339, UTC, microseconds), one character that says what
follows (a space; ``+`` when the text goes on with the line before; ``!`` when the words are the
supervisor's), and the text: any bytes but a newline. Stamps compare as text. A log that a service
wrote without a launcher has no stamps. Pure: ``sup.edge.log_reader`` reads the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sup.errors import OperatorError
from sup.model.plain_text import printable

STAMP_BYTES = 27
NO_STAMP = b"1970-01-01T00:00:00.000000Z"
LINES_DEFAULT = 100
LINES_MAX = 1_000_000
UNLOADED = "service unloaded"
DAY_OVER = "followed for a day; ask again"
LAST_WORDS = (f"sup: {UNLOADED}", f"sup: {DAY_OVER}")
"""With one of these a followed log ends; without, it was cut off."""
MARKS = {b" ": "", b"+": "continues", b"!": "notice"}

_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z[ +!]")
_AGO = re.compile(r"(\d{1,9})\s*(ms|s|sec|m|min|h|d|w)(?:\s+ago)?")
_UNITS = {
    "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800,
}  # fmt: skip
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. ``stamp`` is empty where there is none; ``mark`` is a value of ``MARKS``."""

    stamp: str
    mark: str
    text: bytes


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines of one log: the last ``lines`` (None: all) of those within the two stamps."""

    lines: int | None = LINES_DEFAULT
    since: bytes = b""
    until: bytes = b""
    follow: bool = False
    as_json: bool = False

    def wants(self, stamp: bytes) -> bool:
        """Whether a line of that stamp is asked for; one without a stamp may be of any time."""
        return not stamp or (self.since <= stamp and (not self.until or stamp <= self.until))


def stamp_in(line: bytes) -> bytes:
    """The stamp that a line begins with, or nothing."""
    return line[:STAMP_BYTES] if _STAMP.match(line) else b""


def parse_line(line: bytes) -> LogLine:
    """Take a line (without its newline) apart."""
    if not _STAMP.match(line):
        return LogLine("", "", line)
    stamp, mark = line[:STAMP_BYTES], line[STAMP_BYTES : STAMP_BYTES + 1]
    return LogLine(stamp.decode("ascii"), MARKS[mark], line[STAMP_BYTES + 1 :])


def text_shown(text: bytes) -> str:
    """A log's text for a terminal: nothing in it steers the terminal or ends the line.

    Bytes that are not UTF-8 become ``\\xNN``, what can't be printed ``\\uNNNN``; a carriage return
    at the end is left out.
    """
    return printable(text.removesuffix(b"\r").decode("utf-8", "backslashreplace"), keep="\t")


def line_json(line: LogLine, service: str) -> bytes:
    """One JSON object on one line: ``time`` (or null), ``service``, ``text``, and if so a mark."""
    row: dict[str, Any] = {
        "time": line.stamp or None,
        "service": service,
        "text": line.text.decode("utf-8", "backslashreplace"),
    }
    if line.mark:
        row[line.mark] = True
    return msgspec.json.encode(row)


def parse_when(text: str, what: str, now_us: int) -> bytes:
    """The stamp of a time that somebody wrote: RFC 3339, a date, or a while ago (``10m``).

    Args:
        what: how the error calls the value.
        now_us: the wall clock, µs since 1970.

    Raises:
        OperatorError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    now = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=now_us)
    try:
        if ago:
            when = now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        else:
            when = datetime.fromisoformat(text.strip())
            if when.tzinfo is None:
                if len(text.strip()) != len("2026-11-22"):
                    raise ValueError
                when = when.replace(tzinfo=UTC)
            when = when.astimezone(UTC)
    except OverflowError:
        when = datetime.fromtimestamp(0, UTC)  # so long ago that it means everything
    except ValueError:
        raise OperatorError(
            f"{what} {text[:60]!r} is not a time; write 2026-11-22T21:47:36Z (or +01:00 for Z),"
            " 2026-11-22 (UTC), or how long ago: 30s, 10m, 2h, 1d"
        ) from None
    return min(when, _LAST).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(STAMP_BYTES, "0").encode()


def notice(words: str, stamp: bytes) -> bytes:
    """A line of ours in the form of the log, with its newline."""
    return stamp + b"!sup: " + words.encode("utf-8", "replace") + b"\n"
