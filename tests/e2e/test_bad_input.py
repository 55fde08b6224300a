"""What an operator gets wrong: one clear line, the right exit code, and nothing lost or
half-applied.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.supervisors import SUP, Supervisor, supervisors, wait_for

from sup.errors import ExitCode

pytestmark = pytest.mark.e2e

PLAN = """\
[package]
origin = "test"
name = "sleeper"
version = "1"

[exports]
port = "port"

[service]
stop_timeout = 2
"""


@pytest.fixture
def package(tmp_path):
    """A package whose service sleeps and which renders one file."""
    directory = tmp_path / "sleeper"
    (directory / "hooks").mkdir(parents=True)
    (directory / "config").mkdir()
    (directory / "plan.toml").write_text(PLAN)
    (directory / "default.toml").write_text('port = 1\ngreeting = "hello"\n')
    (directory / "config" / "app.conf").write_text("greeting={{cfg.greeting}}\nport={{cfg.port}}\n")
    run = directory / "hooks" / "run"
    run.write_text("#!/bin/sh\nexec sleep 3600\n")
    run.chmod(0o755)
    return directory


def member(state_dir: Path, port: int, *args: str) -> Supervisor:
    return Supervisor(
        state_dir, "--listen-gossip", f"127.0.0.1:{port}", "--listen-http", "off", *args
    )


def show(one: Supervisor) -> dict[str, Any]:
    answer = one.json("config", "show", "sleeper.default")
    assert answer is not None
    return answer


def run_fails(state_dir: Path, *args: str, port: int = 0) -> tuple[int, str]:
    """``sup run`` that must end by itself: exit code and stderr."""
    done = subprocess.run(
        [
            *SUP,
            *("run", "--state-dir", str(state_dir), "--listen-http", "off"),
            *("--listen-gossip", f"127.0.0.1:{port}", *args),
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.returncode, done.stderr


def assert_one_line(stderr: str, *words: str) -> None:
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    for word in words:
        assert word in lines[0], stderr


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "plan.toml").write_text("[package\n"), ("plan.toml:1",)),
        (
            lambda d: (d / "plan.toml").write_text(PLAN.replace("= 2", '= "two"')),
            ("plan.toml", "stop_timeout"),
        ),
        (
            lambda d: (d / "plan.toml").write_text(PLAN.replace("stop_timeout", "stop_timeuot")),
            ("plan.toml", "stop_timeuot", "stop_timeout"),
        ),
        (lambda d: (d / "default.toml").write_text("port = \n"), ("default.toml:1",)),
        (lambda d: (d / "hooks" / "run").chmod(0o644), ("hooks/run", "chmod +x")),
        (
            lambda d: (d / "config" / "app.conf").write_text("one\n{{#if cfg.port}}\n"),
            ("app.conf:", "if"),
        ),
        (
            lambda d: (d / "config" / "app.conf").write_text("one\n{{cfg.greating}}\n"),
            ("app.conf:2", "cfg.greating", "cfg.greeting"),
        ),
        (lambda d: shutil.rmtree(d), ("sleeper",)),
    ],
    ids=[
        "toml",
        "type",
        "unknown-key",
        "default-toml",
        "hook-bit",
        "template",
        "variable",
        "absent",
    ],
)
def test_run_bad_package_is_one_line_and_exit_2(package, tmp_path, spoil, words):
    """A package that can't be loaded ends ``sup run`` before it touches the state directory."""
    spoil(package)
    code, stderr = run_fails(tmp_path / "state", str(package))
    assert code == ExitCode.BAD_INPUT, stderr
    assert_one_line(stderr, *words)
    assert not (tmp_path / "state" / "specs").exists()


def test_run_unknown_plugin_is_one_line_that_lists_what_is_installed(tmp_path):
    """A typo in --plugin names what could have been meant."""
    code, stderr = run_fails(tmp_path / "state", "--plugin", "leadre")
    assert code == ExitCode.BAD_INPUT
    assert_one_line(stderr, "leadre", "installed")


def test_run_bad_addresses_are_one_line_and_exit_2(tmp_path):
    """Addresses are checked before anything is opened."""
    for args in (("--peer", "host:notaport"), ("--peer", "h:70000"), ("--advertise", "1.2.3.4:x")):
        code, stderr = run_fails(tmp_path / "state", *args)
        assert code == ExitCode.BAD_INPUT, (args, stderr)
        assert_one_line(stderr, args[1])


