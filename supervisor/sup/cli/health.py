"""``sup health``: the health of this host's services, as words and as an exit code."""

from __future__ import annotations

from typing import Any

import click

from sup.cli.client import Client
from sup.cli.options import read_options
from sup.cli.output import paint, show, since, table
from sup.errors import ExitCode


@click.command()
@read_options
def command(client: Client, as_json: bool, watch: bool) -> int:
    """Show the health of this host's services.

    Exit code 0 when it is ok or warning, 1 when it is critical or unknown.
    """
    answer = show(lambda: client.get("/v1/health"), view, as_json=as_json, watch=watch)
    return ExitCode.OK if answer["health"] in ("ok", "warning") else ExitCode.FAILED


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people."""
    rows = [
        (name, s.get("health"), since(s.get("health_since_s")), s.get("output"))
        for name, s in sorted(answer["services"].items())
    ]
    if not rows:
        return paint(answer["health"])
    return paint(answer["health"]) + "\n" + table(("SERVICE", "HEALTH", "SINCE", "OUTPUT"), rows)
