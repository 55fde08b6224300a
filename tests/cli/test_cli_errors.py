"""Errors of the command line: one line, the right exit code, what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import CliApi, Sup

from sup.cli import INTERRUPTED
from sup.errors import ExitCode


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("statu",), "'status'"),
        (("config", "shwo", "a.b"), "see 'sup config --help'"),
        (("status", "--jsn"), "--json"),
        (("stop",), "NAME"),
        (("config", "apply", "a.b", "-", "--wait", "soon"), "soon"),
        (("config", "apply", "a.b", "-", "--wait", "nan"), "nan"),
        (("run", "--pause-tolerance", "nan"), "nan"),
        (("run", "--pause-tolerance", "-1s"), "0.0<=x<=3600.0"),
        (("run", "--pause-tolerance", "2h"), "write 2, 2s or 500ms"),
        (("run", "--profile", "moon"), "'lan', 'wan', 'local'"),
        (("run", "--group", "x"), "--exec"),
        (("run", "--exec", "true"), "--name"),
        (("run", ".", "--exec", "true"), "not both"),
        (("run", ".", "--name", "x"), "--exec"),
        (("start",), "package directory"),
        (("demo", "--members", "1"), "3<=x<=9"),
    ],
)
def test_usage_error_one_line_exit_2(sup: Sup, args: tuple[str, ...], hint: str) -> None:
    """Misuse names the mistake, the nearest right word where there is one, and the help."""
    done = sup(*args)
    assert done.code == ExitCode.BAD_INPUT
    assert hint in done.one_line()
    assert "--help'" in done.err


@pytest.mark.parametrize("args", [("config", "show", ""), ("stop", ""), ("depart", "")])
def test_empty_name_exit_2(sup: Sup, args: tuple[str, ...]) -> None:
    """A shell variable that is not set is the operator's mistake, not another path of the REST
    interface.
    """
    done = sup(*args)
    assert done.code == ExitCode.BAD_INPUT
    assert "empty" in done.one_line()


@pytest.mark.parametrize("args", [(), ("config",), ("plugin",)])
def test_command_missing_shows_the_help_exit_2(sup: Sup, args: tuple[str, ...]) -> None:
    """Without a command the help is the answer, in its own lines, but not a success."""
    done = sup(*args)
    assert (done.code, done.out) == (ExitCode.BAD_INPUT, "")
    assert "\nCommands:\n" in done.err


@pytest.mark.parametrize(
    "args",
    [
        ("status",),
        ("members", "--json"),
        ("stop", "web"),
        ("start", "web"),
        ("config", "show", "a.b"),
        ("depart", "bert"),
    ],
)
def test_no_supervisor_exit_3_says_what_to_do(
    sup: Sup, tmp_path: Path, args: tuple[str, ...]
) -> None:
    """Nobody there: which directory was asked, and how to start or to ask elsewhere."""
    done = sup(*args, "--state-dir", str(tmp_path))
    assert done.code == ExitCode.UNREACHABLE
    line = done.one_line()
    assert str(tmp_path) in line
    assert "sup run" in line


def test_no_supervisor_at_address_exit_3(sup: Sup) -> None:
    """The same over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = sup("status", "--address", f"http://127.0.0.1:{port}")
    assert done.code == ExitCode.UNREACHABLE
    assert f"127.0.0.1:{port}" in done.one_line()


@pytest.mark.parametrize("address", ["https://x", "http://", "http://x:port", "http://x/v1", "://"])
def test_bad_address_exit_2(sup: Sup, address: str) -> None:
    """An address of another form is refused before anything is asked."""
    done = sup("status", "--address", address)
    assert done.code == ExitCode.BAD_INPUT
    assert "http://HOST:PORT" in done.one_line()


def test_not_a_supervisor_exit_3(sup: Sup) -> None:
    """Something else that listens there is recognised."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = sup("status", "--address", f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert done.code == ExitCode.UNREACHABLE
    done.one_line()


def test_state_dir_on_the_line_beats_address_of_the_environment(
    sup: Sup, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed wins; both typed is a mistake."""
    monkeypatch.setenv("SUP_ADDRESS", "http://127.0.0.1:1")
    assert sup("status").code == ExitCode.UNREACHABLE
    assert sup("status", "--state-dir", str(state_dir)).code == ExitCode.OK
    both = sup("status", "--state-dir", str(state_dir), "--address", "http://127.0.0.1:1")
    assert both.code == ExitCode.BAD_INPUT


def test_supervisor_refuses_its_words_and_code(sup: Sup, state_dir: Path) -> None:
    """The supervisor's one line is what the operator sees, with its exit code."""
    done = sup("restart", "web")
    assert (done.code, done.one_line()) == (ExitCode.FAILED, "sup: no service web; loaded: none")
    assert sup("stop", "web", "--unload").code == ExitCode.TIMED_OUT


def test_broken_pipe_quiet(state_dir: Path, api: CliApi) -> None:
    """``sup members | head`` says nothing and does not fail."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = f"{sys.executable} -m sup members --state-dir {state_dir} --watch"
    script = f"{command} | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=30, env=environment
    )
    assert (done.stderr, done.stdout) == ("", "N")


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ("| head -c 0", 0, ""),
        (">/dev/full", ExitCode.FAILED, "sup: can't write the output: No space left on device\n"),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_output_that_goes_nowhere_no_traceback(
    state_dir: Path, api: CliApi, end: str, code: int, words: str
) -> None:
    """A reader that never reads, a full disk, closed streams: the right code, a line at most."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = (
        f"{sys.executable} -m sup members --state-dir {state_dir} {end}; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=30, env=environment
    )
    assert (done.returncode, done.stderr, done.stdout) == (code, words, "")


def test_interrupt_exit_130_quiet(state_dir: Path) -> None:
    """Ctrl-C during --watch is 130 and no traceback."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-m", "sup", "status", "--watch", "--state-dir", str(state_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Whoever runs the tests in the background of a shell has SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    assert err.strip() == ""
