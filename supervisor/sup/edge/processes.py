"""One process of a service or a hook: start it, know the moment it exits, stop its whole tree,
adopt it.

A process is started in a session of its own, with its output bound to a file by descriptor: the
death of the supervisor neither stops it nor breaks its pipes. It is identified by pid, start time
and boot id, never by the number alone, and watched through a pidfd in the event loop: its exit is
seen at once and without polling. A supervisor that comes after one that was killed adopts the
running process from the identity on disk; it is not our child then, so its exit status is unknown.
``ProcessHost`` is the seam: ``LocalHost`` here starts children of its own, ``LauncherHost`` asks
the launcher, whose children outlive the supervisor with their exit status.

An exited process is kept unreaped until ``clear`` has swept what it left behind: as long as it is a
zombie its number (and so its session and process group) can't become somebody else's. Everything
that runs through here must end in ``clear`` or ``stop``. Sources: pidfd_open(2), waitid(2),
setsid(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from sup.edge.log_files import LOG_BYTES_MAX, LOG_FILES_MAX, open_log
from sup.edge.notify_socket import NotifySocket
from sup.edge.process_tree import (
    KILL_DEADLINE_S,
    MARK_VARIABLE,
    TAG_RESOURCE,
    OrphanReaper,
    become_subreaper,
    boot_id,
    find_tree,
    kill_tree,
    read_stat,
    send_signal,
    tag_of_mark,
)
from sup.edge.state_files import write_durable
from sup.edge.users import Credentials
from sup.launcher.spawn import RLIMIT_NAMES, SpawnError
from sup.launcher.spawn import spawn as spawn_child
from sup.model.notify import Notified, apply, parse_notify

UMASK = 0o027
"""What a service's files start with: nothing for others."""
TEXT_BUSY_TRIES = 6
"""Tries when a freshly written hook is still open for writing in a process that is between fork and
exec.
"""
REAP_INTERVAL_S = 2.0

_known: set[int] = set()
"""Children that have an owner here; the reaper of orphans leaves them alone."""


class ProcessError(Exception):
    """A program could not be started; the text names it and says why."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """What names one process for ever; stored in ``process.json``. ``start_ticks`` counts from
    boot.
    """

    pid: int
    start_ticks: int
    boot_id: str
    mark: str
    fingerprint: str = ""
    """Of what was started; says whether it must be started anew after an adoption."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: an exit code, or a signal; both None when it was not our child
    (adopted).
    """

    code: int | None = None
    signal: int | None = None
    core: bool = False
    """It left a core dump."""

    def __str__(self) -> str:
        if self.signal is not None:
            dumped = " (core dumped)" if self.core else ""
            try:
                return f"signal {signal.Signals(self.signal).name}{dumped}"
            except ValueError:
                return f"signal {self.signal}{dumped}"
        return "unknown" if self.code is None else f"code {self.code}"


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where the output of a service goes: ``directory/NAME.log`` and older ones beside it."""

    directory: Path
    name: str
    max_bytes: int = LOG_BYTES_MAX
    """Size at which the file is rotated, bytes."""
    files: int = LOG_FILES_MAX
    """How many files there are, the newest included; at least 1."""
    line_bytes_max: int = 65536
    """A longer line is split; only where a log engine stamps lines."""


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Limits of a service's cgroup (v2); None leaves one to the kernel. Sources: cgroups(7)."""

    memory_max: int | None = None
    """Bytes; above it the kernel kills."""
    memory_high: int | None = None
    """Bytes; above it the kernel slows down and reclaims."""
    tasks_max: int | None = None
    cpu_weight: int | None = None
    """1 to 10000; the kernel's default is 100."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What bounds one process and its children without a cgroup. Source: setrlimit(2)."""

    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """``nofile`` and the like to (soft, hard); -1 is no limit. Names as in ``RLIMIT_NAMES``."""
    oom_score_adjust: int | None = None
    """-1000 to 1000; below the present value only with the right to."""
    nice: int | None = None
    """-20 to 19; below the present value only with the right to."""

    def numbers(self) -> list[tuple[int, int, int]]:
        """(resource, soft, hard) for the kernel. Raises ``KeyError`` for an unknown name."""
        return [(RLIMIT_NAMES[name], *bounds) for name, bounds in self.rlimits.items()]


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """Everything about one start of one service."""

    name: str
    argv: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    mark: str
    log: LogTarget
    credentials: Credentials | None = None
    umask: int = UMASK
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """With the next two: as in ``ProcessLimits``."""
    oom_score_adjust: int | None = None
    nice: int | None = None
    cgroup: CgroupLimits | None = None
    stop_signal: int = signal.SIGTERM
    """With the next two: how the launcher stops it when no supervisor is there to do it."""
    stop_timeout_s: float = 10.0
    kill_mode: str = "group"
    notify: bool = False
    """Whether it gets a ``NOTIFY_SOCKET``."""
    fingerprint: str = ""

    @property
    def limits(self) -> ProcessLimits:
        return ProcessLimits(self.rlimits, self.oom_score_adjust, self.nice)


