"""The demo's supervisors: real child processes on loopback, watched, and gone without a trace at
the end.

It starts, kills and ends processes and looks at them through the same interfaces as an operator:
the control socket, the service's own HTTP port. The story that is told with them is in
``sup.demo``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import msgspec

from sup.cli.client import Client, segment
from sup.errors import ExitCode, OperatorError

NAMES = ("anna", "bert", "cleo", "dora", "emil", "fred", "gina", "hugo", "ines")
"""Names of the supervisors, in order; their number is the largest demo."""

END_SECONDS = 20.0
"""From SIGTERM to SIGKILL for a supervisor: its service's stop time-out, hooks, and leaving the
ring.
"""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ASK_SECONDS = 2.0
GREETING_BYTES_MAX = 1024 * 1024
LOG_LINES_SHOWN = 5


@dataclass
class Look:
    """What one look at a member of the demo has shown."""

    answers: bool = False
    """Whether its supervisor answers."""
    sees: dict[str, str] = field(default_factory=dict)
    """Name -> state of everybody in its view of the ring."""
    member_id: str = ""
    process: str = ""
    pid: int | None = None
    health: str = ""
    config_version: str = ""
    greeting: str = ""
    """What its service said over HTTP, or empty when it did not answer."""
    peers: int = 0
    """How many members the service's own page lists."""

    def text(self) -> str:
        """The look in a line, for the reason of a failure."""
        seen = ", ".join(f"{name} {state}" for name, state in self.sees.items()) or "nobody"
        return (
            f"sees {seen}, service {self.process or '-'} {self.health or '-'}"
            f" pid {self.pid}, says {self.greeting or 'nothing'!r}, knows {self.peers}"
        )

    def alive(self) -> int:
        """How many members it sees alive."""
        return sum(state == "alive" for state in self.sees.values())


