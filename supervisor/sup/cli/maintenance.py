"""``sup maintenance``: take services of this host out of use for a while, and back."""

from __future__ import annotations

import json
from typing import Any

import click

from sup.cli.client import Client, segment
from sup.cli.names import service_names
from sup.cli.options import SecondsRange, client_options, json_option, read_options
from sup.cli.output import duration, echo_json, show, since, table
from sup.model.maintenance import ALL, FOR_S_MAX

EPILOG = """
\b
Examples:
  sup maintenance on redis --reason "moves to another disk" --for 30m
  sup maintenance on --all --reason "kernel update"
  sup maintenance list
  sup maintenance off redis
  sup maintenance off --all

\b
Exit codes:
  0  done
  1  no such service here, or the disk refuses
  2  bad input: nothing was changed
  3  no supervisor answers
  4  off NAME: all services are in maintenance; end that with off --all
"""


class Lasting(SecondsRange):
    """Seconds within bounds, also written ``90s``, ``30m``, ``2h`` or ``7d``."""

    units = (*SecondsRange.units, ("m", 60.0), ("h", 3600.0), ("d", 86400.0))
    forms = "90s, 30m, 2h or 7d"


@click.group(epilog=EPILOG)
def command() -> None:
    """Take services of this host out of use for a while, and back.

    A service in maintenance runs on and is checked, but is not ready: other services leave it out,
    and a failed liveness check does not restart it. The whole ring sees the reason. It survives the
    restart of the supervisor and of the host; a time that was asked for is never exceeded by
    setting the clock.
    """


def _one_or_all(name: str | None, everything: bool) -> str:
    if (name is None) == (not everything):
        raise click.UsageError("give the NAME of a service or --all")
    return f"/v1/services/{segment(name)}/maintenance" if name else "/v1/maintenance"


@command.command(name="on", short_help="Take a service out of use.")
@click.argument("name", required=False, shell_complete=service_names)
@click.option("--all", "everything", is_flag=True, help="Every service here, also later ones.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, in a line; everybody sees it.")
@click.option(
    "--for",
    "for_s",
    metavar="TIME",
    type=Lasting(0.0, FOR_S_MAX, min_open=True),
    help="End by itself after 90s, 30m, 2h or 7d.  [default: until 'off']",
)
@client_options
@json_option
def on_command(
    client: Client,
    name: str | None,
    everything: bool,
    reason: str,
    for_s: float | None,
    as_json: bool,
) -> None:
    """Take the service NAME, or with --all every one, out of use."""
    body = json.dumps({"reason": reason, "for_s": for_s}).encode()
    answer = client.request("PUT", _one_or_all(name, everything), body)
    if as_json:
        echo_json(answer)
    else:
        until = "" if for_s is None else f" for {duration(for_s)}"
        click.echo(f"{name or 'every service here'} is in maintenance{until}")


@command.command(name="off", short_help="Take a service back into use.")
@click.argument("name", required=False, shell_complete=service_names)
@click.option("--all", "everything", is_flag=True, help="End every maintenance there is here.")
@client_options
@json_option
def off_command(client: Client, name: str | None, everything: bool, as_json: bool) -> None:
    """Take the service NAME, or with --all every one, back into use."""
    answer = client.request("DELETE", _one_or_all(name, everything))
    if as_json:
        echo_json(answer)
    elif answer["ended"]:
        click.echo(f"{name or 'every service here'} is in use")
    else:
        click.echo(f"{name or 'no service'} was not in maintenance")


@command.command(name="list", short_help="List what is out of use here, why, and for how long.")
@read_options
def list_command(client: Client, as_json: bool, watch: bool) -> None:
    """List what is out of use on this host, why, and for how long."""
    show(lambda: client.get("/v1/maintenance"), view, as_json=as_json, watch=watch)


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people."""
    rows = [
        (
            "(all)" if one["service"] == ALL else one["service"],
            since(one["since_s"]),
            "-" if one["left_s"] is None else duration(one["left_s"]),
            one["reason"],
        )
        for one in answer["maintenance"]
    ]
    if not rows:
        return "no service is in maintenance"
    return table(("SERVICE", "SINCE", "LEFT", "REASON"), rows)
