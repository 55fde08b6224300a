"""The demo around its story: where it works, how it speaks, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Sup

from sup import demo, demo_ring, demo_view
from sup.errors import ConflictError, ExitCode


def member(tmp_path: Path) -> demo_ring.DemoMember:
    """A member of a demo that was not started."""
    return demo_ring.DemoMember("anna", tmp_path / "anna", 1, 2, 3)


def test_free_ports_all_different() -> None:
    """No two members of a demo get the same port."""
    ports = list(demo_ring.free_ports(30))
    assert len(set(ports)) == 30


def test_package_is_the_greeter_that_ships() -> None:
    """The demo finds its package beside the code, where an installation has it too."""
    from sup.edge.package_dir import load_package

    package = load_package(demo.PACKAGE)
    assert package.plan.package.name == "greeter"
    assert {hook.name for hook in package.hooks} >= {"hooks/run", "hooks/reconfigure"}


def test_prepare_port_is_in_user_toml(tmp_path: Path) -> None:
    """What belongs to one host is in that host's layer."""
    member(tmp_path).prepare("greeter")
    assert (tmp_path / "anna/svc/greeter/user.toml").read_text() == "port = 3\n"


def test_arguments_everybody_is_a_peer(tmp_path: Path) -> None:
    """No member is special: each is told of all the others."""
    ring = demo_ring.DemoRing(3, tmp_path, package=tmp_path, service="greeter", keep=True)
    for one in ring.members:
        words = ring.arguments(one)
        peers = {words[i + 1] for i, word in enumerate(words) if word == "--peer"}
        others = {f"127.0.0.1:{m.gossip_port}" for m in ring.members if m is not one}
        assert peers == others


def test_look_again_nobody_there_is_an_empty_look(tmp_path: Path) -> None:
    """A member that is down is a fact to show, not an error."""
    assert member(tmp_path).look_again("greeter") == demo_ring.Look()


def test_state_dir_not_empty_conflict(tmp_path: Path, sup: Sup) -> None:
    """The demo removes what it made, so it never works in a directory with something in it."""
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConflictError):
        demo._directory(tmp_path)
    done = sup("demo", "--exit", "--state-dir", str(tmp_path))
    assert done.code == ExitCode.CONFLICT
    assert "not empty" in done.one_line()
    assert (tmp_path / "mine").exists()


def test_bad_package_exit_2_before_anything_is_made(tmp_path: Path, sup: Sup) -> None:
    """A package that can't be loaded is one line."""
    done = sup("demo", "--exit", "--package", str(tmp_path), "--state-dir", str(tmp_path / "s"))
    assert done.code == ExitCode.BAD_INPUT
    assert "plan.toml" in done.one_line()
    assert not (tmp_path / "s").exists()


@pytest.fixture
def broken_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m sup`` of the children ends at once with a message."""
    (tmp_path / "broken/sup").mkdir(parents=True)
    (tmp_path / "broken/sup/__main__.py").write_text("raise SystemExit('no luck today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    monkeypatch.setattr(demo_ring.DemoRing, "_end_service", lambda *_: None)


def test_supervisor_ends_fails_with_its_words_and_no_trace(
    broken_supervisor: None, tmp_path: Path, sup: Sup
) -> None:
    """A supervisor that does not stay is the reason; its log is shown; its directory is gone."""
    state = tmp_path / "state"
    done = sup("demo", "--exit", "--state-dir", str(state))
    assert done.code == ExitCode.FAILED
    assert "anna | no luck today" in done.err
    assert "ended with exit code 1" in done.err.splitlines()[-1]
    assert not state.exists()


def test_supervisor_ends_json_says_why(broken_supervisor: None, tmp_path: Path, sup: Sup) -> None:
    """Programs get the reason as the last line."""
    done = sup("demo", "--exit", "--json", "--state-dir", str(tmp_path / "state"))
    last = json.loads(done.out.splitlines()[-1])
    assert last["result"] == "failed"
    assert last["logs"]["anna"] == ["no luck today"]


def test_keep_keeps_the_logs(broken_supervisor: None, tmp_path: Path, sup: Sup) -> None:
    """``--keep`` leaves everything, and says where."""
    state = tmp_path / "state"
    done = sup("demo", "--exit", "--keep", "--state-dir", str(state))
    assert str(state) in done.err
    assert "no luck today" in (state / "anna/supervisor.log").read_text()


SLEEPERS = """
import subprocess, sys
from pathlib import Path
from sup import demo_ring
with demo_ring.ending_signals():
    try:
        here = Path(sys.argv[1])
        ring = demo_ring.DemoRing(3, here, package=Path("."), service="x", keep=False)
        with ring:
            ring.prepare()
            for member in ring.members:
                member.start(["--help"])
                member.process.wait()
                member.process = subprocess.Popen(["sleep", "60"])
            print(*(member.process.pid for member in ring.members), flush=True)
            import time
            time.sleep(60)
    except demo_ring.EndedBySignal as ended:
        print(ended)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_children_and_removes_files(tmp_path: Path, number: signal.Signals) -> None:
    """However it is ended, and however impatiently, nothing is left."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPERS, str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        process.send_signal(number)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert out.strip() == number.name
    assert not (tmp_path / "state").exists()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_live_view_shows_every_member(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names each member with what is known; markup in data is shown, not obeyed."""
    from rich.console import Console

    one = member(tmp_path)
    one.look = demo_ring.Look(
        answers=True,
        sees={"anna": "alive", "bert": "suspect"},
        process="up",
        health="critical",
        config_version="0660e5e27f445b0000-da95c6db",
        greeting="[red]Hi",
    )
    Console(width=80).print(demo_view._table([one]))
    out = capsys.readouterr().out
    for text in ("anna running", "1 alive, 1 suspect", "up", "critical", "da95c6db", "[red]Hi"):
        assert text in out


def test_plain_view_numbers_and_times_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe each step is a title, its facts and its time, without escape codes."""
    view = demo_view.make_view(as_json=False)
    step = demo_view.Step("They meet", ["all alive"], 1.26)
    view.begin(step)
    view.done(step)
    out = capsys.readouterr().out
    assert out == "1. They meet\n     all alive\n   done in 1.3 s\n"


@pytest.mark.e2e
def test_demo_whole_story_ends_with_0_and_no_trace(tmp_path: Path) -> None:
    """The main job: seven steps in under a minute, and no process or file is left."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    state = tmp_path / "d"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sup", "demo", "--exit", "--json", "--state-dir", str(state)],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, lines[-1]["result"]) == (0, "ok"), done.stdout + done.stderr
    assert len([line for line in lines if "step" in line]) == 7
    assert time.monotonic() - start < 60
    assert not state.exists()
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(state) not in left
