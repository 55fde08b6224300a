"""What the command line loads: nothing that the command does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import sup.cli

HEAVY = {
    "aiohttp",
    "asyncio",
    "email",
    "importlib.metadata",
    "msgspec",
    "pluggy",
    "rich",
    "sup_core",
    "tomli",
    "uvloop",
}

SCRIPT = """
import sys
from sup.cli import run_command_line
code = run_command_line(sys.argv[1:])
print("LOADED", *sorted(sys.modules))
"""


def loaded(*args: str) -> set[str]:
    """Modules that one command line leaves in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *args],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOADED "))
    return set(line.split()[1:])


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("config", "--help")])
def test_help_and_version_load_nothing_heavy(args: tuple[str, ...]) -> None:
    """``sup --help`` costs click and no more."""
    assert loaded(*args) & HEAVY == set()


def test_help_loads_no_command() -> None:
    """The list of commands is known without loading any."""
    assert {name for name in loaded("--help") if name.startswith("sup.cli.")} == set()


@pytest.mark.parametrize("command", ["status", "members", "services", "census", "health", "stop x"])
def test_questions_load_only_the_http_client(command: str, tmp_path: Path) -> None:
    """A question to a supervisor never loads the supervisor's own machinery."""
    modules = loaded(*command.split(), "--state-dir", str(tmp_path))
    assert "http.client" in modules
    assert modules & (HEAVY - {"email"}) == set()


def test_run_help_loads_no_supervisor() -> None:
    """The help of ``sup run`` is help, not a supervisor."""
    assert loaded("run", "--help") & HEAVY == set()


@pytest.mark.parametrize("name", sup.cli.COMMANDS)
def test_every_command_has_a_module_and_agrees_with_its_line(name: str) -> None:
    """The table of commands is the truth: each has a module whose help begins the same way."""
    command = sup.cli.cli.get_command(click.Context(sup.cli.cli), name)
    assert command is not None
    assert command.help
    assert sup.cli.COMMANDS[name].endswith(".")


@pytest.mark.parametrize("name", [n for n in sup.cli.COMMANDS if n != "completion"])
def test_every_command_takes_json_or_runs(name: str) -> None:
    """``--json`` is on everything that answers."""
    command = sup.cli.cli.get_command(click.Context(sup.cli.cli), name)
    commands = list(getattr(command, "commands", {"": command}).values())
    for each in commands:
        assert name == "run" or any("--json" in option.opts for option in each.params), each.name
