"""``sup logs``: what it prints, how it follows, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import WEB, CliApi, Sup

from sup.errors import ExitCode

STAMP = "2026-11-22T21:47:{:02}.000000Z"


@pytest.fixture
def logs(api: CliApi, state_dir: Path) -> dict[str, Path]:
    """Logs of two services, each with lines of its own seconds."""
    found = {}
    for index, name in enumerate(("db", "web")):
        log = state_dir / name / f"{name}.log"
        log.parent.mkdir()
        log.write_text("".join(f"{STAMP.format(2 * n + index)} {name} {n}\n" for n in range(5)))
        api.logs_of[name] = log.parent
        found[name] = log
    api.services_now = tuple({**WEB, "service": name} for name in found)
    return found


class Following:
    """A ``sup logs`` of its own process."""

    def __init__(self, *args: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sup", "logs", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def follow() -> Iterator[Callable[..., Following]]:
    """Start followers; all are ended."""
    started: list[Following] = []

    def start(*args: str) -> Following:
        started.append(Following(*args))
        return started[-1]

    yield start
    for following in started:
        following.end()


def test_logs_of_one_service_are_its_lines(sup: Sup, logs: dict[str, Path]) -> None:
    """Line by line as in the file, without the name."""
    assert (
        sup("logs", "-n", "2", "web").out == f"{STAMP.format(7)} web 3\n{STAMP.format(9)} web 4\n"
    )


def test_logs_of_several_are_in_the_order_of_time(sup: Sup, logs: dict[str, Path]) -> None:
    """Without names all services, each line with its service before it."""
    lines = sup("logs").out.splitlines()
    assert lines[:3] == [
        f"db  {STAMP.format(0)} db 0",
        f"web {STAMP.format(1)} web 0",
        f"db  {STAMP.format(2)} db 1",
    ]
    assert len(lines) == 10


def test_logs_span_is_asked_of_the_supervisor(sup: Sup, logs: dict[str, Path]) -> None:
    """``--since`` and ``--until`` choose by the stamps."""
    done = sup("logs", "--since", STAMP.format(3), "--until", STAMP.format(5), "web")
    assert [line[-5:] for line in done.out.splitlines()] == ["web 1", "web 2"]


def test_logs_control_characters_are_shown_and_not_sent(sup: Sup, logs: dict[str, Path]) -> None:
    """A service can't steer the terminal, unless the operator asks for the bytes."""
    logs["web"].write_bytes(STAMP.format(1).encode() + b" \x1b[2J\xff\x7f\n")
    assert sup("logs", "web").out == STAMP.format(1) + " \\u001b[2J\\xff\\u007f\n"


def test_logs_raw_are_the_bytes_of_the_file(logs: dict[str, Path]) -> None:
    """``--raw`` changes nothing."""
    data = STAMP.format(1).encode() + b" \x1b[2J\xff\x7f\n"
    logs["web"].write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "sup", "logs", "--raw", "web"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == data


def test_logs_json_is_one_object_per_line(sup: Sup, logs: dict[str, Path]) -> None:
    """For ``jq``; what a terminal could be steered with is escaped in it."""
    logs["web"].write_bytes(STAMP.format(1).encode() + "+a\x9b\u202e\n".encode())
    out = sup("logs", "--json", "web").out
    assert json.loads(out) == {
        "time": STAMP.format(1), "service": "web", "text": "a\x9b\u202e", "continues": True
    }  # fmt: skip
    assert out.isascii()


def test_logs_unknown_service_is_one_line(sup: Sup, logs: dict[str, Path]) -> None:
    """The answer's own words and code."""
    done = sup("logs", "nope")
    assert done.code == ExitCode.FAILED
    assert "no service nope" in done.one_line()


def test_logs_bad_time_is_one_line(sup: Sup, logs: dict[str, Path]) -> None:
    """How a time is written, and exit code 2."""
    done = sup("logs", "--since", "soon", "web")
    assert done.code == ExitCode.BAD_INPUT
    assert "is not a time; write 2026" in done.one_line()


@pytest.mark.parametrize("args", [("--raw", "--json"), ("--follow", "--until", "1h")])
def test_logs_contradictions_are_refused(sup: Sup, args: tuple[str, ...]) -> None:
    """Two options that can't both be meant."""
    assert sup("logs", *args).code == ExitCode.BAD_INPUT


def test_logs_follow_prints_what_comes_and_ends_on_interrupt(
    logs: dict[str, Path], follow: Callable[..., Following]
) -> None:
    """Ctrl-C ends it with the code of shells; a line end follows the ^C, and no word."""
    following = follow("-f", "-n", "1", "web")
    assert following.line().endswith("web 4")
    with logs["web"].open("a") as file:
        file.write(f"{STAMP.format(30)} more\n")
    assert following.line().endswith("more")
    following.process.send_signal(signal.SIGINT)
    _, error = following.process.communicate(timeout=20)
    assert (following.process.returncode, error.strip()) == (130, b"")


