"""``sup events``: what happened lately on one supervisor, once or for as long as one watches."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from sup.cli.client import Client
from sup.cli.names import service_names
from sup.cli.options import client_options, json_option
from sup.cli.output import harmless
from sup.errors import ExitCode, OperatorError
from sup.model.plain_text import one_line

FOLLOW_SECONDS = 30
"""One question waits this long at the supervisor for news."""
RETRY_SECONDS = 1.0
"""Between questions while the supervisor does not answer: it may be starting anew."""

KINDS = ("process", "health", "config", "hook", "bind", "file", "maintenance", "supervisor")

EPILOG = """
\b
Examples:
  sup events                        the events that are kept, oldest first
  sup events -f                     and those to come, until Ctrl-C
  sup events redis --kind hook      what the hooks of redis did wrong
  sup events --json | jq .text      one JSON object per line

\b
Kinds: process, health, config, hook, bind, file, maintenance, supervisor.
The last 1024 events are kept in memory; they begin anew with the supervisor, whose log has them
all.

\b
Exit codes:
  0  shown, or there are none
  2  bad input: a kind that there is not
  3  no supervisor answers
"""


@click.command(epilog=EPILOG)
@click.argument("name", required=False, shell_complete=service_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    metavar="KIND",
    help="Only this kind. Repeatable.",
)
@click.option(
    "--since",
    "seq",
    type=click.IntRange(0),
    default=0,
    metavar="NUMBER",
    help="Only what came after the event of this number.",
)
@client_options
@json_option
def command(
    client: Client,
    name: str | None,
    follow: bool,
    kinds: Sequence[str],
    seq: int,
    as_json: bool,
) -> None:
    """Show what happened to the services of this host, or to NAME alone."""
    query = {"kind": ",".join(kinds), "service": name or ""}
    shown = False
    for answer in _answers(client, query, seq, follow):
        shown = shown or bool(answer["events"])
        if answer["lost"] and not as_json:
            click.echo(f"{answer['lost']} older events are not kept any more", err=True)
        for event in answer["events"]:
            click.echo(
                json.dumps(event).replace("\x7f", "\\u007f") if as_json else view(harmless(event))
            )
        sys.stdout.flush()
    if not shown and not as_json:
        click.echo(f"no such events{f' of {name}' if name else ''} are kept", err=True)


def view(event: dict[str, Any]) -> str:
    """One event as one line."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time_s"]))
    who = event["service"] or "-"
    return f"{at}  {event['kind']}  {who}  {one_line(event['text'])}"


def _answers(
    client: Client, query: dict[str, str], seq: int, follow: bool
) -> Iterator[dict[str, Any]]:
    """Answer by answer: until no more is kept, or for ever. One supervisor after another."""
    run = ""
    while True:
        wait = FOLLOW_SECONDS if follow and run else 0
        asked = {**query, "since": str(seq), "follow": str(wait)}
        try:
            answer = client.request("GET", "/v1/events", query=asked, timeout_s=wait + 10.0)
        except OperatorError as error:
            if not (follow and run and error.exit_code is ExitCode.UNREACHABLE):
                raise
            time.sleep(RETRY_SECONDS)
            continue
        if run and answer["run"] != run:
            run, seq = answer["run"], 0  # another supervisor, which counts from 1
            continue
        run = answer["run"]
        yield {**answer, "lost": answer["lost"] if seq else 0}
        if not follow and answer["next"] == seq:
            return
        if not follow and not answer["events"]:
            return
        seq = answer["next"]
