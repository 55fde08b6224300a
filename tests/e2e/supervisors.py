"""Real supervisors as child processes of a test, and nothing left of them afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SUP = [sys.executable, "-m", "sup"]


def wait_for(what: str, condition: Callable[[], object], timeout_s: float = 15.0) -> Any:
    """Poll ``condition`` until it is true and return its value; AssertionError after
    ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    value = condition()
    while not value:
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what} (last: {value!r})"
        time.sleep(0.05)
        value = condition()
    return value


class Supervisor:
    """One ``sup run`` with a state directory of its own; ``prefix`` puts it on another host."""

    def __init__(self, state_dir: Path, *args: str, prefix: Sequence[str] = ()) -> None:
        self.state_dir = state_dir
        self.args = args
        self.prefix = list(prefix)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = state_dir.with_suffix(".log")

    def start(self) -> Supervisor:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *SUP, "run", "--state-dir", str(self.state_dir), *self.args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def sup(
        self, *args: str, timeout_s: float = 20, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the CLI against this supervisor."""
        return subprocess.run(
            [*self.prefix, *SUP, *args, "--state-dir", str(self.state_dir)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=stdin,
        )

    def json(self, *args: str) -> dict[str, Any] | None:
        """The ``--json`` answer of a command, or None while the supervisor does not answer."""
        done = self.sup(*args, "--json")
        if done.returncode != 0:
            return None
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def alive_members(self) -> int:
        answer = self.json("members") or {"members": []}
        return sum(member["state"] == "alive" for member in answer["members"])

    def service(self, name: str) -> dict[str, Any]:
        answer = self.json("services", "--local") or {"services": []}
        return next((s for s in answer["services"] if s["service"] == name), {})

    def launcher(self) -> dict[str, Any]:
        """What the launcher says of itself and its supervisor; empty before it has."""
        try:
            found = json.loads((self.state_dir / "launcher.json").read_text())
        except (OSError, ValueError):
            return {}
        assert isinstance(found, dict)
        return found

    def kill(self) -> None:
        """SIGKILL the supervisor and its launcher, as a power cut of all but the services."""
        assert self.process is not None
        # Stopped, the launcher starts no other one in between.
        self.process.send_signal(signal.SIGSTOP)
        supervisor = int(self.launcher().get("supervisor_pid") or 0)
        if supervisor:
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGKILL)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, timeout_s: float = 20) -> int:
        """SIGTERM and the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout_s)


def _service_pids(state_dir: Path) -> Iterator[int]:
    for record in state_dir.glob("svc/*/process.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            yield int(json.loads(record.read_text())["pid"])


@contextlib.contextmanager
def supervisors(*members: Supervisor) -> Iterator[tuple[Supervisor, ...]]:
    """Start all; at the end stop all and every service process that one of them left."""
    try:
        for member in members:
            member.start()
        yield members
    finally:
        for member in members:
            if member.process is not None and member.process.poll() is None:
                member.process.terminate()
        for member in members:
            if member.process is None:
                continue
            try:
                member.process.wait(20)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
        for member in members:
            for pid in _service_pids(member.state_dir):
                # Only a session leader that still carries our state directory is ours.
                with contextlib.suppress(OSError):
                    if str(member.state_dir).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                        os.killpg(pid, signal.SIGKILL)