class Process(ABC):
    """A running or just exited process, watched by the event loop that made this object."""

    def __init__(self, identity: ProcessIdentity, *, adopted: bool, notify: bool = False) -> None:
        self.identity = identity
        self.adopted = adopted
        self.exit: Exit | None = None
        self.notifications: Notified | None = Notified() if notify else None
        """What it has said on its ``NOTIFY_SOCKET``; None: it has none."""
        self.notified = asyncio.Event()
        """Set at each change of ``notifications``; the reader clears it."""
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._clearing: asyncio.Task[list[int]] | None = None

    @property
    def pid(self) -> int:
        return self.identity.pid

    async def wait(self) -> Exit:
        """Wait until the process itself has exited. Any number of callers; safe to cancel."""
        await self._exited.wait()
        assert self.exit is not None
        return self.exit

    @abstractmethod
    def signal(self, number: int, *, group: bool = True) -> None:
        """Send ``number`` to the process group, or to the process alone; nothing once the
        process has exited.
        """

    async def stop(self, number: int, timeout_s: float, kill_mode: str = "group") -> list[int]:
        """Signal the whole tree, give it ``timeout_s``, then SIGKILL what is left of it.

        The group is signalled in one go, before anything else; daemons that left it come next.
        ``kill_mode`` ``mixed`` signals the first process alone and kills the rest as soon as it
        has ended; ``process`` signals it alone and gives the rest until the time-out, too.

        Bounded by ``timeout_s`` + 2 × ``KILL_DEADLINE_S``. Returns the pids that could not be
        killed.
        """
        deadline = self._loop.time() + timeout_s
        whole = kill_mode == "group"
        self.signal(number, group=whole)
        # A process that is stopped (SIGSTOP) must run to act on the signal.
        self.signal(signal.SIGCONT, group=whole)
        if whole:
            await asyncio.to_thread(self._signal_outside_group, number)
        try:
            async with asyncio.timeout(timeout_s):
                await self._exited.wait()
        except TimeoutError:
            return await self.clear()
        if kill_mode == "mixed":
            return await self.clear()
        # The first process is often a shell that dies before its child has saved its data: the
        # others got the signal too and have the rest of the time.
        pause_s = 0.01
        while self._loop.time() < deadline:
            if not await asyncio.to_thread(self._tree):
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.25)
        return await self.clear()

    async def clear(self) -> list[int]:
        """SIGKILL whatever is left of the tree, reap, and let go. Returns the pids that would not
        die.

        Bounded by 2 × ``KILL_DEADLINE_S``; completed even when the caller is cancelled meanwhile.
        Done once: who calls again gets the same answer, because the pid may be another's by then.
        """
        if self._clearing is None:
            self._clearing = asyncio.create_task(self._clear())
        try:
            return await asyncio.shield(self._clearing)
        except asyncio.CancelledError:
            await asyncio.wait([self._clearing])
            raise

    @abstractmethod
    def detach(self) -> None:
        """Stop watching and leave the process alone, for another supervisor to adopt."""

    @abstractmethod
    async def _clear(self) -> list[int]: ...

    def _signal_outside_group(self, number: int) -> None:
        identity = self.identity
        for stat in find_tree(identity.pid, identity.start_ticks, identity.mark):
            if stat.group != identity.pid:
                send_signal(stat, number)

    def _tree(self) -> list[int]:
        identity = self.identity
        return [s.pid for s in find_tree(identity.pid, identity.start_ticks, identity.mark)]

    def _ended(self, end: Exit) -> None:
        self.exit = end
        self._exited.set()


class ProcessHost(Protocol):
    """Where services are started: as children of this process, or of the launcher."""

    @property
    def has_launcher(self) -> bool:
        """Whether what is started here keeps its parent when this process dies."""
        ...

    @property
    def rotates_logs(self) -> bool:
        """Whether somebody bounds the log files already: the launcher's log engine."""
        ...

    async def spawn(self, request: SpawnRequest) -> Process:
        """Start a service in a session of its own; returns when its program is executed.

        Raises:
            ProcessError: it could not be executed; nothing is left behind.
            OperatorError: its log can't be opened.
        """
        ...

    async def adopt(
        self, name: str, identity: ProcessIdentity | None, request: SpawnRequest | None = None
    ) -> Process | None:
        """The process of ``name`` that an earlier supervisor left, or None.

        ``identity`` is what is on record, ``request`` what it would be started with now. One
        that has ended meanwhile is found only where there is a launcher; its ``exit`` is set then.
        """
        ...


