"""``sup svc``: one service of this host, closely: its deaths, what holds it, and a fresh start."""

from __future__ import annotations

import time
from typing import Any

import click

from sup.cli.client import Client, segment
from sup.cli.names import service_names
from sup.cli.options import client_options, json_option, read_options
from sup.cli.output import duration, echo_json, paint, show, since, table
from sup.model.plain_text import one_line

EPILOG = """
\b
Examples:
  sup svc status redis             state, reason, readiness, and how it died lately
  sup svc reset-failed redis       forget its deaths and try again now

\b
Exit codes:
  0  done
  1  there is no such service here
  3  no supervisor answers
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """Look at one service of this host, and get it out of a failure."""


@command.command(name="status", short_help="Show one service with its last deaths.")
@click.argument("name", shell_complete=service_names)
@read_options
def status_command(client: Client, name: str, as_json: bool, watch: bool) -> None:
    """Show the service NAME: its state and since when, why, what holds it, and its deaths."""
    show(
        lambda: client.get(f"/v1/services/{segment(name)}"),
        service_view,
        as_json=as_json,
        watch=watch,
    )


@command.command(name="reset-failed", short_help="Forget the deaths of a service and try again.")
@click.argument("name", shell_complete=service_names)
@client_options
@json_option
def reset_failed_command(client: Client, name: str, as_json: bool) -> None:
    """Forget the deaths, the backoff and the start limit of the service NAME.

    One that has failed, or waits for its next start, is started now. A service that runs is left
    alone, and only its tally is emptied.
    """
    answer = client.post(f"/v1/services/{segment(name)}/reset-failed")
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{name} is reset; 'sup svc status {name}' shows how it does")


def service_view(service: dict[str, Any]) -> str:
    """The answer in lines for people."""
    state = service["process"]
    pid = f", pid {service['pid']}" if service.get("pid") else ""
    ready = ", not ready" if service.get("pid") and not service.get("started", True) else ""
    rows = [
        ("state", f"{paint(state)}{pid}{ready}, for {since(service.get('since_s'))}"),
        ("wanted", service["desired"]),
        ("reason", service.get("reason")),
        ("held by", service.get("held")),
        ("pending", service.get("pending")),
        ("says", service.get("said")),
        ("health", f"{paint(service['health'])}, for {since(service.get('health_since_s'))}"),
        ("last end", _last_end(service)),
        ("next try", _next_try(service.get("next_try_s", 0))),
        ("restarts", str(service.get("restarts", 0))),
        ("package", service.get("package")),
        ("config", service.get("config_version")),
    ]
    lines = [f"{service['service']}.{service['group']}"]
    lines += [f"  {key:<9} {_line(value)}" for key, value in rows if value]
    deaths = service.get("deaths", [])
    if deaths:
        lines += ["", f"deaths: {service.get('deaths_total', len(deaths))}, the last first"]
        lines.append(
            table(
                ("AGO", "CAUSE", "UP", "HOW"),
                (
                    (since(d["at_s"]), d["cause"], f"{d['up_s']:.1f} s", d["how"])
                    for d in reversed(deaths)
                ),
            )
        )
    return "\n".join(lines)


def _last_end(service: dict[str, Any]) -> str:
    cause, how = service.get("cause"), service.get("last_exit")
    return f"{cause} ({how})" if cause and how else cause or how or ""


def _next_try(at_s: float) -> str:
    return f"in {duration(at_s - time.time())}" if at_s else ""


def _line(text: str) -> str:
    """One line; colour that is ours stays."""
    return text if "\x1b[" in text else one_line(text)