def test_run_taken_port_lock_and_foreign_ring_are_one_line_and_exit_4(tmp_path, ports):
    """A port in use, a second supervisor on one state directory, a state directory of another
    ring.
    """
    first = member(tmp_path / "a", ports[0])
    with supervisors(first):
        wait_for("first is up", lambda: first.alive_members() == 1)
        code, stderr = run_fails(tmp_path / "b", port=ports[0])
        assert code == ExitCode.CONFLICT, stderr
        assert_one_line(stderr, str(ports[0]), "in use")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            http = f"127.0.0.1:{taken.getsockname()[1]}"
            code, stderr = run_fails(tmp_path / "b", "--listen-http", http)
        assert code == ExitCode.CONFLICT, stderr
        assert_one_line(stderr, http, "in use")
        code, stderr = run_fails(tmp_path / "a", port=ports[1])
        assert code == ExitCode.CONFLICT, stderr
        assert_one_line(stderr, str(first.pid))
        assert first.alive_members() == 1, "the first one goes on"
        assert first.terminate() == 0
    code, stderr = run_fails(tmp_path / "a", "--ring", "other", port=ports[1])
    assert code == ExitCode.CONFLICT, stderr
    assert_one_line(stderr, "other", "default")


def test_run_unknown_peer_name_warns_once_and_goes_on(tmp_path, ports):
    """A name that does not resolve is one warning, not an end: it is tried again for ever."""
    lonely = member(tmp_path / "a", ports[0], "--peer", "no-such-host.invalid")
    with supervisors(lonely):
        wait_for("up", lambda: lonely.alive_members() == 1)
        wait_for("the warning", lambda: "no-such-host.invalid" in lonely.log.read_text())
        assert lonely.terminate() == 0
    lines = [line for line in lonely.log.read_text().splitlines() if "no-such-host" in line]
    assert len(lines) == 1, lines


def test_config_apply_bad_input_changes_nothing(package, tmp_path, ports):
    """Bad TOML, a wrong type, a failed compare-and-set: one line each, the old value everywhere."""
    one = member(tmp_path / "a", ports[0], str(package))
    rendered = tmp_path / "a" / "svc" / "sleeper" / "config" / "app.conf"
    with supervisors(one):
        wait_for("service is up", lambda: one.service("sleeper").get("process") == "up")
        good = one.sup("config", "apply", "sleeper.default", "-", stdin='greeting = "hi"\n')
        assert good.returncode == 0, good.stderr
        wait_for("applied", lambda: show(one)["applied"]["count"] == 1)
        assert "greeting=hi" in rendered.read_text()
        before = (show(one), rendered.read_bytes())
        cases = (
            ("greeting = \n", (), ExitCode.BAD_INPUT, "1"),
            ('port = "eighty"\n', (), ExitCode.BAD_INPUT, "port"),
            ("greeting = 'x'\n", ("--if-version", "bogus"), ExitCode.CONFLICT, "version"),
            ("x = '" + "y" * 70_000 + "'\n", (), ExitCode.BAD_INPUT, "65536"),
        )
        for toml, args, code, word in cases:
            done = one.sup("config", "apply", "sleeper.default", "-", *args, stdin=toml)
            assert done.returncode == code, (toml[:40], done.stderr)
            assert_one_line(done.stderr, word)
        done = one.sup("config", "apply", "not a group", "-", stdin="a = 1\n")
        assert done.returncode == ExitCode.BAD_INPUT
        assert_one_line(done.stderr, "not a group")
        assert (show(one), rendered.read_bytes()) == before


def test_commands_without_a_supervisor_say_what_to_do_and_exit_3(tmp_path):
    """No supervisor: one line with the socket that was tried."""
    for command in (("status",), ("members",), ("config", "show", "a.b"), ("stop", "a")):
        done = subprocess.run(
            [*SUP, *command, "--state-dir", str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == ExitCode.UNREACHABLE, done
        assert_one_line(done.stderr, str(tmp_path))


def test_start_of_a_program_that_is_not_there_says_so_and_keeps_trying(tmp_path, ports):
    """``sup start`` does not call started what could not be started."""
    one = member(tmp_path / "a", ports[0])
    with supervisors(one):
        wait_for("up", lambda: one.alive_members() == 1)
        done = one.sup("start", "--exec", "no-such-program", "--name", "nope")
        assert done.returncode == ExitCode.FAILED
        assert_one_line(done.stderr, "nope", "no-such-program", "No such file")
        assert one.service("nope")["process"] == "backoff"
