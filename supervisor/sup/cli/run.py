"""``sup run``: this process becomes the supervisor of this host.

It turns options and ``SUP_*`` variables into ``SupervisorOptions`` and refuses what contradicts
itself; what the values mean is decided by the supervisor.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sup.cli import Program
from sup.cli.options import (
    SecondsRange,
    service_from,
    service_options,
    split_words,
    state_dir_option,
)
from sup.defaults import GOSSIP_ADDRESS, HTTP_ADDRESS

if TYPE_CHECKING:
    from sup.model.spec import Spec
    from sup.options import SupervisorOptions

EPILOG = """
\b
Examples:
  sup run                                     a supervisor without a service; see 'sup start'
  sup run ./redis --plugin jinja              the package in ./redis, with one plugin
  sup run ./redis --peer 10.0.0.5 --peer db   joins the ring of any of these hosts
  sup run ./web --bind db:redis.default       waits for redis.default, whose port web wants to know
  sup run ./core-plans/redis                  a Habitat plan (plan.sh) as it is
  sup run --exec "nginx -g 'daemon off;'" --name web --group blue
  sup run --listen-gossip 127.0.0.1:9700 --listen-http off --state-dir /tmp/two

\b
Signals:
  SIGTERM, SIGINT    stop the services, leave the ring, exit 0
  SIGHUP             as 'sup upgrade': new code, same services
  SIGKILL            the services go on; the next 'sup run' on the state directory takes them over

\b
The process that you start is the launcher, a small parent of the services. The supervisor is
its child: killed or crashed, it is started again and manages the same processes as before.

\b
Exit codes:
  0  ended by a signal or 'POST /v1/shutdown', everything stopped
  2  bad input: an option, a plan, a template, an unknown plugin
  4  the port, the state directory or the lock is taken
"""


@click.command(epilog=EPILOG)
@click.argument("package_dir", required=False, type=click.Path(path_type=Path))
@service_options
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="NAME",
    envvar="SUP_PLUGINS",
    show_envvar=True,
    callback=split_words,
    help="Activate an installed plugin. Repeatable; see 'sup plugin list'.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="HOST[:PORT]",
    envvar="SUP_PEERS",
    show_envvar=True,
    callback=split_words,
    help="A supervisor of the ring to join. Repeatable; tried for ever, resolved anew each time.",
)
@click.option(
    "--ring",
    default="default",
    show_default=True,
    envvar="SUP_RING",
    show_envvar=True,
    help="Name of the ring; supervisors of another ring are not heard.",
)
@click.option(
    "--supervisor-name",
    metavar="NAME",
    envvar="SUP_NAME",
    show_envvar=True,
    show_default="the host name",
    help="How this supervisor is called in the ring.",
)
@click.option(
    "--listen-gossip",
    metavar="HOST:PORT",
    default=GOSSIP_ADDRESS,
    show_default=True,
    envvar="SUP_LISTEN_GOSSIP",
    show_envvar=True,
    help="Where to gossip, UDP and TCP.",
)
@click.option(
    "--advertise",
    metavar="HOST[:PORT]",
    envvar="SUP_ADVERTISE",
    show_envvar=True,
    show_default="found from the route to the peers",
    help="The address that others reach this one at.",
)
@click.option(
    "--listen-http",
    metavar="HOST:PORT",
    default=HTTP_ADDRESS,
    show_default=True,
    envvar="SUP_LISTEN_HTTP",
    show_envvar=True,
    help="Where to answer HTTP, or 'off'. The control socket answers in any case.",
)
@state_dir_option
@click.option(
    "--profile",
    type=click.Choice(["lan", "wan", "local"]),
    default="lan",
    show_default=True,
    envvar="SUP_PROFILE",
    show_envvar=True,
    help="Timing of the gossip: one site, several sites, or one host.",
)
@click.option(
    "--pause-tolerance",
    "pause_tolerance_s",
    metavar="SECONDS",
    type=SecondsRange(0.0, 3600.0),
    envvar="SUP_PAUSE_TOLERANCE",
    show_envvar=True,
    show_default="2s; wan 4s, local 1s",
    help="A member that stops for less is never declared dead; detection takes this much longer.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="SUP_LOG_FORMAT",
    show_envvar=True,
    help="One line per event, for people or for machines.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="SUP_LOG_LEVEL",
    show_envvar=True,
    help="The least important event that is logged.",
)
@click.option(
    "--launcher/--no-launcher",
    default=True,
    show_default=True,
    help="Let a small parent hold the services, so that they outlive this supervisor in full.",
)
def command(
    package_dir: Path | None,
    exec_command: str | None,
    name: str | None,
    group: str | None,
    topology: str | None,
    strategy: str | None,
    binds: Sequence[str],
    binding_mode: str | None,
    bind_ready: bool,
    after: Sequence[str],
    plugins: Sequence[str],
    peers: Sequence[str],
    ring: str,
    supervisor_name: str | None,
    listen_gossip: str,
    advertise: str | None,
    listen_http: str,
    state_dir: Path,
    profile: str,
    pause_tolerance_s: float | None,
    log_format: str,
    log_level: str,
    launcher: bool,
) -> int:
    """Run a supervisor, with the service of PACKAGE_DIR, with a command, or with none.

    The services that an earlier run loaded on the same state directory come back by themselves.
    """
    from sup.options import SupervisorOptions

    service: Spec | None = None
    if package_dir is not None or exec_command is not None:
        service = service_from(
            package_dir,
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
    else:
        for option, value in (
            ("--name", name),
            ("--group", group),
            ("--topology", topology),
            ("--strategy", strategy),
            ("--bind", binds),
            ("--binding-mode", binding_mode),
            ("--bind-ready", bind_ready),
            ("--after", after),
        ):
            if value not in (None, (), False):
                raise click.UsageError(f"{option} needs a service: PACKAGE_DIR or --exec")

    return _supervise(
        SupervisorOptions(
            state_dir=state_dir.absolute(),
            ring=ring,
            name=supervisor_name or socket.gethostname(),
            listen_gossip=listen_gossip,
            advertise=advertise,
            listen_http=None if listen_http == "off" else listen_http,
            peers=tuple(peers),
            plugins=tuple(plugins),
            log_format="json" if log_format == "json" else "text",
            log_level=log_level,
            service=service,
            profile=profile,
            pause_tolerance_s=pause_tolerance_s,
            launcher_fd=_launcher_fd() if launcher else None,
        ),
        launcher=launcher,
    )


def _launcher_fd() -> int | None:
    """The launcher's socket, if a launcher started us; our children must not see it."""
    number = os.environ.pop("SUP_LAUNCHER_FD", "")
    return int(number) if number.isascii() and number.isdigit() else None


def _supervise(options: SupervisorOptions, *, launcher: bool) -> int:
    """Give the process to the launcher, or to the supervisor until it ends."""
    if (
        launcher
        and Program.is_sup  # whoever calls this from a program of their own keeps their process
        and options.launcher_fd is None
        and "SUP_CHECK_ONLY" not in os.environ
    ):
        from sup.attach import become_launcher

        become_launcher(options.state_dir, options.log_format)
    import asyncio

    import uvloop

    from sup import supervisor

    if "SUP_CHECK_ONLY" in os.environ:
        from sup import __version__
        from sup.plugins import load

        load(options.plugins)
        click.echo(__version__)
        return 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(supervisor.run(options))
