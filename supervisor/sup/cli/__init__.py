"""The ``sup`` command: a lazy group with one file per subcommand, and the one place where errors
become exit codes.

Nothing heavy is imported until the command that needs it runs: ``sup --help`` knows the
subcommands from the table below and loads none of them. Commands talk to a running supervisor
through ``sup.cli.client`` only; they decide nothing that the supervisor could decide.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.exceptions import NoArgsIsHelpError

from sup import __version__
from sup.errors import ExitCode, OperatorError
from sup.model.plain_text import one_line

COMMANDS = {
    "run": "Run a supervisor, with or without a service.",
    "start": "Load a service into the running supervisor, or start a stopped one.",
    "stop": "Stop a service.",
    "restart": "Stop a service and start it again.",
    "status": "Show this supervisor, its ring and its services.",
    "svc": "Look at one service closely, and get it out of a failure.",
    "members": "List the members of the ring.",
    "services": "List the services on this host, or in the whole ring.",
    "census": "Show every service group and who is in it.",
    "health": "Show the health of this host's services, or report that of one.",
    "maintenance": "Take services of this host out of use for a while, and back.",
    "events": "Show what happened to this host's services lately.",
    "logs": "Show what services wrote.",
    "config": "Apply and show the configuration of a service group.",
    "file": "Give files to the members of a service group.",
    "upgrade": "Replace the supervisor's code; the services run on.",
    "depart": "Declare a dead member to have left for good.",
    "plugin": "Show the plugins that are installed.",
    "demo": "Watch three supervisors form a ring and run a service.",
    "simulate": "Ask what a ring of a given size would do on a given network.",
    "completion": "Print the completion script for a shell.",
}
"""Subcommand -> its one-line help. The module is ``sup.cli.NAME`` and holds ``command``."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""

EPILOG = """
\b
Examples:
  sup demo                                   watch it work
  sup run ./greeter --plugin jinja           a supervisor with one service
  sup run ./greeter --peer 192.168.5.2       the same, in the ring of that host
  sup run --exec "nginx -g 'daemon off;'" --name web
  sup config apply greeter.default new.toml --wait 10
  sup status --json

\b
Exit codes:
  0  done
  1  tried, and did not succeed
  2  bad input: nothing was changed
  3  no supervisor answers
  4  refused by the present state (a version, lock, port or directory is taken)
  5  the wait ended before what it waited for
"""


class LazyGroup(click.Group):
    """Loads the module of a subcommand when that subcommand is used, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"sup.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in COMMANDS and not word.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(word, COMMANDS, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            ctx.fail(f"no such command {word!r}{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="sup", message="%(prog)s %(version)s")
def cli() -> None:
    """A masterless service supervisor.

    Every host runs one. The supervisors find each other by gossip, run your services, and
    spread their configuration; there is no server, and any of them may die at any time.
    """


class Program:
    """Whether this process is the ``sup`` command itself, so that it may be replaced."""

    is_sup = False


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with the right code."""
    Program.is_sup = args is None
    _open_closed_streams()
    sys.exit(run_command_line(args))


def run_command_line(args: Sequence[str] | None = None) -> int:
    """Run one command; print an error as one line on stderr. Returns the exit code."""
    stdout = sys.stdout
    try:
        result = cli.main(
            args=None if args is None else list(args), prog_name="sup", standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else ExitCode.OK
    except OperatorError as error:
        return _complain("sup", error.message, error.exit_code)
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # A word is missing: here are the words.
        return ExitCode.BAD_INPUT
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "sup"
        text = error.format_message().rstrip(".")
        return _complain(path, f"{text}; see '{path} --help'", ExitCode.BAD_INPUT)
    except click.ClickException as error:
        return _complain("sup", error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has had enough (`sup members | head -1`): not an error, and nothing to say.
        _drop_stdout()
        return ExitCode.OK
    except SystemExit:
        if sys.stdout is stdout:
            raise
        _drop_stdout()  # the same, but click saw it first: it wraps stdout and ends with 1
        return ExitCode.OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        _drop_stdout()
        return _complain("sup", f"can't write the output: {error.strerror}", ExitCode.FAILED)


def _complain(who: str, message: str, code: int) -> int:
    click.echo(f"{who}: {one_line(message)}", err=True)
    return code


def _open_closed_streams() -> None:
    """Started with a closed stdin, stdout or stderr (``>&-``), Python has None in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _drop_stdout() -> None:
    """Keep the interpreter from flushing into the broken pipe when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
