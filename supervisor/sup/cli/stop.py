"""``sup stop``: stop a service, and on request forget it."""

from __future__ import annotations

import click

from sup.cli.client import CHANGE_SECONDS, Client, segment
from sup.cli.names import service_names
from sup.cli.options import client_options, json_option
from sup.cli.output import echo_json
from sup.errors import ExitCode, OperatorError

EPILOG = """
\b
Examples:
  sup stop redis                signal, stop_timeout, then SIGKILL of whatever is left
  sup stop redis --unload       and forget it; its data stay in the state directory

\b
Exit codes:
  0  its process and all that it started have ended
  1  there is no such service here; --unload: its uninstall hook failed
  3  no supervisor answers
  5  it takes longer than the supervisor was asked to wait; it goes on
"""


@click.command(epilog=EPILOG)
@click.argument("name", shell_complete=service_names)
@click.option("--unload", is_flag=True, help="Forget the service too: it is not started again.")
@client_options
@json_option
def command(client: Client, name: str, unload: bool, as_json: bool) -> None:
    """Stop the service NAME and wait until its process has ended.

    It stays loaded and stopped, also when the supervisor restarts; 'sup start NAME' starts it
    again.
    """
    path = f"/v1/services/{segment(name)}"
    if unload:
        answer = client.request("DELETE", path, timeout_s=CHANGE_SECONDS)
    else:
        answer = client.post(f"{path}/stop")
    if as_json:
        echo_json(answer)
    if unload and answer.get("problem"):
        raise OperatorError(f"{name} is unloaded, but its {answer['problem']}", ExitCode.FAILED)
    if not as_json:
        click.echo(f"{name} is {'unloaded' if unload else 'stopped'}")
