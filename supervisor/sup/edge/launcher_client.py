"""The supervisor's end of the local protocol: services that are children of the launcher.

``LauncherHost`` is a ``ProcessHost``. It says hello once and learns what runs, what ended while no
supervisor was there and what the services said meanwhile; after that requests are answered by
number and events come by themselves. The launcher's protocol must be one that is known here, or
the supervisor ends with exit code 4 and says so. Losing the connection means that the launcher is
gone: ``lost`` is set, and nothing here works any more. Messages are described in
``sup.launcher.wire``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

import msgspec

from sup import __version__
from sup.edge import processes
from sup.edge.process_tree import KILL_DEADLINE_S, boot_id, kill_tree
from sup.edge.processes import (
    TEXT_BUSY_TRIES,
    Exit,
    Process,
    ProcessError,
    ProcessIdentity,
    SpawnRequest,
    marked_environment,
    rights,
    why_not,
)
from sup.errors import ConflictError, OperatorError
from sup.launcher.wire import MESSAGE_BYTES_MAX, PROTOCOL
from sup.model.notify import Notified, apply, parse_notify

log = logging.getLogger("sup.launcher")

FD_VARIABLE = "SUP_LAUNCHER_FD"
PROTOCOLS = frozenset({PROTOCOL})
"""The launcher protocols that this supervisor speaks."""
ANSWER_S = 30.0
"""A launcher that does not answer for this long is stopped or gone."""
ETXTBSY = 26


class LauncherError(Exception):
    """The launcher refused a request, or is gone; the text says why."""

    def __init__(self, text: str, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.fields = dict(fields or {})


class LauncherHost:
    """The launcher, as the one who starts services. Made by ``open`` only."""

    has_launcher = True

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._outbox: list[bytes] = []
        self._held: dict[str, dict[str, Any]] = {}
        """What the launcher holds by name and nobody here has adopted yet."""
        self._processes: dict[str, LauncherProcess] = {}
        self._early: dict[str, dict[str, Any]] = {}
        """Ends that were told before the start was answered."""
        self.hello: dict[str, Any] = {}
        """What the launcher answered: its version, pid, watchdog_us, starts, cgroups."""
        self.is_ready = False
        """Whether ``ready`` was said: this supervisor has come up."""
        self.lost = asyncio.Event()
        self.detach_asked = asyncio.Event()
        """The launcher is about to be upgraded: let go of everything and exit."""
        self.upgrade_asked = asyncio.Event()
        """The launcher got SIGHUP: try the new code, then ``upgrade``."""

    @classmethod
    async def open(cls, fd: int) -> LauncherHost:
        """Take over the descriptor that the launcher handed us, and say hello.

        Raises:
            OperatorError: it is no launcher's, or its protocol is not known here (exit 4).
            LauncherError: it died before it answered.
        """
        try:
            sock = socket.socket(fileno=fd)
            os.set_inheritable(fd, False)
        except OSError as error:
            raise OperatorError(f"{FD_VARIABLE}={fd} is no socket: {error.strerror}") from None
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES_MAX)
        self = cls(sock)
        self._loop.add_reader(fd, self._handle_readable)
        try:
            self.hello = await self.request("hello", protocol=PROTOCOL, version=__version__)
        except LauncherError as error:
            self.close()
            if self.lost.is_set():
                raise
            raise OperatorError(f"the launcher does not answer as one: {error}") from None
        theirs = self.hello.get("protocol")
        if theirs not in PROTOCOLS:
            self.close()
            known = ", ".join(map(str, sorted(PROTOCOLS)))
            raise ConflictError(
                f"the launcher (version {self.hello.get('version')}) speaks protocol {theirs}, this"
                f" supervisor {known}: end the launcher with SIGTERM and start it anew"
            )
        return self

    def close(self) -> None:
        """Let go of the connection; the launcher takes it for our death."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LauncherError("the launcher is gone"))
        self._answers.clear()

    # As a ProcessHost

    @property
    def rotates_logs(self) -> bool:
        return bool(self.hello.get("stamps_logs"))

    async def spawn(self, request: SpawnRequest) -> Process:
        """Start a service as the launcher's child. Raises ``ProcessError``."""
        pause_s = 0.01
        for tries_left in reversed(range(TEXT_BUSY_TRIES)):
            try:
                answer = await self.request("spawn", **_spawn_fields(request))
                break
            except LauncherError as error:
                number, step = error.fields.get("errno"), error.fields.get("step")
                if number != ETXTBSY or not tries_left:
                    program = request.argv[0]
                    if number is None or step is None:
                        raise ProcessError(f"can't start {program}: {error}") from None
                    which = error.fields.get("which", "")
                    raise why_not(program, request.directory, number, step, which) from None
            await asyncio.sleep(pause_s)
            pause_s *= 2
        for warning in answer.get("warnings", ()):
            log.warning("service limited less name=%s: %s", request.name, warning)
        identity = ProcessIdentity(
            answer["pid"], answer["start_ticks"], boot_id(), request.mark, request.fingerprint
        )
        process = LauncherProcess(
            self, request.name, identity, adopted=False, notify=request.notify
        )
        self._keep(process)
        return process

    async def adopt(
        self, name: str, identity: ProcessIdentity | None, request: SpawnRequest | None = None
    ) -> Process | None:
        """The launcher's child of that name, also one that ended; else by ``identity``."""
        held = self._held.pop(name, None)
        if held is None:
            return None if identity is None else await self._adopt_foreign(name, identity, request)
        same = identity is not None and (identity.pid, identity.start_ticks) == (
            held["pid"],
            held["start_ticks"],
        )
        if identity is None or not same:
            identity = ProcessIdentity(
                held["pid"], held["start_ticks"], boot_id(), held["mark"], held["fingerprint"]
            )
        process = LauncherProcess(self, name, identity, adopted=True, notify=held["notify"])
        now_s = self._loop.time()
        for data, age_us in held["notes"]:
            process.hear(data, now_s - age_us / 1_000_000)
        self._keep(process)
        if held["exit"] is not None:
            process.end(held["exit"])
        return process

    async def _adopt_foreign(
        self, name: str, identity: ProcessIdentity, request: SpawnRequest | None
    ) -> Process | None:
        """Of a launcher that is gone: nobody's child any more, so its exit status will be lost."""
        if identity.boot_id != boot_id():
            return None
        if request is None:
            return processes.adopt(identity)
        fields = _spawn_fields(request) | {
            "pid": identity.pid,
            "start_ticks": identity.start_ticks,
            "mark": identity.mark,
            "fingerprint": identity.fingerprint,
        }
        for unused in ("argv", "environment", "directory"):
            del fields[unused]
        try:
            await self.request("adopt", **fields)
        except LauncherError as error:
            log.info("service not adopted name=%s: %s", name, error)
            return processes.adopt(identity)
        process = LauncherProcess(self, name, identity, adopted=True, notify=request.notify)
        self._keep(process)
        return process

    def unclaimed(self) -> list[str]:
        """Names of services that the launcher holds and nobody here has adopted."""
        return sorted(self._held)

    # What a supervisor tells its launcher

    async def ready(self) -> None:
        """The services are in hand again."""
        await self.request("ready", version=__version__)
        self.is_ready = True

    def alive(self) -> None:
        """The event loop turns; for the watchdog."""
        self.send({"do": "alive"})

    async def deadman(self, action: str, name: str, after_s: float = 0.0) -> None:
        """``set``, ``extend`` or ``clear`` the timer that kills a service's tree when it runs out.

        It runs on while the machine is suspended and while this process hangs. One that has fired
        can't be extended. Raises ``LauncherError``.
        """
        await self.request("deadman", action=action, name=name, after_us=round(after_s * 1_000_000))

    async def upgrade(self) -> None:
        """Let the launcher try its new code and then replace itself and us.

        ``detach_asked`` is set when it is our turn to go. Raises ``LauncherError``: it refuses.
        """
        await self.request("upgrade", timeout_s=2 * ANSWER_S)

    async def log_tally(self) -> dict[str, list[Any]]:
        """What the log engine has counted, by service; empty where there is none."""
        return dict((await self.request("logs"))["logs"])

    async def end(self, code: int) -> None:
        """Say that this end is meant, with this exit code for whoever started the launcher."""
        await self.request("end", code=code)

    # The connection

    async def request(
        self, do: str, *, timeout_s: float = ANSWER_S, **fields: Any
    ) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises ``LauncherError``."""
        self._number += 1
        number = self._number
        answer = self._answers[number] = self._loop.create_future()
        try:
            self.send({"id": number, "do": do, **fields})
            async with asyncio.timeout(timeout_s):
                found = await answer
        except TimeoutError:
            raise LauncherError(
                f"the launcher has not answered {do} for {timeout_s:.0f} s"
            ) from None
        finally:
            self._answers.pop(number, None)
        if "error" in found:
            raise LauncherError(str(found["error"]), found)
        return dict(found)

    def send(self, message: dict[str, Any]) -> None:
        """Send what needs no answer. Raises ``LauncherError``: too large, or nobody is there."""
        if self.lost.is_set() or self._sock.fileno() < 0:
            raise LauncherError("the launcher is gone")
        data = msgspec.msgpack.encode(message)
        if len(data) > MESSAGE_BYTES_MAX:
            raise LauncherError(
                f"the request is {len(data)} bytes, limit is {MESSAGE_BYTES_MAX}: shorten the"
                " command or the environment"
            )
        self._outbox.append(data)
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            try:
                self._sock.send(self._outbox[0])
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._flush)
                return
            except OSError:
                self._lose()
                return
            del self._outbox[0]
        self._loop.remove_writer(self._sock.fileno())

    def _handle_readable(self) -> None:
        for _ in range(64):
            try:
                data = self._sock.recv(MESSAGE_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lose()
                return
            try:
                self._handle(msgspec.msgpack.decode(data))
            except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
                log.error("launcher said what is not understood: %r", error)

    def _handle(self, message: dict[str, Any]) -> None:
        match message.get("event"):
            case None:
                answer = self._answers.get(message["id"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case "service":
                self._held[message["name"]] = message
            case "exited":
                process = self._processes.get(message["name"])
                if process is not None and process.pid == message["pid"]:
                    process.end(message["exit"])
                elif (held := self._held.get(message["name"])) is not None:
                    held["exit"] = message["exit"]
                else:
                    self._early[message["name"]] = message
            case "notify":
                process = self._processes.get(message["name"])
                if process is not None:
                    process.hear(message["data"], self._loop.time())
                elif (held := self._held.get(message["name"])) is not None:
                    held["notes"].append([message["data"], 0])
            case "deadman":
                log.error("dead-man timer ran out name=%s: killed", message["name"])
            case "detach":
                self.detach_asked.set()
            case "upgrade":
                self.upgrade_asked.set()
            case other:
                log.info("launcher told what is not known here event=%s", other)

    def _lose(self) -> None:
        if not self.lost.is_set():
            self.lost.set()
            self.close()

    def _keep(self, process: LauncherProcess) -> None:
        self._processes[process.name] = process
        early = self._early.pop(process.name, None)
        if early is not None and early["pid"] == process.pid:
            process.end(early["exit"])

    def forget(self, process: LauncherProcess) -> None:
        """The process is cleared or detached."""
        if self._processes.get(process.name) is process:
            del self._processes[process.name]


class LauncherProcess(Process):
    """A child of the launcher."""

    def __init__(
        self,
        host: LauncherHost,
        name: str,
        identity: ProcessIdentity,
        *,
        adopted: bool,
        notify: bool,
    ) -> None:
        super().__init__(identity, adopted=adopted, notify=notify)
        self.name = name
        self._host = host

    def signal(self, number: int, *, group: bool = True) -> None:
        if self.exit is not None:
            return
        try:
            self._host.send(
                {"do": "signal", "name": self.name, "pid": self.pid, "number": number}
                | {"group": group}
            )
        except LauncherError:
            return  # the launcher is gone; so are we in a moment

    def detach(self) -> None:
        self._host.forget(self)

    async def _clear(self) -> list[int]:
        try:
            answer = await self._host.request(
                "clear", name=self.name, pid=self.pid, timeout_s=2 * KILL_DEADLINE_S
            )
        except LauncherError as error:
            log.error("launcher did not clear name=%s: %s", self.name, error)
            identity = self.identity
            left = await asyncio.to_thread(
                kill_tree, identity.pid, identity.start_ticks, identity.mark
            )
            answer = {"left": left, "exit": None}
        if self.exit is None:
            self.end(answer.get("exit") or [None, None, False])
        self._host.forget(self)
        left_pids: list[int] = answer["left"]
        return left_pids

    def end(self, how: list[Any]) -> None:
        """It has ended: [exit code, signal, core dumped]."""
        if self.exit is None:
            code, number, core = how
            self._ended(Exit(code=code, signal=number, core=bool(core)))

    def hear(self, data: bytes, at_s: float) -> None:
        """One datagram of its NOTIFY_SOCKET."""
        self.notifications = apply(self.notifications or Notified(), parse_notify(data), at_s)
        self.notified.set()


def _spawn_fields(request: SpawnRequest) -> dict[str, Any]:
    resources = request.cgroup
    try:
        limits = request.limits.numbers()
    except KeyError as error:
        raise ProcessError(f"can't start {request.argv[0]}: there is no limit {error}") from None
    return {
        "name": request.name,
        "argv": [os.fsencode(word) for word in request.argv],
        "environment": marked_environment(request.environment, request.mark),
        "directory": os.fsencode(request.directory),
        "mark": request.mark,
        "fingerprint": request.fingerprint,
        "log": {
            "directory": str(request.log.directory),
            "name": request.log.name,
            "max_bytes": request.log.max_bytes,
            "files": request.log.files,
            "line_bytes_max": request.log.line_bytes_max,
        },
        "credentials": rights(request.credentials),
        "umask": request.umask,
        "limits": limits,
        "oom": request.oom_score_adjust,
        "nice": request.nice,
        "cgroup": None
        if resources is None
        else {
            "memory_max": resources.memory_max,
            "memory_high": resources.memory_high,
            "tasks_max": resources.tasks_max,
            "cpu_weight": resources.cpu_weight,
        },
        "stop_signal": int(request.stop_signal),
        "stop_timeout_us": round(request.stop_timeout_s * 1_000_000),
        "kill_mode": request.kill_mode,
        "notify": request.notify,
    }
