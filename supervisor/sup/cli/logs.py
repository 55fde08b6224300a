"""``sup logs``: what services wrote, of this supervisor or of another, once or on and on.

Every name is a stream of its own; lines are put in the order of their stamps as far as they have
come. What a service wrote may hold anything, so it is made harmless unless ``--raw`` is given.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from heapq import merge

import click

from sup.cli.client import Client, segment
from sup.cli.names import member_names, service_names
from sup.cli.options import client_options, json_option
from sup.cli.output import coloured
from sup.errors import ExitCode, NotFoundError, OperatorError
from sup.model.log_lines import LAST_WORDS, LINES_DEFAULT, LINES_MAX, parse_line, text_shown

NAMES_MAX = 16
"""Followed at once: half of what a supervisor gives to all its readers."""
QUEUE_LINES = 1000
"""That wait for the terminal, over all names; then the readers wait too."""
LOOK_S = 0.5
AGAIN_S = 30.0
"""A supervisor that ended is asked again for so long: it may be upgraded or restarted."""
GATHER_S = 0.05
"""Lines that come so close together are sorted by their stamps."""
NAME_COLOURS = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta")
_NOT_SHOWN = re.compile(r"[^ -~]")

Lines = Iterator[tuple[str, bytes]]
"""Stamp (or that of the line before) and line."""

EPILOG = """
\b
Examples:
  sup logs redis                        the last 100 lines
  sup logs -f redis sentinel            two services, on and on
  sup logs --since 10m redis            the last ten minutes, all of them
  sup logs --since 2026-11-22T21:40:00Z --until 2026-11-22T21:50:00Z redis
  sup logs --member db2 redis           of the supervisor on another host of the ring
  sup logs --json redis | jq .text

\b
A line begins with its time (UTC). A plus sign after it means that the text goes on with the line
before; an exclamation mark, that the words are the supervisor's own, as of lines that a full disk
refused.

\b
Exit codes:
  0  done
  1  no such service
  2  bad input
  3  no supervisor answers, or it ended
