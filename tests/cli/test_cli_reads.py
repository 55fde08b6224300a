"""What the reads print: the interface's JSON, or plain tables without colour in a pipe."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import WEB, CliApi, Sup

from sup.cli import output
from sup.errors import ExitCode


@pytest.mark.parametrize("command", ["status", "members", "services", "census", "health"])
def test_read_json_is_the_answer_of_the_interface(
    sup: Sup, state_dir: Path, api: CliApi, command: str
) -> None:
    """``--json`` adds and hides nothing."""
    done = sup(command, "--json")
    assert done.code == 0
    assert done.json == getattr(api, command)()


def test_status_plain_says_what_matters(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """Name, ring, who is dead, warnings, and the services with what ails them; no escape codes."""
    api.services_now = (WEB,)
    done = sup("status")
    for text in ("anna", "2 alive, 1 dead", "3 min", "peer db does not resolve", "web.default"):
        assert text in done.out
    assert "web: critical: no answer" in done.out
    assert "\x1b" not in done.out


def test_members_marks_itself(sup: Sup, state_dir: Path) -> None:
    """The supervisor that answered carries a star."""
    lines = sup("members").out.splitlines()
    assert lines[1].startswith("anna*")
    assert "dead" in lines[2]


def test_members_why_shows_who_said_what(sup: Sup, state_dir: Path) -> None:
    """One line for each suspicion or verdict: how long ago, on what evidence, by whom."""
    lines = sup("members", "--why", "bert").out.splitlines()
    assert lines[0].split() == ["AGO", "WHAT", "BY"]
    assert "last check failed" in lines[1]
    assert lines[1].endswith("anna")
    assert "nothing was said against anna" in sup("members", "--why", "anna").out


def test_services_none_says_how_to_load_one(sup: Sup, state_dir: Path) -> None:
    """An empty list is not an empty screen."""
    assert "sup start" in sup("services").out


def test_events_one_line_each_and_json_lines(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """People get one printable line per event, programs one object per line, in any state of it."""
    done = sup("events", "web", "--kind", "hook", "--kind", "bind")
    assert done.code == 0, done.err
    assert done.out.endswith("  hook  web  x\\u001b\n")
    assert api.calls[0] == ("events", 0, 0, ["hook", "bind"], "web")
    done = sup("events", "--json")
    assert json.loads(done.out)["text"] == "x\x1b"
    done = sup("events", "wbe", "--since", "1")
    assert (done.out, done.err) == ("", "no such events of wbe are kept\n")
    done = sup("events", "--kind", "hok")
    assert done.code == ExitCode.BAD_INPUT
    assert "'hook'" in done.one_line()


def test_census_unknown_group_lists_known(sup: Sup, state_dir: Path) -> None:
    """A group that is not there names those that are."""
    done = sup("census", "wbe.default")
    assert done.code == ExitCode.FAILED
    assert "web.default" in done.one_line()
    assert "configuration v1" in sup("census", "web.default").out


@pytest.mark.parametrize(("word", "code"), [("ok", 0), ("warning", 0), ("critical", 1)])
def test_health_exit_code_follows_the_word(
    sup: Sup, state_dir: Path, api: CliApi, word: str, code: int
) -> None:
    """Scripts can use the exit code alone; an unhealthy service is an answer, not an error."""
    api.health_word = word
    done = sup("health")
    assert (done.code, done.out, done.err) == (code, f"{word}\n", "")


def test_watch_json_one_line_each(
    sup: Sup, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--watch --json`` is a stream of lines that a pipe can read."""
    rounds = iter([None])

    def sleep(_: float) -> None:
        if next(rounds, "end") == "end":
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    done = sup("health", "--watch", "--json")
    assert done.code == 130
    assert [json.loads(line)["health"] for line in done.out.splitlines()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (119.9, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_duration_largest_fitting_unit(seconds: float, text: str) -> None:
    """Two of a unit are needed before it is used: 119 s says more than 1 min."""
    assert output.duration(seconds) == text


def test_table_aligns_and_flattens() -> None:
    """Columns line up; a line break in a value can't break the table; nothing is a dash."""
    text = output.table(("A", "LONG"), [("x\ny", None), ("abcd", 1)])
    assert text.splitlines() == ["A     LONG", "x y   -", "abcd  1"]


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and pipes get plain text; the word is there in any case."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.paint("dead") == "\x1b[31mdead\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.paint("dead") == "dead"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert output.paint("dead") == "dead"


HOSTILE = "eve\x1b[2J\x9b31m\u202e\nok"


def test_reads_hostile_names_print_nothing_but_text(
    sup: Sup, api: CliApi, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another host says can neither steer the terminal nor fake a line."""
    row = {**WEB, "output": HOSTILE, "reason": HOSTILE, "package": HOSTILE}
    member = {**api.members()["members"][0], "name": HOSTILE}
    told = {"name": HOSTILE, "member_id": "0", "state": "alive", "process": HOSTILE, "health": "ok"}
    group = {"service": "web", "group": "g", "members": [told], "config_version": HOSTILE}
    status = {**api.status(), "warnings": [HOSTILE], "services": [row]}
    monkeypatch.setattr(api, "members", lambda: {"members": [member]})
    monkeypatch.setattr(api, "census", lambda: {"groups": {"web.default": group}})
    monkeypatch.setattr(api, "services", lambda: {"services": [row]})
    monkeypatch.setattr(api, "status", lambda: status)
    config = {**api.group_config("g"), "version": "v", "author": HOSTILE, "config": {"a": HOSTILE}}
    monkeypatch.setattr(api, "group_config", lambda group: config)
    for words in (
        ["members"],
        ["census"],
        ["services"],
        ["services", "--local"],
        ["status"],
        ["config", "show", "web.g"],
    ):
        for form in ([], ["--json"]):
            done = sup(*words, *form)
            assert done.code == 0, done.err
            assert all(c.isprintable() or c == "\n" for c in done.out), (words, form)
            if form:
                assert HOSTILE in _texts(done.json)
    assert len(sup("members").out.splitlines()) == 2
    shown = sup("config", "show", "web.g").out
    assert tomllib.loads(shown) == {"a": HOSTILE}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
