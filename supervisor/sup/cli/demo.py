"""``sup demo``: three supervisors on this machine, and what they do."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """
\b
Examples:
  sup demo                  watch it, then play with the ring until Ctrl-C
  sup demo --exit           end after the last step: exit code 0, or 1 with the reason
  sup demo --package DIR    with your own copy of the greeter
"""


@click.command(epilog=EPILOG)
@click.option("--exit", "exit_after", is_flag=True, help="End after the last step.")
@click.option(
    "--members",
    type=click.IntRange(3, 9),
    default=3,
    show_default=True,
    help="How many supervisors.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="a new temporary directory",
    help="Where the supervisors keep their state; must be empty or absent.",
)
@click.option("--keep", is_flag=True, help="Keep the state and the logs when it ends.")
@click.option(
    "--package",
    "package_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    show_default="the greeter that comes with sup",
    help="Package directory of the service.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each step as one line of JSON.")
def command(
    exit_after: bool,
    members: int,
    state_dir: Path | None,
    keep: bool,
    package_dir: Path | None,
    as_json: bool,
) -> int:
    """Watch three supervisors form a ring, run a service, reconfigure it, and lose a member.

    Everything happens on the loopback interface, in a temporary directory, and is gone at the end.
    """
    from sup.demo import DemoOptions, run

    return run(DemoOptions(members, state_dir, keep, package_dir, exit_after, as_json))
