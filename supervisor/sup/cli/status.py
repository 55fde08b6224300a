"""``sup status``: one supervisor at a glance, or one of its services."""

from __future__ import annotations

from typing import Any

import click

from sup.cli.client import Client, segment
from sup.cli.names import service_names
from sup.cli.options import read_options
from sup.cli.output import duration, paint, show
from sup.cli.services import services_table
from sup.cli.svc import service_view
from sup.model.plain_text import one_line

EPILOG = """
\b
Examples:
  sup status                 this supervisor, its ring and its services
  sup status redis           one service, as 'sup svc status redis'
  sup status --json
"""


@click.command(epilog=EPILOG)
@click.argument("name", required=False, shell_complete=service_names)
@read_options
def command(client: Client, name: str | None, as_json: bool, watch: bool) -> None:
    """Show this supervisor, its ring and its services; with NAME, that service closely."""
    if name is not None:
        path = f"/v1/services/{segment(name)}"
        show(lambda: client.get(path), service_view, as_json=as_json, watch=watch)
        return
    show(lambda: client.get("/v1/status"), view, as_json=as_json, watch=watch)


def view(status: dict[str, Any]) -> str:
    """The answer in lines for people."""
    members = status["members"]
    counts = ", ".join(
        paint(f"{members[word]} {word}", word)
        for word in ("alive", "suspect", "dead", "left")
        if members.get(word)
    )
    lines = [
        f"{status['name']} ({status['member_id'][:12]}), sup {status['version']},"
        f" up {duration(status['uptime_s'])}",
        f"ring       {status['ring']}: {counts or 'nobody else'}",
        f"address    {status['advertise']}",
        f"state      {status['state_dir']}",
    ]
    launcher = status.get("launcher")
    if launcher and launcher.get("starts", 1) > 1:
        lines.append(
            f"launcher   pid {launcher['pid']}, {launcher['starts'] - 1} restarts of the"
            f" supervisor, which last ended with {launcher['last_exit'] or 'an upgrade'}"
        )
    plugins = [plugin["name"] for plugin in status.get("plugins", [])]
    if plugins:
        lines.append(f"plugins    {', '.join(plugins)}")
    if status.get("local_health"):
        lines.append(f"overloaded local health {status['local_health']}: this host answers late")
    lines += [f"{paint('warning')}    {one_line(text)}" for text in status.get("warnings", [])]
    if status["services"]:
        lines += ["", services_table(status["services"])]
    return "\n".join(lines)
