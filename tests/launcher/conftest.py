"""Shared by the tests of the launcher: a real launcher with a test in the supervisor's place."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import sup.launcher
from sup.edge.process_tree import find_marked, kill_marked, read_stat

MAIN = Path(sup.launcher.__file__).with_name("__main__.py")
MARK = f"launchertest.{os.getpid()}"
ENVIRONMENT = {"PATH": os.environ["PATH"]}


def until(condition: Callable[[], object], seconds: float = 15.0) -> Any:
    """Wait until ``condition`` holds and return its value; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)
    return found


def gone(pid: int) -> bool:
    """Whether the process is dead or no more."""
    stat = read_stat(pid)
    return stat is None or stat.dead


# The launcher's supervisor in these tests: it hands its end of the socket to the test and sleeps.
PUPPET = """
import os, socket, sys, time
relay = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
relay.connect(sys.argv[1])
fd = int(os.environ["SUP_LAUNCHER_FD"])
socket.send_fds(relay, [str(os.getpid()).encode()], [fd])
os.close(fd)
relay.recv(1)
os._exit(int(relay.recv(16) or b"0"))
"""


class Puppet:
    """One supervisor that the launcher started: its pid, and the test's end of its socket."""

    def __init__(self, relay: socket.socket) -> None:
        self._relay = relay
        relay.settimeout(20)
        data, fds, _, _ = socket.recv_fds(relay, 64, 1)
        self.pid = int(data)
        self.sock = socket.socket(fileno=fds[0])
        self.sock.settimeout(20)
        self.events: list[dict[str, Any]] = []
        self._number = 0

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer; events on the way are kept."""
        self._number += 1
        self.sock.send(msgspec.msgpack.encode({"id": self._number, "do": do, **fields}))
        return self.answer(self._number)

    def tell(self, do: str, **fields: Any) -> None:
        self.sock.send(msgspec.msgpack.encode({"do": do, **fields}))

    def answer(self, number: int) -> dict[str, Any]:
        while True:
            message = self._receive()
            if message.get("id") == number:
                return message
            self.events.append(message)

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name, waited for."""
        while True:
            for at, message in enumerate(self.events):
                if message.get("event") == name:
                    return self.events.pop(at)
            self.events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        data = self.sock.recv(1 << 20)
        assert data, "the launcher has closed the connection"
        message = msgspec.msgpack.decode(data)
        assert isinstance(message, dict)
        return message

    def spawn(self, name: str, script: str, place: Path, **fields: Any) -> dict[str, Any]:
        """Start ``sh -c script`` as the service ``name``, in and with its log below ``place``."""
        logs = place / name / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        mark = fields.pop("mark", f"{MARK}.{name}.1")
        environment = {**ENVIRONMENT, "SUP_INSTANCE": mark}
        request = {
            "name": name,
            "argv": [b"/bin/sh", b"-c", script.encode()],
            "environment": [f"{k}={v}".encode() for k, v in environment.items()],
            "directory": os.fsencode(place),
            "mark": mark,
            "log": {"directory": str(logs), "name": name},
            **fields,
        }
        return self.ask("spawn", **request)

    def die(self) -> None:
        """SIGKILL, and the test's end closed, too: the launcher sees both."""
        os.kill(self.pid, signal.SIGKILL)
        self.close()

    def exit(self, code: int) -> None:
        """Exit with a code of its own accord."""
        self._relay.send(b"x")
        self._relay.send(str(code).encode())
        self.sock.close()

    def close(self) -> None:
        self.sock.close()
        self._relay.close()


class RealLauncher:
    """A launcher process; ``puppet`` is the next supervisor that it starts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state_dir = directory / "state"
        self.state_dir.mkdir(exist_ok=True)
        (directory / "puppet.py").write_text(PUPPET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(directory / "relay"))
        self._listener.listen(8)
        self._puppets: list[Puppet] = []
        self.log = directory / "launcher.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        *,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> RealLauncher:
        command = command or [
            *(sys.executable, "-I", "-S", str(self.directory / "puppet.py")),
            str(self.directory / "relay"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *prefix,
                    *(sys.executable, "-I", "-S", str(MAIN), "--state-dir", str(self.state_dir)),
                    *("--", *command),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**ENVIRONMENT, "SUP_CGROUP": "off", **(environment or {})},
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def puppet(self, seconds: float = 20.0) -> Puppet:
        """The next supervisor that the launcher starts, waited for."""
        ready, _, _ = select.select([self._listener], [], [], seconds)
        assert ready, f"no supervisor was started: {self.log.read_text()}"
        found = Puppet(self._listener.accept()[0])
        self._puppets.append(found)
        return found

    def ready(self) -> Puppet:
        """The next supervisor, after hello and ready."""
        puppet = self.puppet()
        assert puppet.ask("hello", protocol=1, version="test")["protocol"] == 1
        assert puppet.ask("ready", version="test") == {"id": 2, "ok": True}
        return puppet

    def wait(self, seconds: float = 20.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for puppet in self._puppets:
            with contextlib.suppress(ProcessLookupError):
                stat = read_stat(puppet.pid)
                if stat is not None and not stat.dead:
                    os.kill(puppet.pid, signal.SIGKILL)
            puppet.close()
        self._listener.close()


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[RealLauncher]:
    """A launcher that is not started yet; nothing of it or its services is left afterwards."""
    one = RealLauncher(tmp_path)
    try:
        yield one
    finally:
        one.close()
        kill_marked(MARK)
        assert find_marked(MARK) == []
