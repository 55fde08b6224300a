"""``sup depart``: tell the ring that a dead member does not come back."""

from __future__ import annotations

import click

from sup.cli.client import Client, segment
from sup.cli.names import member_names
from sup.cli.options import client_options, json_option
from sup.cli.output import echo_json

EPILOG = """
\b
Examples:
  sup depart db2                its host is gone and will not come back

\b
Exit codes:
  0  everybody will hear that it has left
  1  there is no such member
  3  no supervisor answers
  4  more than one has that name: give the id
"""


@click.command(epilog=EPILOG)
@click.argument("member", shell_complete=member_names)
@client_options
@json_option
def command(client: Client, member: str, as_json: bool) -> None:
    """Declare MEMBER (name or id) to have left for good.

    The others stop waiting for it. A member that hears this of itself stops its services and ends;
    whoever starts it again brings it back.
    """
    answer = client.post(f"/v1/members/{segment(member)}/depart")
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{member} has left")
