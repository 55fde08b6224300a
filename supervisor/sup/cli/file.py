"""``sup file``: files that are gossiped to every member of a service group."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sup.cli.client import CHANGE_SECONDS, Client, segment
from sup.cli.names import group_names
from sup.cli.options import client_options, json_option, read_options
from sup.cli.output import echo_json, show, since, table
from sup.errors import OperatorError

EPILOG = """
\b
Examples:
  sup file put redis.default ca.pem
  sup file put redis.default - --name acl < users.acl
  sup file list redis.default
  sup file rm redis.default ca.pem

\b
Exit codes:
  0  done: the file is on this host's disk and on its way to the members
  1  there is no such file, or the disk refuses
  2  bad input: a name, or a file over 63 KiB
  3  no supervisor answers
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """Give files to the members of a service group.

    Every member writes them to svc/NAME/files in its state directory, owned by the service's user,
    with mode 0640, and then calls the service's file-updated hook. For certificates, lists and the
    like: a file has at most 63 KiB, a group 64 files.
    """


@command.command(short_help="Put a file, or a new version of it.")
@click.argument("group", shell_complete=group_names)
@click.argument("file", metavar="FILE|-")
@click.option("--name", metavar="NAME", help="What the members call it.  [default: FILE's name]")
@client_options
@json_option
def put(client: Client, group: str, file: str, name: str | None, as_json: bool) -> None:
    """Give FILE (or stdin) to every member of GROUP, such as redis.default."""
    from sup.model.group_file import FILE_BYTES_MAX, check_file_name

    if file == "-" and name is None:
        raise click.UsageError("a file from stdin needs --name NAME")
    called = check_file_name(name if name is not None else Path(file).name)
    try:
        if file == "-":
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise OperatorError(
            f"{file} is larger than the limit of {FILE_BYTES_MAX} bytes;"
            " put it where every host can fetch it"
        )
    path = f"/v1/groups/{segment(group)}/files/{segment(called)}"
    answer = client.request("PUT", path, data, timeout_s=CHANGE_SECONDS)
    if as_json:
        echo_json(answer)
    elif answer["result"] == "unchanged":
        click.echo(f"{group} has this {called} already")
    else:
        click.echo(f"{called} is on its way to {group}, version {answer['version']}")


@command.command(name="list", short_help="List the files of a group.")
@click.argument("group", shell_complete=group_names)
@read_options
def list_command(client: Client, group: str, as_json: bool, watch: bool) -> None:
    """List the files that GROUP was given."""
    path = f"/v1/groups/{segment(group)}/files"
    show(lambda: client.get(path), view, as_json=as_json, watch=watch)


@command.command(short_help="Take a file back.")
@click.argument("group", shell_complete=group_names)
@click.argument("name")
@client_options
@json_option
def rm(client: Client, group: str, name: str, as_json: bool) -> None:
    """Remove the file NAME from every member of GROUP."""
    path = f"/v1/groups/{segment(group)}/files/{segment(name)}"
    answer = client.request("DELETE", path, timeout_s=CHANGE_SECONDS)
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{name} is taken back from {group}")


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people."""
    if not answer["files"]:
        return f"{answer['group']} has no files; give it one with 'sup file put'"
    rows = [
        (f["name"], f["bytes"], f["sha256"][:12], since(f["stamp_s"]), f["author"])
        for f in answer["files"]
    ]
    return table(("NAME", "BYTES", "SHA256", "SINCE", "BY"), rows)
