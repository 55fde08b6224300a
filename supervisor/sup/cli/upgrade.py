"""``sup upgrade``: new code for the supervisor and its launcher, the same services."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from sup.cli.client import Client
from sup.cli.options import SecondsRange, client_options, json_option
from sup.cli.output import echo_json
from sup.errors import ExitCode, OperatorError

EPILOG = """
\b
Examples:
  pip install --upgrade sup-ring && sup upgrade
  sup upgrade --timeout 120 --json

\b
Exit codes:
  0  the new supervisor manages the services
  1  the new code does not load (nothing has changed), or does not come up: the services go on,
     and the launcher tries again with growing waits
  3  no supervisor answers
  4  the supervisor runs without a launcher, so that there is nobody to hold the services
  5  the new supervisor has not come up within --timeout
"""
POLL_S = 0.1
FAILED_STARTS = 3
"""So many starts of the new supervisor that came to nothing are a failure."""
LOADING_S = 120.0
"""For the answer to the request itself: the new code is loaded before it comes."""


@click.command(epilog=EPILOG)
@click.option(
    "--timeout",
    "timeout_s",
    type=SecondsRange(1.0, 3600.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the new supervisor.",
)
@client_options
@json_option
def command(client: Client, timeout_s: float, as_json: bool) -> None:
    """Have the supervisor and its launcher replaced by the code that is on disk now.

    The new code is tried first. The services are not touched: same processes, same logs, and how
    one ends is still seen. Waits until the new supervisor manages them.
    """
    before = client.get("/v1/status")
    launcher = before.get("launcher")
    if launcher is None:
        raise OperatorError(
            "this supervisor runs without a launcher: stop it and start the new one; the services"
            " are adopted",
            ExitCode.CONFLICT,
        )
    asked = client.request("POST", "/v1/upgrade", timeout_s=LOADING_S)
    file = Path(str(before["state_dir"])) / "launcher.json"
    after = _wait(client, int(launcher["starts"]), file, timeout_s)
    now = after["launcher"]
    if as_json:
        echo_json(
            {
                "from": asked["from"],
                "to": after["version"],
                "launcher_from": launcher["version"],
                "launcher_to": now["version"],
                "services": len(after["services"]),
            }
        )
        return
    click.echo(
        f"supervisor {asked['from']} -> {after['version']},"
        f" launcher {launcher['version']} -> {now['version']},"
        f" {len(after['services'])} services kept"
    )


def _wait(client: Client, starts: int, file: Path, timeout_s: float) -> dict[str, Any]:
    """The status of the supervisor that came after start ``starts`` of the same launcher."""
    deadline = time.monotonic() + timeout_s
    while True:
        facts = _facts(file)
        try:
            status = client.get("/v1/status")
            now = status.get("launcher") or {}
            if int(now.get("starts", 0)) > starts and now.get("ready"):
                return status
        except OperatorError:
            how = str(facts.get("last_exit") or "")
            if int(facts.get("starts", 0)) >= starts + FAILED_STARTS and how:
                raise OperatorError(
                    f"the new supervisor does not come up: it ended with {how}, see its log; the"
                    " services go on and the launcher tries again",
                    ExitCode.FAILED,
                ) from None
        if time.monotonic() >= deadline:
            how = f", last ended with {facts['last_exit']}" if facts.get("last_exit") else ""
            raise OperatorError(
                f"the new supervisor has not come up within {timeout_s:.0f} s{how}; the services"
                " go on",
                ExitCode.TIMED_OUT,
            )
        time.sleep(POLL_S)


def _facts(file: Path) -> dict[str, Any]:
    """What the launcher wrote about itself; empty on another host, or when it can't be read."""
    try:
        found = json.loads(file.read_bytes()[:65536])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
