"""How commands print: aligned columns, colour on a terminal only, JSON as the interface gave it.

Plain code on purpose: rich costs more than the whole of ``sup status``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import click

from sup.model.plain_text import printable

WATCH_SECONDS = 2.0

COLOURS = {
    "alive": "green",
    "up": "green",
    "adopted": "green",
    "ok": "green",
    "suspect": "yellow",
    "warning": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "backoff": "yellow",
    "dead": "red",
    "failed": "red",
    "critical": "red",
    "done": "green",
    "left": "bright_black",
    "down": "bright_black",
    "unknown": "bright_black",
}
"""Words of state that carry a colour; the word itself is always there too."""


def coloured() -> bool:
    """Whether stdout is a terminal that wants colour (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def paint(text: str, word: str | None = None) -> str:
    """``text`` in the colour of a state word (of itself by default), where colour is wanted."""
    colour = COLOURS.get(word if word is not None else text)
    return click.style(text, fg=colour) if colour and coloured() else text


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Aligned columns, two spaces apart. On a terminal the last column is cut to the width."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(row[column]) for row in [list(header), *cells]) for column in range(len(header))
    ]
    width = _terminal_columns()
    room = max(20, width - sum(widths[:-1]) - 2 * (len(widths) - 1)) if width else 0
    lines = []
    for number, row in enumerate([list(header), *cells]):
        parts = []
        for column, text in enumerate(row):
            last = column == len(row) - 1
            if last and room and len(text) > room:
                text = text[: room - 1] + "…"
            padding = "" if last else " " * (widths[column] - len(text) + 2)
            if number == 0:
                parts.append((click.style(text, bold=True) if coloured() else text) + padding)
            else:
                parts.append(paint(text) + padding)
        lines.append("".join(parts).rstrip())
    return "\n".join(lines)


def echo_json(value: Any) -> None:
    """The interface's own JSON, indented."""
    click.echo(_json(value, indent=2))


def harmless(value: Any, raw: Collection[str] = ()) -> Any:
    """An answer whose every text can be printed; values under the keys ``raw`` stay as they are."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [harmless(item, raw) for item in value]
    if isinstance(value, dict):
        return {
            printable(key): item if key in raw else harmless(item, raw)
            for key, item in value.items()
        }
    return value


def _json(value: Any, indent: int | None = None) -> str:
    """JSON that a terminal only prints: what is outside of printable text is escaped in it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def show(
    fetch: Callable[[], dict[str, Any]],
    view: Callable[[dict[str, Any]], str],
    *,
    as_json: bool,
    watch: bool,
    raw: Collection[str] = (),
) -> dict[str, Any]:
    """Fetch and print; with ``watch``, again and again until Ctrl-C. Returns the last answer.

    ``view`` gets the answer made ``harmless``, but for the values under the keys ``raw``.
    """
    while True:
        value = fetch()
        if watch and not as_json and sys.stdout.isatty():
            click.echo("\x1b[H\x1b[2J", nl=False)
        if as_json and watch:
            click.echo(_json(value))  # One line each: for a pipe.
        elif as_json:
            echo_json(value)
        else:
            click.echo(view(harmless(value, raw)))
        if not watch:
            return value
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def since(stamp_s: float | None) -> str:
    """How long ago a Unix time was: ``8 s``, ``3 min``, ``5 h``; ``-`` for none."""
    return "-" if not stamp_s else duration(time.time() - stamp_s)


def duration(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _terminal_columns() -> int:
    """Columns of the terminal that stdout is, or 0 when it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return " ".join(str(value).split())
