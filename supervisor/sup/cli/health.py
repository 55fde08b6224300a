"""``sup health``: how the services of this host do, as words and as an exit code; and how one of
them says it itself.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sup.cli.client import Client, segment
from sup.cli.names import service_names
from sup.cli.options import SecondsRange, read_options
from sup.cli.output import duration, paint, show, since, table
from sup.errors import ExitCode, OperatorError
from sup.model.plain_text import one_line

POLL_SECONDS = 0.2
SOCKET_VARIABLE = "SUP_SOCKET"

EPILOG = """
\b
Examples:
  sup health                          every service here that shall be up
  sup health redis                    one of them, with the last results of its checks
  sup health redis --wait 60          until it is ready, for a script
  sup health redis --set ok           what a check of kind ttl waits for
  sup health redis --set critical --output "replica is 90 s behind"

\b
Exit codes:
  0  ok or warning, and not in maintenance (with --strict: ok)
  1  critical, unknown, in maintenance, or no such service
  2  bad input
  3  no supervisor answers
  4  --set: the service is not up
  5  --wait ended before it was ready

Inside a service whose plan has a check of kind ttl, --set speaks to the socket that SUP_SOCKET
names, which also works as the service's own user.
"""


@click.command(epilog=EPILOG)
@click.argument("name", required=False, shell_complete=service_names)
@click.option(
    "--set",
    "status",
    type=click.Choice(["ok", "warning", "critical"]),
    help="Report the state of NAME, for a check of kind ttl.",
)
@click.option("--output", "text", metavar="TEXT", help="With --set: why, in a line.")
@click.option("--strict", is_flag=True, help="Take a warning for a failure (exit 1).")
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=SecondsRange(0.0, 86400.0),
    help="Wait until NAME, or every service, is ready; exit 5 if that takes longer.",
)
@read_options
def command(
    client: Client,
    name: str | None,
    status: str | None,
    text: str | None,
    strict: bool,
    wait_s: float | None,
    as_json: bool,
    watch: bool,
) -> int:
    """Show the health of this host's services, or of NAME with the last results of its checks."""
    if text is not None and status is None:
        raise click.UsageError("--output belongs to --set")
    if status is not None:
        if name is None:
            raise click.UsageError("--set needs the NAME of a service")
        if strict or watch or wait_s is not None:
            raise click.UsageError("--set goes with --output and nothing else")
        _report(_reporting(client), name, status, text or "")
        return ExitCode.OK
    path = "/v1/health" if name is None else f"/v1/services/{segment(name)}/health"
    if wait_s is not None:
        if watch:
            raise click.UsageError("give --wait or --watch, not both")
        _wait(client, path, wait_s, strict=strict)
    answer = show(
        lambda: client.get(path),
        view if name is None else service_view,
        as_json=as_json,
        watch=watch,
    )
    return ExitCode.OK if passes(answer, strict=strict) else ExitCode.FAILED


def passes(answer: dict[str, Any], *, strict: bool) -> bool:
    """Whether the answer, of one service or of all, is good enough for exit code 0."""
    rows = answer.get("services")
    every = [answer] if rows is None else [answer, *rows.values()]
    good = ("ok",) if strict else ("ok", "warning")
    return all(row.get("health") in good and not row.get("maintenance") for row in every)


def view(answer: dict[str, Any]) -> str:
    """All services in lines for people."""
    rows = [
        (
            name,
            s.get("health"),
            "yes" if s.get("ready") else "no",
            since(s.get("health_since_s")),
            s.get("maintenance"),
            s.get("output"),
        )
        for name, s in sorted(answer["services"].items())
    ]
    if not rows:
        return paint(answer["health"])
    header = ("SERVICE", "HEALTH", "READY", "SINCE", "MAINTENANCE", "OUTPUT")
    return paint(answer["health"]) + "\n" + table(header, rows)


def service_view(answer: dict[str, Any]) -> str:
    """One service in lines for people: its verdict, then each check with its last results."""
    lines = [
        f"{answer['service']} {paint(answer['health'])} for {since(answer.get('since_s'))},"
        f" {'ready' if answer.get('ready') else 'not ready'}"
    ]
    if answer.get("maintenance"):
        lines.append(f"in maintenance: {one_line(answer['maintenance'])}")
    if answer.get("withheld"):
        lines.append(one_line(answer["withheld"]))
    if answer.get("output"):
        lines.append(one_line(answer["output"].strip()))
    for probe, check in answer.get("checks", {}).items():
        idle = "" if check["active"] else ", not asked now"
        lines += [
            "",
            f"{probe} ({check['kind']}, every {duration(check['interval_s'])}{idle}):"
            f" {paint(check['health'])}, {check['failures']} of"
            f" {check['failures_before_critical']} failures in a row",
        ]
        rows = [
            (
                since(result["at_s"]),
                result["health"] if result["counted"] else f"{result['health']}*",
                f"{result['elapsed_ms']} ms",
                result["output"],
            )
            for result in reversed(check["results"])
        ]
        if rows:
            lines.append(table(("AGO", "RESULT", "TOOK", "OUTPUT"), rows))
        if any(not result["counted"] for result in check["results"]):
            lines.append("* not counted: the supervisor itself was late meanwhile")
    return "\n".join(lines)


def _wait(client: Client, path: str, wait_s: float, *, strict: bool) -> None:
    deadline_s = time.monotonic() + wait_s
    while True:
        answer = client.get(path)
        if passes(answer, strict=strict):
            return
        if time.monotonic() >= deadline_s:
            raise OperatorError(
                f"not ready after {wait_s:g} s: {answer.get('health')}", ExitCode.TIMED_OUT
            )
        time.sleep(min(POLL_SECONDS, max(0.0, deadline_s - time.monotonic())))


def _report(client: Client, name: str, status: str, text: str) -> None:
    body = json.dumps({"status": status, "output": text}).encode()
    client.request("PUT", f"/v1/services/{segment(name)}/health/ttl", body)


def _reporting(client: Client) -> Client:
    """Inside a service its own socket, unless the command line names a supervisor."""
    path = os.environ.get(SOCKET_VARIABLE)
    source = click.get_current_context().get_parameter_source
    named = any(source(option) != ParameterSource.DEFAULT for option in ("state_dir", "address"))
    return client if named or not path else Client(Path(path))
