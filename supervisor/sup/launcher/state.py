"""What the launcher knows, and what follows from it (pure: no clock, no system call).

``State`` is the table of services, the dead-man timers, the killings that are under way, and the
life of the supervisor. Everything that happens comes in as ``handle_*`` with the time in µs of
CLOCK_BOOTTIME; ``due`` says what is to be done by now and ``next_us`` when to ask again. ``save``
and ``load`` carry it over an exec into new code: fields that a newer version adds have defaults.
Neighbours: ``loop`` does what is said here; ``restarts`` has the waits of the supervisor.
"""

from __future__ import annotations

from sup.launcher.restarts import Restarts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SERVICES_MAX = 512
"""Twice what a supervisor loads: one that is reloaded may have two processes for a moment."""
NOTES_MAX = 16
"""Different names that are kept of what a service said on its NOTIFY_SOCKET."""
NOTE_BYTES_MAX = 512
KEPT_NOTES = (
    *(b"READY", b"RELOADING", b"STOPPING", b"STATUS", b"MAINPID", b"WATCHDOG"),
    *(b"WATCHDOG_USEC", b"EXTEND_TIMEOUT_USEC"),
)
KILL_US = 5_000_000
"""What is left after it sits in the kernel and can't be killed by anyone."""
KILL_PAUSE_US = (2_000, 100_000)
DETACH_US = 10_000_000
"""How long a supervisor may take to let go before an upgrade; after it, it is killed."""
END_MARGIN_US = 120_000_000
"""Added to the longest stop time-out: hooks that run at the end, and killing."""

CHECK_US = 30_000_000
"""How long the new code may take to say that it can be loaded."""

EXIT, RESTART, STOP_SERVICES, REEXEC = "exit", "restart", "stop services", "reexec"
START, KILL, DEADMAN, HUNG, SIGKILL_SERVICE = "start", "kill", "deadman", "hung", "sigkill"
CHECK_LATE, ENDED_SERVICE = "check late", "ended"
LOOK_US = 50_000
"""Between two looks at what is left of a service whose first process has ended."""


class Service:
    """One child that is a service, from its start until it is cleared."""

    __slots__ = (
        *("cgroup", "exit", "fingerprint", "foreign", "kill_mode", "log", "look_at_us", "mark"),
        *("name", "notes", "notify", "pid"),
        *("start_ticks", "stop_at_us", "stop_signal", "stop_timeout_us", "uid"),
    )

    def __init__(self, name: str, pid: int, start_ticks: int, mark: str) -> None:
        self.name = name
        self.pid = pid
        self.start_ticks = start_ticks
        self.mark = mark
        self.fingerprint = ""
        self.stop_signal = 15
        self.stop_timeout_us = 10_000_000
        self.kill_mode = "group"
        self.uid = 0
        self.log: dict[str, Any] = {}
        self.cgroup = ""
        self.foreign = False
        """Adopted after its launcher had died: not our child, so its exit status is lost."""
        self.notify = ""
        """Path of its NOTIFY_SOCKET, or empty."""
        self.notes: dict[bytes, tuple[bytes, int]] = {}
        """What it last said there by name, and when."""
        self.exit: list[Any] | None = None
        """[code or None, signal or None, core dumped], kept until the supervisor clears it."""
        self.stop_at_us = 0
        """While the launcher itself stops it: when it is killed; 0 otherwise."""
        self.look_at_us = 0
        """When to look again whether anything is left of it, once its first process has ended."""

    def handle_note(self, data: bytes, now_us: int) -> None:
        """Remember the last value of each name, for a supervisor that attaches later."""
        for line in data.split(b"\n")[:64]:
            name, equals, value = line.partition(b"=")
            if equals and name in KEPT_NOTES:
                self.notes[name] = (value[:NOTE_BYTES_MAX], now_us)
                if name == b"READY":
                    self.notes.pop(b"RELOADING", None)

    def shown(self, now_us: int) -> dict[str, Any]:
        """What a supervisor that attaches is told."""
        notes = sorted((at, name, value) for name, (value, at) in self.notes.items())
        return {
            "name": self.name,
            "pid": self.pid,
            "start_ticks": self.start_ticks,
            "mark": self.mark,
            "fingerprint": self.fingerprint,
            "notify": bool(self.notify),
            "notes": [[name + b"=" + value, now_us - at] for at, name, value in notes],
            "exit": self.exit,
        }

    def save(self) -> dict[str, Any]:
        fields = {field: getattr(self, field) for field in self.__slots__ if field != "notes"}
        fields["notes"] = [[name, value, at] for name, (value, at) in self.notes.items()]
        return fields

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Service:
        service = cls(saved["name"], saved["pid"], saved["start_ticks"], saved["mark"])
        for field in cls.__slots__:
            if field in saved and field != "notes":
                setattr(service, field, saved[field])
        service.notes = {name: (value, at) for name, value, at in saved.get("notes", ())}
        return service


