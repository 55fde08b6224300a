"""``sup plugin``: which plugins are installed, what each provides, and which of them run."""

from __future__ import annotations

from typing import Any

import click

from sup.cli.client import Client
from sup.cli.options import client_options, json_option
from sup.cli.output import echo_json, table
from sup.errors import OperatorError


@click.group()
def command() -> None:
    """Show the plugins that are installed.

    A plugin is a Python distribution; it is active only in a supervisor that was started with
    'sup run --plugin NAME'.
    """


@command.command(name="list", short_help="List the installed plugins and what they provide.")
@client_options
@json_option
def list_command(client: Client, as_json: bool) -> None:
    """List the installed plugins; needs no supervisor, and marks the active ones if one runs."""
    from sup.plugins import installed

    active = _active(client)
    plugins: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "value": plugin.value,
            "provides": list(plugin.provides),
            "error": plugin.error or None,
            "active": None if active is None else plugin.name in active,
        }
        for plugin in installed()
    ]
    if as_json:
        echo_json({"plugins": plugins})
        return
    words = {None: "-", True: "yes", False: "no"}
    rows = [
        (
            p["name"],
            p["distribution"],
            p["version"],
            words[p["active"]],
            f"broken: {p['error']}" if p["error"] else ", ".join(p["provides"]),
        )
        for p in plugins
    ]
    click.echo(table(("PLUGIN", "DISTRIBUTION", "VERSION", "ACTIVE", "PROVIDES"), rows))


def _active(client: Client) -> set[str] | None:
    """Names that the running supervisor uses, or None when none runs."""
    try:
        return {plugin["name"] for plugin in client.get("/v1/status").get("plugins", [])}
    except OperatorError:
        return None
