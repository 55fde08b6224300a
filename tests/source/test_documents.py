"""What the documents name is there: files, links, commands with their options, dependencies."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from tests.source.house import ROOT

from sup.cli import cli

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
    *sorted(ROOT.glob("plugins/*/*.md")),
]
TOPS = ("core/", "supervisor/", "plugins/", "docs/", "tests/", "bench/", "examples/")
COMMAND = re.compile(r"(?:^|[|`] ?|\$ )(sup(?: [^`|#\n]+)?)", re.MULTILINE)
each_document = pytest.mark.parametrize(
    "file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT))
)


@each_document
def test_named_files_exist(file: Path) -> None:
    """A path in backticks, and the target of a link, is in the repository."""
    text = file.read_text()
    named = [name for name in re.findall(r"`([\w./-]+)`", text) if name.startswith(TOPS)]
    gone = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target and not (file.parent / target).exists():
            gone.append(target)
    assert not gone


@each_document
def test_shown_commands_parse(file: Path) -> None:
    """Every ``sup …`` that is shown names a command and options that exist."""
    text = re.sub(r"^    (?=sup )", "", file.read_text(), flags=re.MULTILINE)
    wrong = [
        f"{shown.strip()}: {problem}"
        for shown in COMMAND.findall(text)
        if (problem := _problem(shown))
    ]
    assert not wrong


def _problem(shown: str) -> str:
    words = [word for word in shlex.split(shown, comments=True)[1:] if word not in ("…", "NAME")]
    command: click.Command = cli
    context = click.Context(cli, info_name="sup")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        if found is None:
            return "no such command"
        command, context = found, click.Context(found, info_name=found.name, parent=context)
    options = {option for param in command.get_params(context) for option in param.opts}
    unknown = [word for word in words if re.match(r"--[a-z]", word) and word not in options]
    return f"no option {', '.join(unknown)}" if unknown else ""


def test_every_runtime_dependency_has_its_reason() -> None:
    """``docs/decisions`` says of each dependency what it is for and what it was weighed against."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=!~;\[ ]", line)[0] for line in project["dependencies"]}
    page = (ROOT / "docs" / "decisions" / "0001-dependencies.md").read_text()
    assert set(re.findall(r"^\| ([\w-]+) \|", page, re.MULTILINE)) - {"dependency"} == names
