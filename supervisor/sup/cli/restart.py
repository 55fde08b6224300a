"""``sup restart``: stop a service and start it again."""

from __future__ import annotations

import click

from sup.cli.client import Client, segment
from sup.cli.names import service_names
from sup.cli.options import client_options, json_option
from sup.cli.output import echo_json


@click.command()
@click.argument("name", shell_complete=service_names)
@client_options
@json_option
def command(client: Client, name: str, as_json: bool) -> None:
    """Stop the service NAME and start it again."""
    answer = client.post(f"/v1/services/{segment(name)}/restart")
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{name} is restarted")
