"""``sup depart``: tell the ring that a dead member does not come back."""

from __future__ import annotations

import click

from sup.cli.client import Client, segment
from sup.cli.options import client_options, json_option
from sup.cli.output import echo_json


@click.command()
@click.argument("member")
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
