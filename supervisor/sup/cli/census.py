"""``sup census``: every service group and who is in it, as this supervisor has heard it."""

from __future__ import annotations

from typing import Any

import click

from sup.cli.client import Client
from sup.cli.names import group_names
from sup.cli.options import read_options
from sup.cli.output import show, since, table
from sup.errors import NotFoundError
from sup.model.plain_text import one_line

EPILOG = """
\b
Examples:
  sup census                    every group of the ring
  sup census redis.default -w   one group, again and again

\b
Exit codes:
  0  shown
  1  there is no such group
  3  no supervisor answers
"""


@click.command(epilog=EPILOG)
@click.argument("group", required=False, shell_complete=group_names)
@read_options
def command(client: Client, group: str | None, as_json: bool, watch: bool) -> None:
    """Show every service group, or one GROUP such as redis.default, and who is in it."""

    def fetch() -> dict[str, Any]:
        answer = client.get("/v1/census")
        if group is None:
            return answer
        if group not in answer["groups"]:
            known = ", ".join(sorted(answer["groups"])) or "none"
            raise NotFoundError(f"no service group {group!r}; known: {known}")
        return {"groups": {group: answer["groups"][group]}}

    show(fetch, view, as_json=as_json, watch=watch)


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people, a paragraph per group."""
    if not answer["groups"]:
        return "no service group is known"
    parts = []
    for name, group in sorted(answer["groups"].items()):
        version = group.get("config_version")
        rows = [
            (
                m["name"],
                m["member_id"][:12],
                m["state"],
                m["process"],
                m["health"],
                since(m.get("health_since_s")),
                m.get("config_version"),
                m.get("package"),
            )
            for m in group["members"]
        ]
        header = ("MEMBER", "ID", "STATE", "PROCESS", "HEALTH", "SINCE", "CONFIG", "PACKAGE")
        title = name + (f", configuration {version}" if version else "")
        away = [
            f"{m['name']}: in maintenance: {one_line(m['maintenance'])}"
            for m in group["members"]
            if m.get("maintenance")
        ]
        parts.append("\n".join([title, table(header, rows), *away]))
    return "\n\n".join(parts)
