"""``sup config``: the configuration of a service group, sent to one supervisor and gossiped to
all.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from sup.cli.client import CHANGE_SECONDS, Client, segment
from sup.cli.names import group_names
from sup.cli.options import SecondsRange, client_options, json_option, read_options
from sup.cli.output import duration, echo_json, show
from sup.errors import ExitCode, OperatorError
from sup.model.plain_text import one_line, printable

POLL_SECONDS = 0.2
BAR_CELLS = 20

EPILOG = """
\b
Examples:
  sup config apply redis.default new.toml
  echo 'maxmemory = "64mb"' | sup config apply redis.default - --wait 10
  sup config apply redis.default all.toml --replace --if-version VERSION
  sup config show redis.default

\b
Exit codes:
  0  done: it is on this host's disk and on its way to the members
  1  show: none has been applied to that group
  2  bad input: nothing was changed
  3  no supervisor answers
  4  --if-version: another version is current; nothing was changed
  5  --wait ended before every member had applied it; it stays applied
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """Apply and show the configuration of a service group.

    A group's configuration wins over user.toml on the hosts, which wins over the environment, which
    wins over the package's default.toml. It reaches every member, also those that are away now, and
    lives as long as the group.
    """


@command.command(short_help="Merge a TOML file into the configuration of a group.")
@click.argument("group", shell_complete=group_names)
@click.argument("file", metavar="FILE|-")
@click.option("--replace", is_flag=True, help="Replace the whole configuration; do not merge.")
@click.option(
    "--if-version",
    metavar="VERSION",
    help="Only if this is the current version ('' for none); else exit 4 and change nothing.",
)
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=SecondsRange(0.0, 86400.0),
    help="Wait until every member has applied it; exit 5 if that takes longer.",
)
@client_options
@json_option
def apply(
    client: Client,
    group: str,
    file: str,
    replace: bool,
    if_version: str | None,
    wait_s: float | None,
    as_json: bool,
) -> None:
    """Merge the TOML in FILE (or stdin) into the configuration of GROUP, such as redis.default."""
    from sup.model.config_layers import parse_toml

    data, name = _read(file)
    parse_toml(data, name)  # The supervisor checks it all again; here errors can name the file.
    path = f"/v1/groups/{segment(group)}/config"
    query = {"replace": "1"} if replace else {}
    if if_version is not None:
        query["if_version"] = if_version
    answer = client.request("PUT", path, data, query=query, timeout_s=CHANGE_SECONDS)
    if wait_s is not None:
        answer["applied"] = _wait(client, path, group, wait_s)
    if as_json:
        echo_json(answer)
    elif answer["result"] == "unchanged":
        click.echo(f"{group} has this configuration already, version {answer['version']}")
    else:
        click.echo(f"{group} is now at version {answer['version']}")
        if wait_s is None and not client.get(path)["applied"]["total"]:
            click.echo(
                f"nobody is in {group} yet: who joins gets it; 'sup census' shows the groups there"
                " are",
                err=True,
            )


@command.command(name="show", short_help="Show a group's configuration and who has applied it.")
@click.argument("group", shell_complete=group_names)
@read_options
def show_command(client: Client, group: str, as_json: bool, watch: bool) -> None:
    """Show the gossiped configuration of GROUP: its version, author, and who has applied it."""
    path = f"/v1/groups/{segment(group)}/config"
    # The document itself is escaped as TOML, so that it can be applied again as it was.
    show(lambda: client.get(path), view, as_json=as_json, watch=watch, raw=("config",))


def view(answer: dict[str, Any]) -> str:
    """The answer as a TOML document with its story in comments."""
    import tomli_w

    lines = [f"# {answer['group']}, version {answer['version']}"]
    if answer.get("author"):
        age = f", {duration(time.time() - answer['stamp_s'])} ago" if answer.get("stamp_s") else ""
        lines.append(f"# by {one_line(answer['author'])}{age}")
    applied = answer.get("applied")
    if applied:
        lines.append(f"# applied by {applied['count']} of {applied['total']} members")
    return "\n".join([*lines, printable(tomli_w.dumps(answer["config"])).rstrip()])


def _read(file: str) -> tuple[bytes, str]:
    """The document and what errors call it. Reads a little over the limit at most."""
    from sup.model.config_layers import CONFIG_BYTES_MAX

    try:
        if file == "-":
            return sys.stdin.buffer.read(CONFIG_BYTES_MAX + 1), "<stdin>"
        with Path(file).open("rb") as stream:
            return stream.read(CONFIG_BYTES_MAX + 1), file
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None


def _wait(client: Client, path: str, group: str, wait_s: float) -> dict[str, Any]:
    """Until all members of the group have applied its configuration, with a bar on a terminal.

    Raises:
        OperatorError: exit 5, naming how many have; the configuration stays applied all the same.
    """
    deadline = time.monotonic() + wait_s
    shown = ""
    on_terminal = sys.stderr.isatty()
    try:
        while True:
            applied: dict[str, Any] = client.get(path)["applied"]
            count, total = applied["count"], applied["total"]
            if not total:
                text = f"nobody is in {group} yet"
            else:
                filled = BAR_CELLS * count // total
                bar = "#" * filled + "-" * (BAR_CELLS - filled)
                text = f"applied [{bar}] {count} of {total} members"
            if text != shown:
                click.echo(f"\r\x1b[K{text}" if on_terminal else text, err=True, nl=not on_terminal)
                shown = text
            if count >= total:
                return applied
            if time.monotonic() >= deadline:
                raise OperatorError(
                    f"{count} of {total} members of {group} have applied it after {wait_s:g} s;"
                    f" 'sup census {group}' shows who has not",
                    ExitCode.TIMED_OUT,
                )
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    finally:
        if on_terminal and shown:
            click.echo(err=True)