class LocalProcess(Process):
    """A child of this process, or a stranger that was adopted: watched through its pidfd."""

    def __init__(self, identity: ProcessIdentity, pidfd: int, *, adopted: bool) -> None:
        super().__init__(identity, adopted=adopted)
        self._pidfd = pidfd
        self._socket: NotifySocket | None = None
        self._loop.add_reader(pidfd, self._handle_exit)

    def signal(self, number: int, *, group: bool = True) -> None:
        if self.exit is not None:
            return
        try:
            if group and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                signal.pidfd_send_signal(self._pidfd, number)
        except (ProcessLookupError, PermissionError):
            # Exited just now, or a set-uid program; the pidfd or the deadline of `stop` tells.
            return

    def hear(self, notify: NotifySocket | None) -> None:
        """``notify`` is this process's ``NOTIFY_SOCKET``; it is closed with it."""
        self._socket = notify
        if notify is not None:
            if not self.adopted:
                self.notifications = Notified()
            notify.tell(self._handle_note)

    def _handle_note(self, data: bytes) -> None:
        said = self.notifications or Notified()
        self.notifications = apply(said, parse_notify(data), self._loop.time())
        self.notified.set()

    def detach(self) -> None:
        if self._socket is not None:
            self._socket.close(remove=False)
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    async def _clear(self) -> list[int]:
        identity = self.identity
        left = await asyncio.to_thread(kill_tree, identity.pid, identity.start_ticks, identity.mark)
        try:
            async with asyncio.timeout(KILL_DEADLINE_S):
                await self._exited.wait()
        except TimeoutError:
            left = sorted({*left, identity.pid})
            self._loop.remove_reader(self._pidfd)
        if self._socket is not None:
            self._socket.close(remove=True)
        self._release()
        return left

    def _handle_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._ended(self._wait_status(os.WNOWAIT) or Exit())

    def _wait_status(self, flags: int) -> Exit | None:
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | flags)
        except ChildProcessError:
            return None
        if result is None:
            return None
        if result.si_code == os.CLD_EXITED:
            return Exit(code=result.si_status)
        return Exit(signal=result.si_status, core=result.si_code == os.CLD_DUMPED)

    def _release(self) -> None:
        if self._pidfd >= 0:
            self._wait_status(0)
            _known.discard(self.pid)
            os.close(self._pidfd)
            self._pidfd = -1


def new_mark(prefix: str) -> str:
    """A mark for one start: the prefix names the service on this host, the rest this start."""
    return f"{prefix}.{secrets.token_hex(8)}"


async def spawn(
    argv: Sequence[str],
    *,
    directory: str | Path,
    environment: Mapping[str, str],
    mark: str,
    output: int,
    credentials: Credentials | None = None,
    umask: int = UMASK,
    fingerprint: str = "",
    errors: int | None = None,
    limits: ProcessLimits | None = None,
) -> LocalProcess:
    """Start a program in a session of its own; ``output`` (not taken over) gets stdout and stderr.

    ``errors`` gets stderr in its place.

    Returns when the program is executed; takes a few milliseconds of the loop.

    Raises:
        ProcessError: it could not be executed; nothing is left behind.
    """
    bounds = limits or ProcessLimits()
    variables = marked_environment(environment, mark)
    tag = tag_of_mark(mark)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def start() -> int:
        return spawn_child(
            [os.fsencode(word) for word in argv],
            variables,
            os.fsencode(directory),
            stdin=null,
            stdout=output,
            stderr=output if errors is None else errors,
            credentials=rights(credentials),
            umask=umask,
            limits=[(TAG_RESOURCE, tag, tag), *bounds.numbers()],
            oom=bounds.oom_score_adjust,
            nice=bounds.nice,
            search=os.fsencode(environment.get("PATH", os.defpath)),
        )

    try:
        pid = await _start_patiently(start, argv[0], directory)
    finally:
        os.close(null)
    _known.add(pid)
    # An unreaped child keeps its number, so what is read here is its own, dead or alive.
    stat = read_stat(pid)
    assert stat is not None
    identity = ProcessIdentity(pid, stat.start_ticks, boot_id(), mark, fingerprint)
    return LocalProcess(identity, os.pidfd_open(pid), adopted=False)


def marked_environment(environment: Mapping[str, str], mark: str) -> list[bytes]:
    """``NAME=value`` with the mark first, so that it is found at once; ours wins over one
    inherited from an outer supervisor.
    """
    marked = {MARK_VARIABLE: "", **environment} | {MARK_VARIABLE: mark}
    return [os.fsencode(f"{name}={value}") for name, value in marked.items()]


