"""Options that many commands share: which supervisor to ask, and in which form to answer.

It opens nothing: ``Client`` connects on
its first request.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from sup.cli.client import Client
from sup.defaults import HTTP_ADDRESS, default_state_dir

if TYPE_CHECKING:
    from sup.model.spec import Spec

F = TypeVar("F", bound=Callable[..., Any])


class SecondsRange(click.FloatRange):
    """Seconds within bounds, also written ``2s`` or ``500ms``.

    ``nan`` is within none, which click's own range does not see.
    """

    units: tuple[tuple[str, float], ...] = (("ms", 0.001), ("s", 1.0))
    forms = "2, 2s or 500ms"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        factor = 1.0
        if isinstance(value, str):
            for unit, size in self.units:
                if value.endswith(unit) and value[-len(unit) - 1 : -len(unit)].isdigit():
                    value, factor = value[: -len(unit)], size
                    break
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds; write {self.forms}", param, ctx)
        seconds: float = super().convert(number * factor, param, ctx)
        if seconds != seconds:
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


def state_dir_option(function: F) -> F:
    """``--state-dir``, passed on as ``state_dir: Path``."""
    return click.option(
        "--state-dir",
        envvar="SUP_STATE_DIR",
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False),
        default=default_state_dir,
        show_default="/var/lib/sup as root, else ~/.local/state/sup",
        help="Directory of the supervisor's state.",
    )(function)


def client_options(function: F) -> F:
    """``--state-dir`` and ``--address``, passed on as ``client: Client``."""

    @functools.wraps(function)
    def wrapper(*args: Any, state_dir: Path, address: str | None, **kwargs: Any) -> Any:
        if address is not None:
            source = click.get_current_context().get_parameter_source
            said = [
                name
                for name in ("state_dir", "address")
                if source(name) == ParameterSource.COMMANDLINE
            ]
            if len(said) == 2:
                raise click.UsageError("give --state-dir or --address, not both")
            if said == ["state_dir"]:
                address = None  # What was typed wins over the environment.
        client = Client(address) if address else Client(state_dir / "control.sock")
        return function(*args, client=client, **kwargs)

    option = click.option(
        "--address",
        envvar="SUP_ADDRESS",
        show_envvar=True,
        metavar="URL",
        help=f"Ask over HTTP, as in http://{HTTP_ADDRESS}, and not through the state directory.",
    )
    return state_dir_option(option(wrapper))  # type: ignore[return-value]


def json_option(function: F) -> F:
    """``--json``, passed on as ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def read_options(function: F) -> F:
    """What every read takes: the client, ``--json`` and ``--watch``."""
    watch = click.option(
        "-w", "--watch", is_flag=True, help="Ask again every two seconds, until Ctrl-C."
    )
    return client_options(json_option(watch(function)))


def service_options(function: F) -> F:
    """How a service is named and run, for ``sup run`` and ``sup start``; see ``service_from``."""
    from sup.cli.names import bind_words, service_names

    for option in (
        click.option(
            "--after",
            multiple=True,
            metavar="NAME[:CONDITION]",
            shell_complete=service_names,
            help="Start after the service NAME of this supervisor is started, ready (the default)"
            " or healthy. Repeatable.",
        ),
        click.option(
            "--bind-ready",
            is_flag=True,
            help="Bind only to members whose health is ok or warning, not to every live one.",
        ),
        click.option(
            "--binding-mode",
            type=click.Choice(["strict", "relaxed"]),
            help="Whether the start waits for the binds.  [default: strict]",
        ),
        click.option(
            "--bind",
            "binds",
            multiple=True,
            metavar="NAME:SERVICE.GROUP",
            shell_complete=bind_words,
            help="Bind NAME of the plan to the members of a service group. Repeatable.",
        ),
        click.option("--strategy", metavar="NAME", help="Update strategy.  [default: none]"),
        click.option("--topology", metavar="NAME", help="Topology.  [default: standalone]"),
        click.option("--group", metavar="NAME", help="Service group.  [default: default]"),
        click.option("--name", metavar="NAME", help="Name of the service that --exec runs."),
        click.option(
            "--exec",
            "exec_command",
            metavar="COMMAND",
            help="Run this command as the service, without a package. Needs --name.",
        ),
    ):
        function = option(function)
    return function


def service_from(
    package_dir: Path | None,
    exec_command: str | None,
    name: str | None,
    group: str | None,
    topology: str | None,
    strategy: str | None,
    binds: Sequence[str] = (),
    binding_mode: str | None = None,
    bind_ready: bool = False,
    after: Sequence[str] = (),
    *,
    tell: bool = False,
) -> Spec:
    """The spec that a command line describes, checked as far as it can be from here.

    ``tell`` prints what had to be guessed about a package on stderr.

    Raises:
        click.UsageError: options contradict each other.
        OperatorError: the package or the command can't be used.
    """
    import shlex

    from sup.model.binds import check_binds, parse_binds
    from sup.model.plan import for_command
    from sup.model.spec import spec_from
    from sup.model.start_order import parse_after

    said: dict[str, Any] = {"group": group, "topology": topology, "strategy": strategy}
    said |= {"binding_mode": binding_mode, "binds": parse_binds(binds), "bind_ready": bind_ready}
    said["after"] = parse_after(after)
    if package_dir is not None:
        if exec_command is not None:
            raise click.UsageError("give PACKAGE_DIR or --exec, not both")
        if name is not None:
            raise click.UsageError("--name is for --exec; a package's service has the plan's name")
        from sup.edge.package_dir import load_package

        package = load_package(package_dir.absolute())
        for warning in package.warnings if tell else ():
            click.echo(f"warning: {warning}", err=True)
        check_binds(package.plan, said["binds"])
        said |= {"name": package.plan.package.name, "package_dir": str(package_dir.absolute())}
    else:
        assert exec_command is not None
        if name is None:
            raise click.UsageError("--exec needs --name NAME: how the service is called")
        try:
            words = shlex.split(exec_command)
        except ValueError as error:
            raise click.UsageError(f"--exec {exec_command!r}: {error}".lower()) from None
        check_binds(for_command(name, words), said["binds"])
        said |= {"name": name, "command": words}
    return spec_from({key: value for key, value in said.items() if value is not None}, "options")


def split_words(
    _ctx: click.Context, _param: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """Let a repeatable option (or its variable) also take several words separated by commas."""
    words = [word.strip() for value in values for word in value.split(",")]
    return tuple(dict.fromkeys(word for word in words if word))
