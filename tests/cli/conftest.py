"""A supervisor of answers behind a real gateway in a thread; the command line in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.gateway.fake_supervisor import FakeApi

from sup.cli import run_command_line
from sup.gateway import Gateway


class CliApi(FakeApi):
    """Answers of the shape that a supervisor of three members gives."""

    applied = 3
    total = 3
    services_now: tuple[dict[str, Any], ...] = ()

    def status(self) -> dict[str, Any]:
        return {
            "version": "0.1.0",
            "member_id": "0123456789abcdef0123456789abcdef",
            "name": "anna",
            "ring": "default",
            "advertise": "127.0.0.1:9638",
            "state_dir": "/var/lib/sup",
            "uptime_s": 200,
            "members": {"alive": 2, "suspect": 0, "dead": 1, "left": 0},
            "services": list(self.services_now),
            "plugins": [{"name": "standalone", "distribution": "sup-ring", "version": "0.1.0"}],
            "local_health": 0,
            "peers": [],
            "warnings": ["peer db does not resolve"],
        }

    def why(self, member: str) -> dict[str, Any]:
        row = {"at_s": 1.0, "what": "dead at incarnation 0: last check failed", "by": "00ff"}
        said = [{**row, "by_name": "anna"}] if member == "bert" else []
        return {"name": member, "id": "bb", "state": "dead", "why": said}

    def members(self) -> dict[str, Any]:
        member = {"id": "ab" * 16, "epoch": 1, "incarnation": 0, "since_s": 0, "version": 1}
        return {
            "members": [
                {
                    **member,
                    "name": "anna",
                    "address": "10.0.0.1:1",
                    "state": "alive",
                    "local": True,
                },
                {
                    **member,
                    "name": "bert",
                    "address": "10.0.0.2:1",
                    "state": "dead",
                    "local": False,
                },
            ]
        }

    def services(self) -> dict[str, Any]:
        return {"services": list(self.services_now)}

    def census(self) -> dict[str, Any]:
        group = {"service": "web", "group": "default", "members": [], "config_version": "v1"}
        return {"groups": {"web.default": group}}

    def group_config(self, group: str) -> dict[str, Any]:
        return {
            "group": group,
            "version": self.versions.get(group, ""),
            "config": {"a": 1, "t": {"b": "x"}},
            "author": "anna",
            "stamp_s": 1,
            "applied": {"total": self.total, "count": self.applied, "members": []},
        }


WEB = {
    "service": "web",
    "group": "default",
    "desired": "up",
    "process": "up",
    "pid": 42,
    "since_s": 0,
    "health": "critical",
    "health_since_s": 0,
    "output": "no answer\non port 80",
    "restarts": 1,
    "last_exit": None,
    "reason": "",
    "package": "core/web/1",
    "topology": "standalone",
    "strategy": "none",
    "config_version": "",
    "pending": "",
}


@dataclass
class Done:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def one_line(self) -> str:
        """The error, after checking that it is one line and that stdout is empty."""
        assert self.out == ""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


Sup = Callable[..., Done]


@pytest.fixture
def sup(capsys: pytest.CaptureFixture[str]) -> Sup:
    """Run a command line in this process, as ``main`` does."""

    def run(*args: str) -> Done:
        capsys.readouterr()
        code = run_command_line(args)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def api() -> CliApi:
    """The supervisor behind ``state_dir``."""
    return CliApi()


@pytest.fixture
def state_dir(api: CliApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory whose control socket answers for ``api``; every command asks there."""
    ready = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        gateway = Gateway(api, http=None, unix_path=tmp_path / "control.sock")
        await gateway.open()
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        await gateway.close()

    def body() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(10)
    monkeypatch.setenv("SUP_STATE_DIR", str(tmp_path))
    yield tmp_path
    loop, stop = loops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
