"""``sup services``: what runs in the whole ring, or on this host, in one table."""

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
  sup services                 every host of the ring, as this one has heard of it
  sup services --unhealthy     what is critical, unknown or in maintenance anywhere
  sup services --local         this host alone: process ids, restarts, configuration
  sup services --local --wide  with the last output of the checks
"""


@click.command(epilog=EPILOG)
@click.option("--local", is_flag=True, help="The services of this host alone, in more detail.")
@click.option(
    "--unhealthy",
    is_flag=True,
    help="Only those that are neither ok nor warning, or in maintenance.",
)
@click.option("--wide", is_flag=True, help="With --local: the health's age and the last output.")
@read_options
def command(
    client: Client, local: bool, unhealthy: bool, wide: bool, as_json: bool, watch: bool
) -> None:
    """List the services of the whole ring with their health, or with --local those of this host.

    Any supervisor knows how every service does. The health of a member that is not alive is
    unknown, whatever it last said. With --json the rows of this host also hold what only it knows.
    """

    def fetch() -> dict[str, Any]:
        answer = client.get("/v1/services")
        if not local:
            answer = ring_answer(client.get("/v1/census"), answer["services"])
        if unhealthy:
            bad = [row for row in answer["services"] if is_unhealthy(row)]
            return {**answer, "services": bad}
        return answer

    def shown(answer: dict[str, Any]) -> str:
        services = answer["services"]
        if not services and unhealthy:
            return "every service is ok or warning, and none is in maintenance"
        if not services:
            return view(answer)
        return services_table(services, wide=wide) if local else ring_table(services)

    show(fetch, shown, as_json=as_json, watch=watch)


def is_unhealthy(row: dict[str, Any]) -> bool:
    """Whether a service needs somebody's look; one that is wanted down does not."""
    if row.get("desired") == "down" or row.get("state") == "left":
        return False
    return row["health"] not in GOOD or bool(row.get("maintenance"))


def ring_answer(census: dict[str, Any], here: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The census as one list of services, a row per member of each group.

    ``here`` are the services of the supervisor that answers: it knows more of them, and also of
    those that it can't tell the ring about.
    """
    mine = {(row["service"], row["group"]): row for row in here}
    rows = [
        {
            "service": group["service"],
            "group": group["group"],
            **member,
            **(mine.pop((group["service"], group["group"]), {}) if member.get("local") else {}),
        }
        for _, group in sorted(census["groups"].items())
        for member in group["members"]
    ]
    rows += [{"name": "(here)", "state": "alive", "local": True, **row} for row in mine.values()]
    return {"services": rows}


def ring_table(services: Iterable[dict[str, Any]]) -> str:
    """One row per service and host of the ring."""
    services = list(services)
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
    header = ("SERVICE", "MEMBER", "STATE", "PROCESS", "HEALTH", "SINCE", "MAINTENANCE", "OUTPUT")
    return "\n".join([table(header, rows), *attention(services)])


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
    lines = [table((*header, *(("FOR", "OUTPUT") if wide else ())), rows), *attention(services)]
    for s in services:
        if s.get("maintenance"):
            lines.append(f"{s['service']}: in maintenance: {one_line(s['maintenance'])}")
        if s["health"] in ("warning", "critical") and s.get("output"):
            lines.append(f"{s['service']}: {paint(s['health'])}: {s['output'].strip()}")
    return "\n".join(lines)


def attention(services: Iterable[dict[str, Any]]) -> list[str]:
    """What somebody should look at in the services of this host, a line each."""
    lines = []
    for s in services:
        for key in ("reason", "pending", "withheld"):
            if s.get(key):
                lines.append(f"{s['service']}: {one_line(s[key])}")
        counts = s.get("log") or {}
        if counts.get("dropped_lines"):
            why = f", now: {one_line(counts['problem'])}" if counts.get("problem") else ""
            lines.append(f"{s['service']}: {counts['dropped_lines']} lines of its log lost{why}")
    return lines