def rights(credentials: Credentials | None) -> tuple[int, int, tuple[int, ...]] | None:
    """User, group and groups as numbers; None: ours."""
    return None if credentials is None else (credentials.uid, credentials.gid, credentials.groups)


async def _start_patiently(start: Callable[[], int], program: str, directory: str | Path) -> int:
    """Call ``start`` again while the program's file is still open for writing somewhere."""
    pause_s = 0.01
    for tries_left in reversed(range(TEXT_BUSY_TRIES)):
        try:
            return start()
        except SpawnError as error:
            number = error.errno or 0
            if number != errno.ETXTBSY or not tries_left:
                raise why_not(program, directory, number, error.step, error.which) from None
        except ValueError as error:
            raise ProcessError(f"can't start {program}: {error}") from None
        await asyncio.sleep(pause_s)
        pause_s *= 2
    raise AssertionError("the last try returns or raises")


def adopt(identity: ProcessIdentity) -> LocalProcess | None:
    """Take over a process that an earlier supervisor started; None when it runs no more."""
    if identity.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    # After the open: from here on the number can't change hands unseen.
    stat = read_stat(identity.pid)
    if stat is None or stat.dead or stat.start_ticks != identity.start_ticks:
        os.close(pidfd)
        return None
    return LocalProcess(identity, pidfd, adopted=True)


class LocalHost:
    """Services as children of this process: ``sup run --no-launcher``, and tests."""

    has_launcher = False
    rotates_logs = False

    async def spawn(self, request: SpawnRequest) -> Process:
        output = await asyncio.to_thread(
            open_log, request.log.directory / f"{request.log.name}.log"
        )
        notify: NotifySocket | None = None
        environment = request.environment
        try:
            notify = _open_notify(request)
            if notify is not None:
                environment = {**environment, "NOTIFY_SOCKET": str(notify.path)}
            process = await spawn(
                request.argv,
                directory=request.directory,
                environment=environment,
                mark=request.mark,
                output=output,
                credentials=request.credentials,
                umask=request.umask,
                fingerprint=request.fingerprint,
                limits=request.limits,
            )
            process.hear(notify)
            return process
        except BaseException:
            if notify is not None:
                notify.close(remove=True)
            raise
        finally:
            os.close(output)

    async def adopt(
        self, name: str, identity: ProcessIdentity | None, request: SpawnRequest | None = None
    ) -> Process | None:
        process = None if identity is None else adopt(identity)
        if process is not None and request is not None:
            with contextlib.suppress(ProcessError):
                process.hear(_open_notify(request))
        return process


def _open_notify(request: SpawnRequest) -> NotifySocket | None:
    """Bind its ``NOTIFY_SOCKET``, if it has one. Raises ``ProcessError``."""
    path = request.log.directory.parent / "notify"
    try:
        return NotifySocket(path, request.credentials) if request.notify else None
    except OSError as error:
        raise ProcessError(f"can't open its NOTIFY_SOCKET {path}: {error.strerror}") from None


def save_identity(path: Path, identity: ProcessIdentity) -> None:
    """Write ``process.json`` so that it is whole or absent after a crash. Blocks on the disk."""
    write_durable(path, msgspec.json.encode(identity))


def load_identity(path: Path) -> ProcessIdentity | None:
    """The identity in ``process.json``, or None: absent, or not one (then there is nothing to
    adopt).
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessIdentity)
    except (OSError, msgspec.MsgspecError):
        return None


async def reap_orphans() -> None:
    """Become the parent of orphaned descendants and reap the dead among them, for ever.

    One task of the supervisor; it is what makes it fit to be PID 1 of a container, too.
    """
    become_subreaper()
    reaper = OrphanReaper(_known)
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(REAP_INTERVAL_S)
        # In a thread: when there is a zombie it reads all of /proc.
        await asyncio.to_thread(reaper.reap, loop.time())


def why_not(
    program: str, directory: str | Path, number: int, step: str, which: str = ""
) -> ProcessError:
    """What to tell of a start that failed with the errno ``number`` at ``step``."""
    why = os.strerror(number)
    if step == "enter its directory":
        why = f"its directory {directory}: {why}"
        if number == errno.ENOENT:
            why = f"its directory {directory} does not exist"
    elif step != "execute":
        why = f"can't {step}{f' {which}' if which else ''}: {why}"
    elif number == errno.ENOENT and os.path.exists(program):
        why = "the interpreter in its first line (#!) does not exist"
    elif number == errno.ENOEXEC:
        why = "it is no program and has no #! line"
    return ProcessError(f"can't start {program}: {why}")
