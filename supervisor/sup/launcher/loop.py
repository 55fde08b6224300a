"""The launcher's event loop: the parent of the services and of the supervisor.

It does what ``state`` says and is kept as small as can be, because it is the one process that must
not die: one thread of Python on one epoll, no retries, no disk but log files and one small report,
nothing imported that is not needed. It starts services when the supervisor asks, keeps how they
ended until the supervisor has taken note, starts the supervisor again when it dies, and stops
everything itself when it is told to end and no supervisor can. All signals come through a
signalfd; all times are CLOCK_BOOTTIME, which goes on while the machine is suspended.

An upgrade is an exec: pid, children, pending signals and the sockets of the services stay; the
state goes through a memfd (``upgrade``). Neighbours: ``children`` starts and kills, ``wire`` has
the protocol, ``sup.edge.launcher_client`` is the other end.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from sup import __version__
from sup.edge import cgroups
from sup.launcher import kernel, state, upgrade
from sup.launcher.children import Children, RefusedError, reap, reap_orphans
from sup.launcher.clock import now_us
from sup.launcher.log_file import LogFiles
from sup.launcher.notify import Systemd, receive
from sup.launcher.report import Report
from sup.launcher.spawn import SpawnError, spawn
from sup.launcher.state import Killing, Service, State
from sup.launcher.wire import MESSAGE_BYTES_MAX, PROTOCOL, WireError, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGCHLD, SIGCONT, SIGPWR = 1, 2, 9, 15, 17, 18, 30
SIGRTMIN_3 = 37
"""What container managers send to an init to halt."""
FD_VARIABLE = "SUP_LAUNCHER_FD"
SUPERVISOR_FD = 3
OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
"""Addressed to us; the supervisor must not answer them in our place."""
MESSAGES_PER_TURN = 64
FAULT_PAUSE_S = 0.1
OUTBOX_MAX = 4096
"""Messages that wait for a supervisor that does not read; it is bounded by the services there are,
but for notifications, which are left out when a quarter is full."""


class Options:
    """What the launcher was started with; ``own`` is the command that starts it again."""

    state_dir = ""
    log_format = "text"
    resume_fd = -1

    def __init__(self) -> None:
        self.command: list[str] = []
        self.own: list[str] = []


def launcher_command(main: str, python: str) -> list[str]:
    """The command that runs the launcher in ``main`` with the least of Python."""
    return [python, "-I", "-S", main]


def draw() -> float:
    """A random number from 0 up to but not 1."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


