"""``sup members``: everybody whom this supervisor has heard of."""

from __future__ import annotations

from typing import Any

import click

from sup.cli.client import Client
from sup.cli.options import read_options
from sup.cli.output import show, since, table


@click.command()
@read_options
def command(client: Client, as_json: bool, watch: bool) -> None:
    """List the members of the ring."""
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
