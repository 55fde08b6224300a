"""``sup services``: what runs on this host, or in the whole ring, in one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from sup.cli.client import Client
from sup.cli.options import read_options
from sup.cli.output import paint, show, since, table
from sup.model.plain_text import one_line

GOOD = ("ok", "warning")

EPILOG = """
\b
Examples:
  sup services                      this host
  sup services --all                every host of the ring, as this one has heard of it
  sup services --all --unhealthy    what is critical, unknown or in maintenance anywhere
  sup services --wide               with the last output of the checks
"""


@click.command(epilog=EPILOG)
@click.option("-a", "--all", "everywhere", is_flag=True, help="Every host of the ring.")
@click.option(
    "--unhealthy",
    is_flag=True,
    help="Only those that are neither ok nor warning, or in maintenance.",
)
@click.option("--wide", is_flag=True, help="Show since when the health is so, and the last output.")
@read_options
def command(
    client: Client, everywhere: bool, unhealthy: bool, wide: bool, as_json: bool, watch: bool
) -> None:
    """List the services on this host, or with --all those of the whole ring.

    The health of a member that is not alive is unknown, whatever it last said.
    """

    def fetch() -> dict[str, Any]:
        if everywhere:
            answer = members_of(client.get("/v1/census"))
        else:
            answer = client.get("/v1/services")
        if unhealthy:
            bad = [row for row in answer["services"] if is_unhealthy(row)]
            return {**answer, "services": bad}
        return answer

    def shown(answer: dict[str, Any]) -> str:
        if not answer["services"] and unhealthy:
            return "every service is ok or warning, and none is in maintenance"
        if everywhere:
            return ring_table(answer["services"])
        return services_table(answer["services"], wide=wide) if answer["services"] else view(answer)

    show(fetch, shown, as_json=as_json, watch=watch)


def is_unhealthy(row: dict[str, Any]) -> bool:
    """Whether a service needs somebody's look; one that is wanted down does not."""
    if row.get("desired") == "down" or row.get("state") == "left":
        return False
    return row["health"] not in GOOD or bool(row.get("maintenance"))


def members_of(census: dict[str, Any]) -> dict[str, Any]:
    """The census as one list of services, a row per member of each group."""
    return {
        "services": [
            {"service": group["service"], "group": group["group"], **member}
            for _, group in sorted(census["groups"].items())
            for member in group["members"]
        ]
    }


def ring_table(services: Iterable[dict[str, Any]]) -> str:
    """One row per service and host of the ring."""
    rows = [
        (
            f"{s['service']}.{s['group']}",
            s["name"],
            s["state"],
            s["process"],
            s["health"],
            since(s.get("health_since_s")),
            s.get("maintenance"),
            s.get("output"),
        )
        for s in services
    ]
    if not rows:
        return "no service is known in the ring"
    header = ("SERVICE", "MEMBER", "STATE", "PROCESS", "HEALTH", "SINCE", "MAINTENANCE", "OUTPUT")
    return table(header, rows)


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people."""
    if not answer["services"]:
        return "no service is loaded; load one with 'sup start DIR'"
    return services_table(answer["services"])


def services_table(services: Iterable[dict[str, Any]], *, wide: bool = False) -> str:
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
            *((since(s.get("health_since_s")), s.get("output")) if wide else ()),
        )
        for s in services
    ]
    header = ("SERVICE", "PROCESS", "PID", "SINCE", "HEALTH", "RESTARTS", "CONFIG", "PACKAGE")
    lines = [table((*header, *(("FOR", "OUTPUT") if wide else ())), rows)]
    for s in services:
        if s.get("maintenance"):
            lines.append(f"{s['service']}: in maintenance: {one_line(s['maintenance'])}")
        for key in ("reason", "pending", "withheld"):
            if s.get(key):
                lines.append(f"{s['service']}: {one_line(s[key])}")
        counts = s.get("log") or {}
        if counts.get("dropped_lines"):
            why = f", now: {one_line(counts['problem'])}" if counts.get("problem") else ""
            lines.append(f"{s['service']}: {counts['dropped_lines']} lines of its log lost{why}")
        if s["health"] in ("warning", "critical") and s.get("output"):
            lines.append(f"{s['service']}: {paint(s['health'])}: {s['output'].strip()}")
    return "\n".join(lines)
