"""``sup services``: what runs on this host, in one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from sup.cli.client import Client
from sup.cli.options import read_options
from sup.cli.output import paint, show, since, table
from sup.model.plain_text import one_line


@click.command()
@read_options
def command(client: Client, as_json: bool, watch: bool) -> None:
    """List the services on this host."""
    show(lambda: client.get("/v1/services"), view, as_json=as_json, watch=watch)


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people."""
    if not answer["services"]:
        return "no service is loaded; load one with 'sup start DIR'"
    return services_table(answer["services"])


def services_table(services: Iterable[dict[str, Any]]) -> str:
    """One row per service; below it, whatever needs somebody's attention."""
    services = list(services)
    rows = [
        (
            f"{s['service']}.{s['group']}",
            s["process"],
            s.get("pid"),
            since(s.get("since_s")),
            s["health"],
            s.get("restarts", 0),
            s.get("config_version"),
            s.get("package"),
        )
        for s in services
    ]
    header = ("SERVICE", "PROCESS", "PID", "SINCE", "HEALTH", "RESTARTS", "CONFIG", "PACKAGE")
    lines = [table(header, rows)]
    for s in services:
        for key in ("reason", "pending"):
            if s.get(key):
                lines.append(f"{s['service']}: {one_line(s[key])}")
        counts = s.get("log") or {}
        if counts.get("dropped_lines"):
            why = f", now: {one_line(counts['problem'])}" if counts.get("problem") else ""
            lines.append(f"{s['service']}: {counts['dropped_lines']} lines of its log lost{why}")
        if s["health"] in ("warning", "critical") and s.get("output"):
            lines.append(f"{s['service']}: {paint(s['health'])}: {s['output'].strip()}")
    return "\n".join(lines)
