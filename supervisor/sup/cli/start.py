"""``sup start``: load a service into the running supervisor, or start one that is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sup.cli.client import Client, segment
from sup.cli.options import client_options, json_option, service_from, service_options
from sup.cli.output import echo_json
from sup.errors import ExitCode, NotFoundError, OperatorError

EPILOG = """
\b
Examples:
  sup start ./redis                     load the package in ./redis and start it
  sup start ./redis --group blue        as a member of redis.blue
  sup start ./web --bind db:redis.blue  when redis.blue has a member to use
  sup start ./core-plans/redis          a Habitat plan (plan.sh) as it is
  sup start redis                       start the loaded service again after 'sup stop redis'
  sup start --exec "sleep 60" --name nap
  sup start ./web --after db:healthy    when the service db of this host is healthy
"""


@click.command(epilog=EPILOG)
@click.argument("what", required=False, metavar="[DIR | NAME]")
@service_options
@client_options
@json_option
def command(
    client: Client,
    what: str | None,
    exec_command: str | None,
    name: str | None,
    group: str | None,
    topology: str | None,
    strategy: str | None,
    binds: Sequence[str],
    binding_mode: str | None,
    bind_ready: bool,
    after: Sequence[str],
    as_json: bool,
) -> None:
    """Load the package in DIR (or a command) and start it, or start the stopped service NAME.

    DIR has a plan.toml, or a Habitat plan.sh.

    The service comes back by itself when the supervisor is started again. With strict binds it
    starts as soon as every bound group has a member to use; until then 'sup services' says what is
    missing.
    """
    if what is None and exec_command is None:
        raise click.UsageError("say what to start: a package directory, a service, or --exec")
    options = (
        exec_command,
        name,
        group,
        topology,
        strategy,
        binds,
        binding_mode,
        bind_ready,
        after,
    )
    has_options = any(option not in (None, (), False) for option in options)
    if what is not None and _is_name(what) and not has_options:
        answer = _start_loaded(client, what)
        service = what
    else:
        package_dir = None if what is None else Path(what)
        spec = service_from(package_dir, *options, tell=True)
        request: dict[str, Any] = {
            "name": spec.name,
            "group": spec.group,
            "topology": spec.topology,
            "strategy": spec.strategy,
        }
        if spec.after:
            request["after"] = spec.after
        if spec.binds:
            request |= {"binds": spec.binds, "bind_ready": spec.bind_ready}
        if spec.binding_mode != "strict":
            request["binding_mode"] = spec.binding_mode
        if spec.package_dir is not None:
            request["package_dir"] = spec.package_dir
        else:
            request["command"] = spec.command
        answer = client.post("/v1/services", request)
        service = spec.name
    if as_json:
        echo_json(answer)
    if answer.get("process") in ("backoff", "failed"):
        raise OperatorError(
            f"{service} is loaded but does not come up: {answer.get('reason') or 'see its log'}",
            ExitCode.FAILED,
        )
    if as_json:
        return
    reason = str(answer.get("reason") or "")
    if answer.get("process") == "down" and reason.startswith("start is held"):
        click.echo(f"{service} is loaded; {reason}")
    else:
        click.echo(f"{service} is started; 'sup services' shows how it does")


def _is_name(what: str) -> bool:
    """A plain word that is no directory here is the name of a loaded service."""
    return "/" not in what and what not in (".", "..") and not Path(what).is_dir()


def _start_loaded(client: Client, name: str) -> dict[str, Any]:
    from sup.cli.client import Refused

    try:
        return client.post(f"/v1/services/{segment(name)}/start")
    except Refused as error:
        if error.problem.get("status") != 404:
            raise
        raise NotFoundError(
            f"no service {name!r} is loaded, and there is no directory of that name here;"
            " 'sup services' lists what is loaded"
        ) from None
