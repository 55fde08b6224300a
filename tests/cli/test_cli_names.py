"""Completion of names: what the running supervisor knows, and silence when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from tests.cli.conftest import WEB, CliApi

from sup.cli import cli


def complete(*words: str, begun: str = "") -> list[str]:
    """What a shell would be offered after these words."""
    shell = ShellComplete(cli, {}, "sup", "_SUP_COMPLETE")
    return [item.value for item in shell.get_completions([*words], begun)]


def test_names_of_services_groups_and_members(state_dir: Path, api: CliApi) -> None:
    """Each argument is completed with what belongs there, and with what fits what is typed."""
    api.services_now = (WEB, {**WEB, "service": "db"})
    assert complete("stop") == ["db", "web"]
    assert complete("restart", begun="w") == ["web"]
    assert complete("config", "show") == ["web.default"]
    assert complete("config", "apply", begun="x") == []
    assert complete("census") == ["web.default"]
    assert complete("depart", "--state-dir", str(state_dir)) == ["anna", "bert"]


def test_bind_is_completed_from_the_plan_and_the_ring(
    state_dir: Path, api: CliApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the colon the plan's binds, behind it the groups; silence without a plan."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "plan.toml").write_text(
        '[package]\nname="p"\n[service]\ncommand="x"\n[binds]\ndb=[]\n[binds_optional]\ncache=[]'
    )
    monkeypatch.setenv("COMP_WORDS", f"sup start {package} --bind")
    assert complete("start", str(package), "--bind") == ["cache:", "db:"]
    assert complete("run", str(package), "--bind", begun="d") == ["db:"]
    assert complete("start", str(package), "--bind", begun="db:w") == ["db:web.default"]
    monkeypatch.delenv("COMP_WORDS")
    assert complete("start", "--bind", begun="d") == []


def test_names_that_are_no_single_word_are_left_out(
    state_dir: Path, api: CliApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member's name is put into somebody's command line: nothing that a shell would act on."""
    names = ["$(reboot)", "a b", "-rf", "x;y", "\x1b[2J", "fine.example-1"]
    monkeypatch.setattr(api, "members", lambda: {"members": [{"name": name} for name in names]})
    assert complete("depart") == ["fine.example-1"]


def test_names_without_a_supervisor_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No error in the middle of a line, from whatever is wrong."""
    assert complete("stop", "--state-dir", str(tmp_path)) == []
    assert complete("stop", "--address", "http://127.0.0.1:1") == []
    assert complete("stop", "--address", "ftp://") == []
    assert capsys.readouterr() == ("", "")
