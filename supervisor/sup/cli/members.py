"""``sup members``: everybody whom this supervisor has heard of."""

from __future__ import annotations

from typing import Any

import click

from sup.cli.client import Client, segment
from sup.cli.names import member_names
from sup.cli.options import read_options
from sup.cli.output import show, since, table

EPILOG = """
\b
Examples:
  sup members
  sup members --why db2         on whose word db2 counts as dead
  sup members --json | jq -r '.members[] | select(.state == "dead") | .name'

\b
Exit codes:
  0  shown
  1  --why: there is no such member
  3  no supervisor answers
"""


@click.command(epilog=EPILOG)
@click.option(
    "--why",
    metavar="MEMBER",
    shell_complete=member_names,
    help="Show who suspected or declared MEMBER (name or id), on what evidence, and when.",
)
@read_options
def command(client: Client, as_json: bool, watch: bool, why: str | None) -> None:
    """List the members of the ring."""
    if why is not None:
        path = f"/v1/members/{segment(why)}/why"
        show(lambda: client.get(path), view_why, as_json=as_json, watch=watch)
        return
    show(lambda: client.get("/v1/members"), view, as_json=as_json, watch=watch)


def view(answer: dict[str, Any]) -> str:
    """The answer in lines for people; this supervisor itself carries a star."""
    rows = [
        (
            m["name"] + ("*" if m["local"] else ""),
            m["id"][:12],
            m["address"],
            m["state"],
            since(m["since_s"]),
            f"{m['epoch']}.{m['incarnation']}",
        )
        for m in answer["members"]
    ]
    return table(("NAME", "ID", "ADDRESS", "STATE", "SINCE", "INCARNATION"), rows)


def view_why(answer: dict[str, Any]) -> str:
    """What was said against a member, oldest first."""
    if not answer["why"]:
        return f"nothing was said against {answer['name']}, which is {answer['state']}"
    rows = [(since(w["at_s"]), w["what"], w["by_name"] or w["by"] or "-") for w in answer["why"]]
    return table(("AGO", "WHAT", "BY"), rows)
