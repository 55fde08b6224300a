"""Completion of names: the services, groups and members that the running supervisor knows.

A shell asks in the middle of a line, so there is no error to show and no time to wait: whatever
goes wrong is an empty list, soon.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sup.cli.client import Client
from sup.defaults import default_state_dir

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ASK_SECONDS = 0.5
"""For the whole question: longer than a supervisor takes, shorter than a person notices."""
WORDS_MAX = 64
"""Of a line, looked at for a package directory."""
NAMES_MAX = 1000
"""A shell shows no more in one go."""

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def services(answer: dict[str, Any]) -> Iterable[str]:
    """Names of the services loaded on this host."""
    return (row["service"] for row in answer["services"])


def groups(answer: dict[str, Any]) -> Iterable[str]:
    """Names of the service groups of the ring."""
    return list(answer["groups"])


def members(answer: dict[str, Any]) -> Iterable[str]:
    """Names of the members of the ring."""
    return (row["name"] for row in answer["members"])


def names_from(path: str, names: Callable[[dict[str, Any]], Iterable[str]]) -> Complete:
    """What completes an argument: ``names`` of the answer at ``path``."""

    def complete(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            found = sorted(set(names(_client(ctx).request("GET", path, timeout_s=ASK_SECONDS))))
        except Exception:  # a shell has no place for any error
            return []
        # A name of another host must be one word of the line that it is put into.
        fit = [name for name in found if name.startswith(begun) and _is_word(name)]
        return [CompletionItem(name) for name in fit[:NAMES_MAX]]

    return complete


service_names = names_from("/v1/services", services)
group_names = names_from("/v1/census", groups)
member_names = names_from("/v1/members", members)


def bind_words(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """What completes ``--bind``: the plan's binds, and behind the colon the groups of the ring."""
    from click.shell_completion import CompletionItem

    name, colon, target = begun.partition(":")
    if colon:
        found = [item.value for item in group_names(ctx, param, target)]
        return [CompletionItem(f"{name}:{value}") for value in found]
    from sup.edge.package_dir import load_package

    # A line that ends within an option is not parsed as far as its arguments: look for ourselves.
    for word in os.environ.get("COMP_WORDS", "").split()[:WORDS_MAX]:
        try:
            plan = load_package(Path(word)).plan
        except Exception:  # a shell has no place for any error
            continue
        binds = sorted({**plan.binds, **plan.binds_optional})
        return [CompletionItem(f"{bind}:") for bind in binds if bind.startswith(name)]
    return []


def _client(ctx: click.Context) -> Client:
    """As ``client_options``, from a line that is not finished."""
    address, state_dir = ctx.params.get("address"), ctx.params.get("state_dir")
    if address:
        return Client(address)
    return Client(Path(state_dir or default_state_dir()) / "control.sock")


def _is_word(name: str) -> bool:
    return all(c.isalnum() or c in "_.-" for c in name) and not name.startswith("-")
