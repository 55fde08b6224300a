"""``sup health`` and ``sup maintenance``: what they send, what they show, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import WEB, CliApi, Sup

from sup.errors import ExitCode

CHECKED: dict[str, Any] = {
    "service": "web",
    "health": "ok",
    "since_s": 1,
    "ready": True,
    "maintenance": "",
    "withheld": "",
    "output": "all well",
    "checks": {
        "readiness": {
            "kind": "http",
            "active": True,
            "health": "ok",
            "interval_s": 10.0,
            "failures": 0,
            "failures_before_critical": 3,
            "results": [
                {"at_s": 1, "health": "critical", "elapsed_ms": 9, "output": "a", "counted": False},
                {"at_s": 2, "health": "ok", "elapsed_ms": 7, "output": "b", "counted": True},
            ],
        }
    },
}


@pytest.fixture
def checked(api: CliApi, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the supervisor answers on one service; tests change it."""
    answer = dict(CHECKED)
    monkeypatch.setattr(api, "service_health", lambda name: answer, raising=False)
    return answer


def test_health_of_one_shows_its_checks_newest_first(
    sup: Sup, state_dir: Path, checked: dict[str, Any]
) -> None:
    """Verdict, kind, how long each result took, and which were not counted."""
    done = sup("health", "web")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("web ok for")
    assert "readiness (http, every 10 s): ok, 0 of 3 failures in a row" in done.out
    assert done.out.index("7 ms") < done.out.index("9 ms")
    assert "critical*" in done.out
    assert "the supervisor itself was late" in done.out


@pytest.mark.parametrize(
    ("changes", "options", "code"),
    [
        ({}, [], 0),
        ({"health": "warning"}, [], 0),
        ({"health": "warning"}, ["--strict"], 1),
        ({"health": "critical"}, [], 1),
        ({"health": "unknown"}, [], 1),
        ({"maintenance": "vacuum"}, [], 1),
    ],
)
def test_health_of_one_exit_code(
    sup: Sup,
    state_dir: Path,
    checked: dict[str, Any],
    changes: dict[str, Any],
    options: list[str],
    code: int,
) -> None:
    """Fit for use, or not: the question that scripts ask."""
    checked.update(changes)
    assert sup("health", "web", *options).code == code


def test_health_wait_ends_when_it_is_ready_or_with_5(
    sup: Sup, state_dir: Path, checked: dict[str, Any]
) -> None:
    """A script can wait for a start, bounded."""
    assert sup("health", "web", "--wait", "1").code == 0
    checked["health"] = "critical"
    done = sup("health", "web", "--wait", "0.3")
    assert done.code == ExitCode.TIMED_OUT
    assert "not ready after 0.3 s: critical" in done.err


def test_health_set_reports_and_takes_the_socket_of_the_service(
    sup: Sup, state_dir: Path, api: CliApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status and output go to the route for it; SUP_SOCKET counts unless a place is named."""
    assert sup("health", "web", "--set", "critical", "--output", "lags").code == 0
    assert api.calls[-1] == ("report", "web", {"status": "critical", "output": "lags"})
    monkeypatch.delenv("SUP_STATE_DIR", raising=False)
    monkeypatch.setenv("SUP_SOCKET", "/nonexistent/report.sock")
    assert sup("health", "web", "--set", "ok", "--state-dir", str(state_dir)).code == 0
    assert sup("health", "web", "--set", "ok").code == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "ok"],
        ["web", "--output", "x"],
        ["web", "--set", "fine"],
        ["web", "--set", "ok", "--wait", "1"],
        ["--wait", "1", "--watch"],
    ],
)
def test_health_options_that_contradict_are_bad_input(
    sup: Sup, state_dir: Path, words: list[str]
) -> None:
    """Exit 2, one line, nothing sent."""
    done = sup("health", *words)
    assert done.code == ExitCode.BAD_INPUT
    assert done.one_line()


def test_maintenance_on_and_off_send_what_was_said(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """One service or all, a reason always, a time in any unit."""
    assert sup("maintenance", "on", "web", "--reason", "vacuum", "--for", "30m").code == 0
    assert api.calls[-1] == ("maintenance on", "web", {"reason": "vacuum", "for_s": 1800.0})
    assert sup("maintenance", "on", "--all", "--reason", "kernel").code == 0
    assert api.calls[-1] == ("maintenance on", "*", {"reason": "kernel", "for_s": None})
    assert sup("maintenance", "off", "web").code == 0
    assert api.calls[-1] == ("maintenance off", "web")
    assert sup("maintenance", "list").out == "no service is in maintenance\n"


@pytest.mark.parametrize(
    "words",
    [
        ["on", "web"],
        ["on", "--reason", "x"],
        ["on", "web", "--all", "--reason", "x"],
        ["on", "web", "--reason", "x", "--for", "0"],
        ["on", "web", "--reason", "x", "--for", "30 fortnights"],
        ["off"],
    ],
)
def test_maintenance_incomplete_is_bad_input(
    sup: Sup, state_dir: Path, api: CliApi, words: list[str]
) -> None:
    """Exit 2, one line, nothing sent."""
    done = sup("maintenance", *words)
    assert (done.code, api.calls) == (ExitCode.BAD_INPUT, [])
    assert done.one_line()


def test_services_ring_local_and_unhealthy(
    sup: Sup, state_dir: Path, api: CliApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring's services with host, health and output; the filter leaves what needs a look."""
    member = {"member_id": "ab", "state": "alive", "process": "up", "health_since_s": 1}
    rows = [
        {**member, "name": "anna", "health": "ok", "output": "fine", "maintenance": ""},
        {**member, "name": "bert", "health": "critical", "output": "no route", "maintenance": ""},
        {**member, "name": "carl", "health": "ok", "output": "", "maintenance": "vacuum"},
    ]
    group = {"service": "web", "group": "default", "members": rows, "config_version": ""}
    monkeypatch.setattr(api, "census", lambda: {"groups": {"web.default": group}}, raising=False)
    done = sup("services")
    for text in ("anna", "bert", "no route", "vacuum", "web.default"):
        assert text in done.out
    bad = json.loads(sup("services", "--unhealthy", "--json").out)["services"]
    assert [row["name"] for row in bad] == ["bert", "carl"]
    api.services_now = (WEB, {**WEB, "service": "db", "health": "ok"})
    local = json.loads(sup("services", "--local", "--unhealthy", "--json").out)["services"]
    assert [row["service"] for row in local] == ["web"]
    assert "no answer on port 80" in sup("services", "--local", "--wide").out