class Launcher:
    """One launcher; ``run`` is its whole life."""

    def __init__(self, options: Options, environment: dict[str, str]) -> None:
        self.options = options
        self.systemd = Systemd(environment)
        self.report = Report(options.state_dir, options.log_format, environment)
        self.exec_environment = environment
        """For the launcher that comes after this one."""
        self.environment = {k: v for k, v in environment.items() if k not in OWN_VARIABLES}
        self.state = State(self.systemd.watchdog_us)
        self._nofile = kernel.raise_nofile()
        self.children = Children(
            cgroups.Cgroups(cgroups.delegated(environment, options.state_dir)), self._nofile
        )
        self.upgrade = upgrade.Upgrade(self)
        self.exit_code: int | None = None
        self._leaving: int | None = None
        """The exit code, while the last services are stopped."""
        self._sock: _socket.socket | None = None
        self._outbox: list[bytes] = []
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._signals = -1
        self._timer = -1
        mask = os.umask(0)
        os.umask(mask)
        self._umask = mask
        self._requests: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "hello": self._hello,
            "spawn": self._spawn,
            "adopt": self._adopt,
            "signal": self._signal,
            "clear": self._clear,
            "ready": self._ready,
            "alive": self._alive,
            "deadman": self._deadman,
            "upgrade": self._upgrade,
            "logs": self._logs,
            "end": self._end_named,
        }

    def run(self) -> int:
        """Until the supervisor ends for good, or everything is stopped; returns the exit code."""
        self._signals = kernel.open_signals()
        self._timer = kernel.open_timer()
        self._watch(self._signals, self._handle_signals)
        self._watch(self._timer, self._handle_timer)
        if not kernel.become_subreaper():
            self.report.log("WARNING", "the kernel refuses PR_SET_CHILD_SUBREAPER")
        problem = self.children.groups.begin()
        if problem:
            self.report.log("WARNING", problem)
        if self.options.resume_fd >= 0:
            self.upgrade.resume(self.options.resume_fd)
        self.state.start_at_us = now_us()
        self._handle_children()
        self._do_due()
        kernel.trim()
        while self.exit_code is None:
            self._tell()
            kernel.arm(self._timer, self.state.next_us())
            for fd, _ in self._epoll.poll():
                self._guard(self._readers.get(fd))
            self._guard(self._do_due)
        self.systemd.tell("STOPPING=1")
        self.children.logs.stop()
        self.children.groups.end()
        self.report.remove()
        return self.exit_code

    def _guard(self, act: Callable[[], None] | None) -> None:
        """No fault of ours and no refusal of the system may end the parent of the services."""
        try:
            if act is not None:
                act()
        except Exception as error:
            self.report.log("ERROR", f"launcher fault, it goes on: {error!r}")
            time.sleep(FAULT_PAUSE_S)  # one that comes again at once must not take the processor

    # What happens

    def _handle_signals(self) -> None:
        try:
            data = os.read(self._signals, 32 * kernel.SIGNAL_RECORD_BYTES)
        except BlockingIOError:
            return
        size = kernel.SIGNAL_RECORD_BYTES
        numbers = {data[at] for at in range(0, len(data), size)}
        if SIGCHLD in numbers:
            self._handle_children()
        if SIGHUP in numbers:
            self._handle_hangup()
        if numbers & {SIGTERM, SIGINT, SIGPWR, SIGRTMIN_3}:
            self._handle_end_asked()

    def _handle_timer(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return

    def _handle_children(self) -> None:
        """Look at every child of ours that is not known to be dead; reap dead orphans."""
        now = now_us()
        for service in self.state.services.values():
            if service.exit is None:
                self._look(service)
        if self.state.supervisor_pid:
            end = reap(self.state.supervisor_pid)
            if end is not None:
                self._handle_supervisor_exit(end, now)
        self.upgrade.handle_children()
        ours = {service.pid for service in self.state.services.values()}
        reap_orphans(ours | {self.state.supervisor_pid, self.upgrade.pid})

    def _look(self, service: Service) -> None:
        end = self.children.look(service)
        if end is not None:
            service.exit = end
            self.state.deadmen.pop(service.name, None)
            self.send(
                {
                    "event": "exited",
                    "name": service.name,
                    "pid": service.pid,
                    "start_ticks": service.start_ticks,
                    "exit": end,
                }
            )

    def _handle_supervisor_exit(self, end: list[Any], now: int) -> None:
        if self._sock is not None:
            self._handle_messages()  # what it said before it died counts: its last words above all
        self._close_socket()
        code, number, _ = end
        died = self.state.supervisor_pid
        todo = self.state.handle_supervisor_exit(code, number, now, draw)
        if todo == state.EXIT:
            assert self.state.final_code is not None
            self._leave(self.state.final_code)
        elif todo == state.STOP_SERVICES:
            self.report.log(
                "WARNING",
                f"supervisor ended with {self.state.last_exit} before it"
                " had stopped the services: the launcher stops them",
            )
            self._leave(0)
        elif todo == state.REEXEC:
            self.upgrade.execute()
        else:
            wait_s = (self.state.start_at_us - now) / 1_000_000
            self.report.log(
                "WARNING",
                f"supervisor died pid={died} how={self.state.last_exit.replace(' ', '-')}"
                f" services={len(self.state.services)} restart_in_s={wait_s:.2f}",
            )

    def _handle_hangup(self) -> None:
        if self.state.ready_us is not None:
            self.send({"event": "upgrade"})  # it tries its own new code, then asks for ours
        else:
            self.upgrade.begin(None)

    def _handle_end_asked(self) -> None:
        self.systemd.tell("STOPPING=1")
        self.state.handle_end_asked(now_us())
        if self.state.supervisor_pid:
            self._signal_supervisor(SIGTERM)
            self._signal_supervisor(SIGCONT)
        elif self._leaving is None:
            self._leave(0)

    def _do_due(self) -> None:
        for what, name in self.state.due(now_us()):
            if what == state.START:
                self._start_supervisor()
            elif what == state.KILL:
                self._look_at_killing(self.state.killings[name])
            elif what == state.DEADMAN:
                self.report.log("ERROR", f"dead-man timer ran out name={name}: it is killed")
                self.send({"event": "deadman", "name": name})
                self._kill(name, release=False)
            elif what == state.SIGKILL_SERVICE:
                self._kill(name, release=True)
            elif what == state.ENDED_SERVICE:
                self._handle_ended(self.state.services[name])
            elif what == state.CHECK_LATE:
                self.upgrade.handle_late()
            elif what == state.HUNG:
                self.report.log("ERROR", "supervisor is hung: it is killed, the services go on")
                self._signal_supervisor(SIGKILL)
        if self._leaving is not None and not self.state.services:
            self.exit_code = self._leaving

    # The supervisor

    def _start_supervisor(self) -> None:
        try:
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        except OSError as error:
            self._handle_no_start(f"no socket: {error.strerror}")
            return
        environment = self.environment | {FD_VARIABLE: str(SUPERVISOR_FD)}
        null = -1
        try:
            for sock in (ours, theirs):
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, MESSAGE_BYTES_MAX)
            ours.setblocking(False)
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            pid = spawn(
                [os.fsencode(word) for word in self.options.command],
                [os.fsencode(f"{k}={v}") for k, v in environment.items()],
                b".",
                stdin=null,
                stdout=1,
                stderr=2,
                keep=theirs.fileno(),
                umask=self._umask,
                limits=[(7, *self._nofile)],
                search=os.fsencode(environment.get("PATH", "/usr/bin:/bin")),
            )
        except OSError as error:
            ours.close()
            step = f"can't {error.step}: " if isinstance(error, SpawnError) else ""
            self._handle_no_start(f"{step}{error.strerror}")
            return
        finally:
            theirs.close()
            if null >= 0:
                os.close(null)
        self._sock = ours
        self._watch(ours.fileno(), self._handle_messages)
        self.state.handle_started(pid, now_us())

    def _handle_no_start(self, why: str) -> None:
        self.state.handle_start_failed(now_us(), why, draw)
        self.report.log("ERROR", f"supervisor can't be started: {why}")

    def _signal_supervisor(self, number: int) -> None:
        if self.state.supervisor_pid:
            os.kill(self.state.supervisor_pid, number)  # not reaped yet, so it is the one

    def _leave(self, code: int) -> None:
        """End with ``code`` as soon as no service is left; those that are left are stopped."""
        if self._leaving is not None:
            return
        self._leaving = code
        self.state.begin_stop(now_us())
        for service in self.state.services.values():
            whole = service.kill_mode == "group"
            self.children.signal(service, service.stop_signal, group=whole)
            self.children.signal(service, SIGCONT, group=whole)

    def _handle_ended(self, service: Service) -> None:
        """The first process of a service that we stop has ended; it may be a shell that dies before
        its child has saved its data, so the rest has the rest of the time.
        """
        if service.kill_mode == "mixed" or not self.children.tree(service):
            service.stop_at_us = 0
            self._kill(service.name, release=True)

    # Messages

    def _handle_messages(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            if self._sock is None:
                return
            try:
                data = self._sock.recv(MESSAGE_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._close_socket()  # its death comes as SIGCHLD
                return
            self._handle_message(data)
        self._flush()

    def _handle_message(self, data: bytes) -> None:
        number = None
        try:
            asked = unpack(data)
            number = asked.get("id")
            answer = self._requests[str(asked["do"])](asked)
        except RefusedError as error:
            answer = {"error": str(error), **error.fields}
        except OSError as error:
            answer = {"error": error.strerror or str(error), "errno": error.errno or 0}
        except (WireError, ArithmeticError, KeyError, TypeError, ValueError, IndexError) as error:
            # From a supervisor of another version; it is told, and nothing else happens.
            answer = {"error": f"request is not understood: {error!r}"[:200]}
        if answer is not None and number is not None:
            self.send({"id": number, **answer})

    def send(self, message: dict[str, Any]) -> None:
        """Send an answer or an event to the supervisor, if there is one."""
        if self._sock is None:
            return
        if len(self._outbox) >= OUTBOX_MAX:
            self.report.log("ERROR", "supervisor does not read: it is killed")
            self._signal_supervisor(SIGKILL)
            self._close_socket()
            return
        self._outbox.append(pack(message))
        self._flush()

    def _flush(self) -> None:
        sock = self._sock
        if sock is None:
            return
        while self._outbox:
            try:
                sock.send(self._outbox[0])
            except BlockingIOError:
                break
            except OSError:
                self._outbox.clear()
                return
            del self._outbox[0]
        events = select.EPOLLIN | (select.EPOLLOUT if self._outbox else 0)
        self._epoll.modify(sock.fileno(), events)

    # Requests

    def _hello(self, asked: dict[str, Any]) -> dict[str, Any]:
        now = now_us()
        for service in self.state.services.values():
            # One message each: together they can be larger than one may be.
            self.send({"event": "service", **service.shown(now)})
        return {
            "ok": True,
            "protocol": PROTOCOL,
            "version": __version__,
            "pid": os.getpid(),
            "starts": self.state.starts,
            "last_exit": self.state.last_exit,
            "watchdog_us": self.state.watchdog_us,
            "cgroups": bool(self.children.groups.root),
            "stamps_logs": not isinstance(self.children.logs, LogFiles),
            "deadmen": {name: at - now for name, at in self.state.deadmen.items()},
        }

    def _spawn(self, asked: dict[str, Any]) -> None:
        if self._leaving is not None or self.state.upgrading:
            raise RefusedError("the launcher ends or is upgraded")
        service, warnings = self.children.start(asked, self.state.services)
        self.state.services[service.name] = service
        sock = self.children.sockets.get(service.name)
        if sock is not None:
            self.listen(service, sock)
        self.send(
            {
                "id": asked.get("id"),
                "ok": True,
                "pid": service.pid,
                "start_ticks": service.start_ticks,
                "cgroup": bool(service.cgroup),
                "warnings": warnings,
            }
        )
        self._look(service)  # its SIGCHLD may have come before it was in the table

    def _adopt(self, asked: dict[str, Any]) -> dict[str, Any]:
        service = self.children.adopt(asked, self.state.services)
        self.state.services[service.name] = service
        self.watch_foreign(service)
        sock = self.children.sockets.get(service.name)
        if sock is not None:
            self.listen(service, sock)
        return {"ok": True}

    def _signal(self, asked: dict[str, Any]) -> dict[str, Any]:
        service = self._service(asked)
        sent = self.children.signal(
            service, int(asked["number"]), group=bool(asked.get("group", True))
        )
        return {"ok": True, "sent": sent}

    def _clear(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        killing = self._kill(self._service(asked).name, release=True)
        killing.answer_to.append(int(asked["id"]))
        return None

    def _ready(self, asked: dict[str, Any]) -> dict[str, Any]:
        first = not self.state.ever_ready
        self.state.handle_ready(str(asked.get("version", "")), now_us())
        self.systemd.tell("READY=1")
        if first:
            self.report.log(
                "INFO", f"launcher ready pid={os.getpid()} supervisor={self.state.supervisor_pid}"
            )
        kernel.trim()
        return {"ok": True}

    def _alive(self, asked: dict[str, Any]) -> None:
        self.state.handle_alive(now_us())
        self.systemd.tell("WATCHDOG=1")

    def _deadman(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Set, extend or clear; only what is there can be extended, so a fired one stays fired."""
        service = self._service(asked)
        action = asked["action"]
        if action == "clear":
            self.state.deadmen.pop(service.name, None)
        else:
            if action == "extend" and service.name not in self.state.deadmen:
                raise RefusedError(f"service {service.name} has no dead-man timer")
            if service.exit is not None:
                raise RefusedError(f"service {service.name} has ended")
            self.state.set_deadman(service.name, now_us() + int(asked["after_us"]))
        return {"ok": True}

    def _upgrade(self, asked: dict[str, Any]) -> None:
        self.upgrade.begin(int(asked["id"]))

    def _logs(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"logs": {name: list(t) for name, t in self.children.logs.tally().items()}}

    def _end_named(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.state.final_code = int(asked["code"])
        return {"ok": True}

    def _service(self, asked: dict[str, Any]) -> Service:
        service = self.state.services.get(str(asked["name"]))
        if service is None or asked.get("pid", service.pid) != service.pid:
            raise RefusedError(f"service {asked['name']} has no such process here")
        return service

    # Killing

    def _kill(self, name: str, *, release: bool) -> Killing:
        killing = self.state.killings.get(name)
        if killing is None:
            killing = self.state.killings[name] = Killing(name, now_us(), release=release)
        killing.release = killing.release or release
        return killing

    def _look_at_killing(self, killing: Killing) -> None:
        service = self.state.services[killing.name]
        left = self.children.kill_once(service, killing.looks)
        if not left and service.exit is None:
            self._look(service)
            if service.exit is None:  # it dies this very moment
                left = [service.pid]
        if not killing.handle_look(left, now_us()):
            return
        del self.state.killings[killing.name]
        if killing.release:
            del self.state.services[killing.name]
            self.state.deadmen.pop(killing.name, None)
            sock = self.children.sockets.get(killing.name)
            if sock is not None:
                self._forget(sock.fileno())
            self._forget(self.children.pidfds.get(killing.name, -1))
            self.children.drop(service)
        for number in killing.answer_to:
            self.send({"id": number, "ok": True, "left": killing.left, "exit": service.exit})

    # Small things

    def listen(self, service: Service, sock: _socket.socket) -> None:
        """Hear what a service says on its NOTIFY_SOCKET."""

        def handle() -> None:
            for _ in range(MESSAGES_PER_TURN):
                data = receive(sock, service.uid)
                if data is None:
                    return
                if data:
                    service.handle_note(data, now_us())
                    if len(self._outbox) < OUTBOX_MAX // 4:
                        self.send({"event": "notify", "name": service.name, "data": data})

        self._watch(sock.fileno(), handle)

    def watch_foreign(self, service: Service) -> None:
        """Notice the end of a service that is not our child: no SIGCHLD tells of it."""
        fd = self.children.pidfds[service.name]

        def handle() -> None:
            self._forget(fd)
            self._look(service)

        self._watch(fd, handle)

    def _watch(self, fd: int, handle: Callable[[], None]) -> None:
        self._readers[fd] = handle
        self._epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _close_socket(self) -> None:
        if self._sock is not None:
            self._forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
        self._outbox.clear()
        # Who waited is gone; the next supervisor counts its requests from one again.
        for killing in self.state.killings.values():
            killing.answer_to.clear()
        self.upgrade.forget_asker()

    def _tell(self) -> None:
        """What changed, to systemd and into the file."""
        at = self.state
        life = at.life()
        self.systemd.status(f"supervisor {life}, {len(at.services)} services")
        if not at.ever_ready:
            return
        self.report.write(
            {
                "pid": os.getpid(),
                "version": __version__,
                "protocol": PROTOCOL,
                "supervisor": life,
                "supervisor_pid": at.supervisor_pid,
                "supervisor_version": at.version,
                "starts": at.starts,
                "last_exit": at.last_exit,
                "upgrade": self.upgrade.said,
            }
        )