def test_logs_follow_of_several_ends_when_they_are_unloaded(
    logs: dict[str, Path], api: CliApi, follow: Callable[..., Following]
) -> None:
    """Each stream has its last words, and the command ends with success."""
    following = follow("-f", "-n", "1", "db", "web")
    assert {following.line()[-4:] for _ in range(2)} == {"db 4", "eb 4"}
    api.logs_of.clear()
    output, error = following.process.communicate(timeout=20)
    assert output.count(b"!sup: service unloaded") == 2
    assert (following.process.returncode, error) == (0, b"")


def test_logs_follow_ends_when_the_reader_of_its_pipe_has_gone(
    logs: dict[str, Path], follow: Callable[..., Following]
) -> None:
    """``sup logs -f web | head -1`` ends though no further line comes."""
    following = follow("-f", "-n", "1", "web")
    assert following.line().endswith("web 4")
    assert following.process.stdout is not None
    following.process.stdout.close()
    assert following.process.wait(20) == 0


def test_logs_completion_offers_services(
    logs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, sup: Sup
) -> None:
    """Names come from the running supervisor."""
    monkeypatch.setenv("COMP_WORDS", "sup logs -f w")
    monkeypatch.setenv("COMP_CWORD", "3")
    done = subprocess.run(
        [sys.executable, "-m", "sup"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "_SUP_COMPLETE": "bash_complete",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "web" in done.stdout


def test_logs_member_is_asked_at_its_gossiped_address(
    sup: Sup, logs: dict[str, Path], api: CliApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is what its services' rumors say; without one the error says what to do."""
    row = {
        "name": "bert",
        "member_id": "bb",
        "sys": {"http_gateway_ip": "", "http_gateway_port": 0},
    }
    census = {"groups": {"web.default": {"members": [row]}}}
    monkeypatch.setattr(api, "census", lambda: census)
    assert "--listen-http" in sup("logs", "--member", "bert", "web").one_line()
    assert "no member of the name or id 'carl'" in sup("logs", "--member", "carl", "web").one_line()
    row["sys"] = {"http_gateway_ip": "127.0.0.1", "http_gateway_port": 9}
    done = sup("logs", "--member", "bert", "web")
    assert done.code == ExitCode.UNREACHABLE
    assert "http://127.0.0.1:9" in done.one_line()


def test_logs_follow_survives_the_end_of_its_supervisor(tmp_path: Path) -> None:
    """Another supervisor on the same socket goes on where the first ended: no line twice."""
    program = """
import asyncio, sys, threading, time
from pathlib import Path
from tests.gateway.fake_supervisor import FakeApi
from sup.gateway import Gateway

async def main(directory):
    api = FakeApi(logs_of={"web": directory})
    for _ in range(3):
        gateway = Gateway(api, http=None, unix_path=directory / "control.sock")
        await gateway.open()
        await asyncio.sleep(1.5)
        await gateway.close()
asyncio.run(main(Path(sys.argv[1])))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    log = tmp_path / "web.log"
    log.write_text(f"{STAMP.format(0)} 0\n{STAMP.format(0)} 0b\n")
    supervisor = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment)
    try:
        deadline = time.monotonic() + 10
        while not (tmp_path / "control.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        following = subprocess.Popen(
            [sys.executable, "-m", "sup", "logs", "-f", "--state-dir", str(tmp_path), "web"],
            env=environment,
            stdout=subprocess.PIPE,
        )
        try:
            for number in range(1, 30):
                time.sleep(0.1)
                with log.open("a") as file:
                    file.write(f"{STAMP.format(number)} {number}\n")
            assert following.stdout is not None
            found = [following.stdout.readline().split()[1].decode() for _ in range(31)]
        finally:
            following.kill()
            following.communicate()
    finally:
        supervisor.kill()
        supervisor.wait()
    assert found == ["0", "0b", *map(str, range(1, 30))]


def test_follow_quiet_for_longer_than_an_answer_may_take_goes_on(
    logs: dict[str, Path], state_dir: Path
) -> None:
    """A service that says nothing for a while is no supervisor that does not answer."""
    code = "import sup.cli.client as c; c.READ_SECONDS = 1.0; import sup.cli as s"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; s.main(['logs', '-f', '-n', '1', 'web'])"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(b"web 4\n")
        time.sleep(2.5)
        with logs["web"].open("a") as log:
            log.write(f"{STAMP.format(30)} web late\n")
        assert process.stdout.readline().endswith(b"web late\n")
    finally:
        process.kill()
        process.communicate()