class DemoMember:
    """One supervisor with its own state directory and ports."""

    def __init__(self, name: str, state_dir: Path, gossip: int, http: int, service: int) -> None:
        self.name = name
        self.state_dir = state_dir
        self.gossip_port = gossip
        self.http_port = http
        self.service_port = service
        self.client = Client(state_dir / "control.sock")
        self.log = state_dir / "supervisor.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.look = Look()

    def prepare(self, service: str) -> None:
        """Make the state directory; the port is a matter of this host, so it is in user.toml."""
        directory = self.state_dir / "svc" / service
        directory.mkdir(parents=True)
        (directory / "user.toml").write_text(f"port = {self.service_port}\n")

    def command(self, package: Path, peers: Sequence[int]) -> list[str]:
        """The command line of this supervisor, as anybody could type it."""
        return [
            *("run", str(package), "--supervisor-name", self.name),
            *("--state-dir", str(self.state_dir), "--ring", "demo"),
            *("--listen-gossip", f"127.0.0.1:{self.gossip_port}"),
            *("--listen-http", f"127.0.0.1:{self.http_port}"),
            *(word for port in peers for word in ("--peer", f"127.0.0.1:{port}")),
        ]

    def start(self, arguments: Sequence[str]) -> None:
        """Start the supervisor in a session of its own: Ctrl-C is for the demo, which ends it."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SUP_")}
        # The greeter runs "python3": this one, which may be the only one and not be on the path.
        programs = (str(Path(sys.executable).parent), environment.get("PATH", os.defpath))
        environment["PATH"] = os.pathsep.join(programs)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sup", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the supervisor that the demo started is still there."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL supervisor and launcher: all of the host but its service is gone."""
        assert self.process is not None
        # Stopped, the launcher does not start the next supervisor in between.
        self.process.send_signal(signal.SIGSTOP)
        supervisor = self.supervisor_pid
        if supervisor:
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    @property
    def supervisor_pid(self) -> int:
        """The launcher's child that is the supervisor, or 0."""
        try:
            facts = msgspec.json.decode((self.state_dir / "launcher.json").read_bytes())
            return int(facts["supervisor_pid"])
        except (OSError, msgspec.MsgspecError, KeyError, TypeError):
            return 0

    def look_again(self, service: str) -> Look:
        """Ask the supervisor and the service. Takes ``ASK_SECONDS`` each at the very most."""
        look = Look()
        with contextlib.suppress(OperatorError, KeyError):
            members = self._ask("/v1/members")["members"]
            look.sees = {m["name"]: m["state"] for m in members}
            look.member_id = next(m["id"] for m in members if m["local"])
            found = [s for s in self._ask("/v1/services")["services"] if s["service"] == service]
            look.answers = True
            if found:
                look.process = found[0]["process"]
                look.pid = found[0]["pid"]
                look.health = found[0]["health"]
                look.config_version = found[0]["config_version"]
        with contextlib.suppress(OSError, HTTPException, ValueError, KeyError, TypeError):
            page = self._fetch("/greeting.json")
            look.greeting = f"{page['greeting']}, says {page['member']}"
            look.peers = len(page["members"])
        self.look = look
        return look

    def _ask(self, path: str) -> dict[str, Any]:
        return self.client.request("GET", path, timeout_s=ASK_SECONDS)

    def _fetch(self, path: str) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.service_port, timeout=ASK_SECONDS)
        try:
            connection.request("GET", path)
            answer = msgspec.json.decode(connection.getresponse().read(GREETING_BYTES_MAX))
            return answer if isinstance(answer, dict) else {}
        finally:
            connection.close()

    def last_words(self) -> list[str]:
        """The end of the supervisor's log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return [line[:300] for line in lines[-LOG_LINES_SHOWN:]]
        return []


class DemoRing:
    """All members of the demo. Use it as a context: at its end no process and no file is left."""

    def __init__(
        self, count: int, directory: Path, *, package: Path, service: str, keep: bool
    ) -> None:
        self.directory = directory
        self.package = package
        self.service = service
        self.keep = keep
        ports = list(free_ports(3 * count))
        self.members = [
            DemoMember(name, directory / name, *ports[3 * i : 3 * i + 3])
            for i, name in enumerate(NAMES[:count])
        ]

    def __enter__(self) -> DemoRing:
        return self

    def __exit__(self, *_: object) -> None:
        ignore_ending_signals()  # It is ending; a second Ctrl-C must not leave half of it behind.
        self.end()

    def prepare(self) -> None:
        """Make the state directories."""
        for member in self.members:
            member.prepare(self.service)

    def arguments(self, member: DemoMember) -> list[str]:
        """The command line of a member: every other one is a peer, none is special."""
        peers = [other.gossip_port for other in self.members if other is not member]
        return member.command(self.package, peers)

    def apply(self, member: DemoMember, toml: str) -> dict[str, Any]:
        """``sup config apply`` through one member."""
        path = f"/v1/groups/{segment(self.service)}.default/config"
        return member.client.request("PUT", path, toml.encode(), timeout_s=30.0)

    def look(self) -> None:
        """Look at every member once."""
        for member in self.members:
            member.look_again(self.service)

    def end(self) -> None:
        """End everything that runs, politely first; then remove the files unless they are kept.

        Also a supervisor that somebody started by hand on one of the state directories, and
        services whose supervisor was killed. Processes are found by what the demo itself started
        or what bears its mark, never by name.
        """
        for member in self.members:
            if member.process is not None and member.running:
                member.process.terminate()
            elif member.process is not None:
                with contextlib.suppress(OperatorError):
                    member.client.request("POST", "/v1/shutdown", timeout_s=ASK_SECONDS)
        deadline = time.monotonic() + END_SECONDS
        for member in self.members:
            if member.process is None:
                continue
            try:
                member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.kill()
            while _connects(member.state_dir / "control.sock") and time.monotonic() < deadline:
                time.sleep(0.1)
        for member in self.members:
            self._end_service(member)
        if not self.keep:
            for member in self.members:
                shutil.rmtree(member.state_dir, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.directory.rmdir()

    def _end_service(self, member: DemoMember) -> None:
        """End a service that its supervisor has left behind."""
        from sup.edge.process_tree import kill_marked
        from sup.edge.service_dir import mark_prefix
        from sup.model.service_paths import ServicePaths

        kill_marked(mark_prefix(ServicePaths.of(member.state_dir, self.service)))


def free_ports(count: int) -> Iterator[int]:
    """Ports on 127.0.0.1 that are free for TCP and UDP now; all different."""
    held: list[socket.socket] = []
    found: list[int] = []
    try:
        while len(found) < count:
            if len(held) > 50 * count:
                raise OperatorError("no free ports on 127.0.0.1", ExitCode.CONFLICT)
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(tcp)
            tcp.bind(("127.0.0.1", 0))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.append(udp)
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                found.append(tcp.getsockname()[1])
    finally:
        for sock in held:
            sock.close()
    yield from found


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ASK_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class EndedBySignal(BaseException):
    """A signal asked the demo to end. Not an ``Exception``: nothing on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def ending_signals() -> Iterator[None]:
    """Until its end, the first SIGINT, SIGTERM or SIGHUP raises ``EndedBySignal``."""

    def end(number: int, _frame: object) -> None:
        ignore_ending_signals()
        raise EndedBySignal(number)

    before = {number: signal.signal(number, end) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_ending_signals() -> None:
    """From now on, to the end of ``ending_signals``."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