"""


@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=service_names)
@click.option("-f", "--follow", is_flag=True, help="Wait for more lines, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, LINES_MAX),
    metavar="N",
    help=f"Show the last N lines of each.  [default: {LINES_DEFAULT}; with --since all]",
)
@click.option("--since", metavar="T", help="Show lines from T on: RFC 3339, or 30s, 10m, 2h, 1d.")
@click.option("--until", metavar="T", help="Show lines up to T.")
@click.option("--raw", is_flag=True, help="Print the log's bytes as they are.")
@click.option(
    "--member",
    metavar="MEMBER",
    shell_complete=member_names,
    help="Ask the supervisor of that name or id, at the HTTP address that it gossips.",
)
@client_options
@json_option
def command(
    client: Client,
    names: tuple[str, ...],
    follow: bool,
    lines: int | None,
    since: str | None,
    until: str | None,
    raw: bool,
    member: str | None,
    as_json: bool,
) -> None:
    """Show what services wrote to stdout and stderr; without a NAME, all of that supervisor."""
    if raw and as_json:
        raise click.UsageError("give --raw or --json, not both")
    if follow and until is not None:
        raise click.UsageError("give --follow or --until, not both")
    if member is not None:
        client = client_of(client, member)
    names = tuple(dict.fromkeys(names)) or _all_names(client)
    if len(names) > NAMES_MAX:
        raise OperatorError(f"{len(names)} services, limit is {NAMES_MAX} at once; name some")
    query = {"format": "json" if as_json else "text"}
    if follow:
        query["follow"] = "1"
    for key, value in (("lines", lines), ("since", since), ("until", until)):
        if value is not None:
            query[key] = str(value)
    write = _Writer(names, raw=raw, as_json=as_json).write
    if follow:
        _follow({name: _endless(client, name, query) for name in names}, write)
        return
    streams = [_named(name, _stamped(client, name, query)) for name in names]
    for _, name, line in merge(*streams, key=lambda item: item[0]):
        write(name, line)


def client_of(client: Client, member: str) -> Client:
    """A client of another supervisor, by the address that its services' rumors give.

    Raises:
        NotFoundError: nobody of that name or id runs a service, or it has no HTTP address.
    """
    for group in client.get("/v1/census")["groups"].values():
        for row in group["members"]:
            if member in (row["name"], row["member_id"]):
                host = row["sys"].get("http_gateway_ip", "")
                port = row["sys"].get("http_gateway_port", 0)
                if not host or not port:
                    raise NotFoundError(
                        f"member {member!r} answers no HTTP; run it with --listen-http HOST:PORT"
                    )
                return Client(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    raise NotFoundError(
        f"no member of the name or id {member!r} runs a service; see: sup census, sup members"
    )


class _Writer:
    """Writes lines to stdout: names before them if there are several, colour on a terminal."""

    def __init__(self, names: tuple[str, ...], *, raw: bool, as_json: bool) -> None:
        self._raw = raw
        self._as_json = as_json
        self._colour = coloured()
        width = max(map(len, names), default=0)
        self._prefix = dict.fromkeys(names, "")
        if len(names) > 1 and not as_json:
            for number, name in enumerate(names):
                text = f"{name:<{width}} "
                if self._colour:
                    text = click.style(text, fg=NAME_COLOURS[number % len(NAME_COLOURS)])
                self._prefix[name] = text

    def write(self, name: str, line: bytes) -> None:
        if self._raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(self._prefix[name].encode() + line)
        elif self._as_json:
            sys.stdout.write(_NOT_SHOWN.sub(_shown, line.decode("utf-8", "replace")[:-1]) + "\n")
        else:
            sys.stdout.write(self._prefix[name] + self._text(line.removesuffix(b"\n")) + "\n")

    def _text(self, line: bytes) -> str:
        found = parse_line(line)
        text = text_shown(found.text)
        if not found.stamp:
            return text
        mark = {"continues": "+", "notice": "!"}.get(found.mark, " ")
        if not self._colour:
            return found.stamp + mark + text
        if found.mark == "notice":
            text = click.style(text, fg="yellow")
        return click.style(found.stamp + mark, dim=True) + text


def _all_names(client: Client) -> tuple[str, ...]:
    names = tuple(sorted(row["service"] for row in client.get("/v1/services")["services"]))
    if not names:
        raise NotFoundError("no service is loaded; load one with 'sup start DIR'")
    return names


def _named(name: str, lines: Lines) -> Iterator[tuple[str, str, bytes]]:
    return ((stamp, name, line) for stamp, line in lines)


def _stamped(client: Client, name: str, query: dict[str, str]) -> Lines:
    """Each line with what it is sorted by; one without a stamp stays behind the one before."""
    stamp = ""
    path = f"/v1/services/{segment(name)}/logs"
    for line in client.stream(path, query, endless="follow" in query):
        stamp = max(stamp, _parts(line, query)[0])
        yield stamp, line


def _parts(line: bytes, query: dict[str, str]) -> tuple[str, str]:
    """Stamp and text of a line in either form."""
    if query["format"] == "json":
        try:
            row = json.loads(line)
            return row.get("time") or "", row.get("text") or ""
        except (ValueError, AttributeError):
            return "", ""
    found = parse_line(line.removesuffix(b"\n"))
    return found.stamp, found.text.decode("utf-8", "replace")


def _endless(client: Client, name: str, query: dict[str, str]) -> Lines:
    """A followed log, also over the end of its supervisor: services and logs outlive it.

    Begun again at the last stamp that was seen, without the lines of that stamp that were shown.
    """
    last, shown, skip = "", 0, 0
    deadline_s = time.monotonic()
    while True:
        try:
            for stamp, line in _stamped(client, name, query):
                deadline_s = time.monotonic() + AGAIN_S
                if stamp == last and skip:
                    skip -= 1
                    continue
                shown = shown + 1 if stamp == last else 1
                last, skip = stamp, 0
                yield stamp, line
                if _parts(line, query)[1] in LAST_WORDS:
                    return
            gone = OperatorError("the supervisor ended", ExitCode.UNREACHABLE)
        except OperatorError as error:
            gone = error
        if gone.exit_code != ExitCode.UNREACHABLE or not last or time.monotonic() > deadline_s:
            raise gone
        time.sleep(LOOK_S)
        skip = shown
        query = {key: value for key, value in query.items() if key != "lines"} | {"since": last}


def _follow(streams: dict[str, Lines], write: Callable[[str, bytes], None]) -> None:
    """Print what all streams give, until they end; raises the first error that one ends with."""
    waiting: queue.Queue[tuple[str, str, bytes | BaseException | None]] = queue.Queue(QUEUE_LINES)

    def run(name: str, lines: Lines) -> None:
        last: BaseException | None = None
        try:
            for stamp, line in lines:
                waiting.put((stamp, name, line))
        except BaseException as error:
            last = error
        waiting.put(("", name, last))

    for name, lines in streams.items():
        threading.Thread(target=run, args=(name, lines), daemon=True).start()
    left = len(streams)
    while left:
        batch = _batch(waiting)
        if not batch:
            sys.stdout.flush()
            if _nobody_reads():
                raise BrokenPipeError
        for _, name, line in sorted(batch, key=lambda item: item[0] or "~"):
            if isinstance(line, bytes):
                write(name, line)
                continue
            left -= 1
            if line is not None:
                raise line
        sys.stdout.flush()


def _batch(
    waiting: queue.Queue[tuple[str, str, bytes | BaseException | None]],
) -> list[tuple[str, str, bytes | BaseException | None]]:
    """What has come, and a moment later; nothing after ``LOOK_S``."""
    try:
        batch = [waiting.get(timeout=LOOK_S)]
    except queue.Empty:
        return []
    time.sleep(GATHER_S)
    with contextlib.suppress(queue.Empty):
        while len(batch) < QUEUE_LINES:
            batch.append(waiting.get_nowait())
    return batch


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader has gone: no line may come for a long time."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]
