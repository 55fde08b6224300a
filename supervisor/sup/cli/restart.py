"""``sup restart``: stop a service and start it again."""

from __future__ import annotations

import click

from sup.cli.client import Client, segment
from sup.cli.names import service_names
from sup.cli.options import client_options, json_option
from sup.cli.output import echo_json

EPILOG = """
\b
Examples:
  sup restart redis

\b
Exit codes:
  0  its old process has ended, and the start was tried; 'sup status' shows how it does
  1  there is no such service here
  3  no supervisor answers
  4  it is stopped, or its start is held
  5  it takes longer than the supervisor was asked to wait; it goes on
"""


@click.command(epilog=EPILOG)
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