class Killing:
    """The killing of one tree: looked at again and again until nobody is found."""

    __slots__ = (
        *("answer_to", "deadline_us", "left", "looks", "name", "next_us", "pause_us", "release"),
    )

    def __init__(self, name: str, now_us: int, *, release: bool) -> None:
        self.name = name
        self.deadline_us = now_us + KILL_US
        self.next_us = now_us
        self.pause_us = KILL_PAUSE_US[0]
        self.answer_to: list[int] = []
        """Requests that wait for it."""
        self.release = release
        """Whether the child is reaped and forgotten afterwards."""
        self.left: list[int] = []
        self.looks = 0

    def handle_look(self, left: list[int], now_us: int) -> bool:
        """Whether it is over: nobody is left, or the time is up."""
        self.left = left
        self.looks += 1
        if not left or now_us >= self.deadline_us:
            return True
        self.next_us = now_us + self.pause_us
        self.pause_us = min(self.pause_us * 2, KILL_PAUSE_US[1])
        return False


class State:
    """All of it. ``watchdog_us`` is the service manager's, 0 for none."""

    def __init__(self, watchdog_us: int = 0) -> None:
        self.watchdog_us = watchdog_us
        self.services: dict[str, Service] = {}
        self.deadmen: dict[str, int] = {}
        self.killings: dict[str, Killing] = {}
        self.restarts = Restarts()
        self.supervisor_pid = 0
        self.starts = 0
        self.ever_ready = False
        self.ready_us: int | None = None
        """When the present supervisor became ready."""
        self.alive_us = 0
        self.version = ""
        """Of the supervisor that was ready last."""
        self.last_exit = ""
        self.start_at_us = 0
        """When the next supervisor is started; 0: one runs, or none is to."""
        self.kill_supervisor_us = 0
        self.check_us = 0
        """While new code is tried: when that took too long; 0 otherwise."""
        self.ending = False
        self.upgrading = False
        self.final_code: int | None = None
        """The exit code that the supervisor named when it ended for good."""

    # The supervisor

    def handle_started(self, pid: int, now_us: int) -> None:
        self.supervisor_pid = pid
        self.starts += 1
        self.start_at_us = 0
        self.ready_us = None
        self.alive_us = now_us
        self.final_code = None

    def handle_ready(self, version: str, now_us: int) -> None:
        self.ready_us = now_us
        self.alive_us = now_us
        self.ever_ready = True
        self.version = version

    def handle_alive(self, now_us: int) -> None:
        self.alive_us = now_us

    def handle_start_failed(self, now_us: int, why: str, draw: Callable[[], float]) -> None:
        """It could not even be executed; that counts as never ready."""
        self.starts += 1
        self.last_exit = why
        self.start_at_us = now_us + self.restarts.wait_us(now_us, None, draw)

    def handle_supervisor_exit(
        self, code: int | None, number: int | None, now_us: int, draw: Callable[[], float]
    ) -> str:
        """Return what to do: ``EXIT``, ``RESTART`` (at ``start_at_us``), and so on."""
        ready_us = None if self.ready_us is None else now_us - self.ready_us
        self.supervisor_pid = 0
        self.ready_us = None
        self.kill_supervisor_us = 0
        if self.upgrading and not self.ending:
            return REEXEC
        self.last_exit = f"signal {number}" if code is None else f"code {code}"
        if self.final_code is not None:
            return EXIT
        if self.ending:
            return STOP_SERVICES
        if not self.ever_ready and code is not None and not self.services:
            # Bad input or a conflict: for who started us to see, not to try for ever.
            self.final_code = code
            return EXIT
        self.start_at_us = now_us + self.restarts.wait_us(now_us, ready_us, draw)
        return RESTART

    def life(self) -> str:
        """How the supervisor does, in one word."""
        if self.ending:
            return "ending"
        if self.supervisor_pid:
            return "starting" if self.ready_us is None else "up"
        return "backoff" if self.start_at_us else "down"

    def handle_end_asked(self, now_us: int) -> None:
        """The launcher is told to end; the supervisor does it, in bounded time."""
        if self.ending:
            return
        self.ending = True
        self.start_at_us = 0
        longest = max((s.stop_timeout_us for s in self.services.values()), default=0)
        self.kill_supervisor_us = now_us + longest + END_MARGIN_US

    def handle_upgrade(self, now_us: int) -> None:
        self.upgrading = True
        self.start_at_us = 0
        self.kill_supervisor_us = now_us + DETACH_US

    def begin_stop(self, now_us: int) -> None:
        """The launcher stops the services itself: no supervisor is there to do it."""
        self.deadmen.clear()
        for service in self.services.values():
            service.stop_at_us = now_us + service.stop_timeout_us

    # Dead-man timers

    def set_deadman(self, name: str, at_us: int) -> None:
        if name in self.services:
            self.deadmen[name] = at_us

    # Time

    def due(self, now_us: int) -> list[tuple[str, str]]:
        """What is to be done by now, each once: (what, name of a service or empty)."""
        found = []
        for name, at_us in list(self.deadmen.items()):
            if now_us >= at_us:
                del self.deadmen[name]
                found.append((DEADMAN, name))
        for name, service in self.services.items():
            if service.stop_at_us and now_us >= service.stop_at_us:
                service.stop_at_us = 0
                found.append((SIGKILL_SERVICE, name))
            elif service.stop_at_us and service.exit is not None and now_us >= service.look_at_us:
                service.look_at_us = now_us + LOOK_US
                found.append((ENDED_SERVICE, name))
        found += [(KILL, name) for name, k in self.killings.items() if now_us >= k.next_us]
        if self.check_us and now_us >= self.check_us:
            self.check_us = 0
            found.append((CHECK_LATE, ""))
        if self.start_at_us and now_us >= self.start_at_us:
            found.append((START, ""))
        if self.supervisor_pid and 0 < self._hung_us() <= now_us:
            self.kill_supervisor_us = 0
            self.alive_us = now_us
            found.append((HUNG, ""))
        return found

    def next_us(self) -> int:
        """When ``due`` has something next; 0: not before something happens."""
        times = [*self.deadmen.values(), *(k.next_us for k in self.killings.values())]
        for service in self.services.values():
            if service.stop_at_us:
                soon = service.stop_at_us if service.exit is None else service.look_at_us
                times.append(min(soon, service.stop_at_us))
        times += [t for t in (self.start_at_us, self.check_us, self._hung_us()) if t > 0]
        return max(1, min(times)) if times else 0

    def _hung_us(self) -> int:
        """When the present supervisor counts as hung; 0: never."""
        if not self.supervisor_pid:
            return 0
        times = [self.kill_supervisor_us] if self.kill_supervisor_us else []
        if self.watchdog_us and self.ready_us is not None:
            # Half of the service manager's time: the next supervisor is up before it is over.
            times.append(self.alive_us + self.watchdog_us // 2)
        return min(times, default=0)

    # Over an exec

    def save(self) -> dict[str, Any]:
        return {
            "services": [service.save() for service in self.services.values()],
            "deadmen": dict(self.deadmen),
            "restarts": self.restarts.save(),
            "starts": self.starts,
            "ever_ready": self.ever_ready,
            "version": self.version,
            "last_exit": self.last_exit,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what no ``save`` made."""
        for one in saved["services"]:
            service = Service.load(one)
            self.services[service.name] = service
        self.deadmen = {name: at for name, at in saved["deadmen"].items() if name in self.services}
        self.restarts.load(saved["restarts"])
        self.starts = int(saved.get("starts", 0))
        self.ever_ready = bool(saved.get("ever_ready", False))
        self.version = str(saved.get("version", ""))
        self.last_exit = str(saved.get("last_exit", ""))
