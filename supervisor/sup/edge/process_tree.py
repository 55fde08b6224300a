"""Who belongs to a service: its process tree, read from ``/proc``, and the killing and reaping of
it.

A process belongs to a service when it descends from the service's first process, is in the session
which that process opened, carries the service's mark (``SUP_INSTANCE``) in its environment, or
carries the mark's *tag*: a number that is set as its limit of file locks (``RLIMIT_LOCKS``), which
Linux has not looked at since 2.4.25 and hands on at every fork and exec. Mark and tag find daemons
that forked twice and opened a session of their own, also after the supervisor which started them
was killed and they were handed to init; the tag also finds those that wiped their environment. It
counts only where no mark can be read, so that a supervisor which is itself a service keeps what
is its own. What escapes: a program that leaves tree and session, wipes its environment *and* sets
this limit anew. A cgroup holds that one too, where there is one (``edge/cgroups``).

A number alone is never trusted: every kill goes through a pidfd whose start time was compared after
it was opened, so a reused pid is never hit. Reading a large ``/proc`` takes milliseconds, so
callers on the event loop run these functions in a thread. The launcher uses this file too, so it
imports next to nothing. Sources: proc(5), pidfd_open(2), prctl(2), setrlimit(2).
"""

from __future__ import annotations

import os
import time
from _signal import SIGKILL, SIGSTOP, pidfd_send_signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARK_VARIABLE = "SUP_INSTANCE"
"""Environment variable that marks every process of one start of one service or hook."""
ENVIRON_BYTES_MAX = 256 * 1024
"""How much of ``/proc/PID/environ`` is searched for the mark; it stands first in what we pass."""
KILL_DEADLINE_S = 5.0
"""How long a killing may take: what is left after it sits in the kernel and can't be killed by
anyone.
"""


CROWD = 32
"""So many are stopped before they are killed. Each death makes room below RLIMIT_NPROC for a fork,
so killing alone never comes to an end with a fork bomb; who is stopped does not fork."""
CROWD_LOOKS = 20
"""After so many looks a crowd is killed as it is: somebody wakes it, or it can't be stopped."""

TAG_RESOURCE = 10
"""RLIMIT_LOCKS."""
PF_KTHREAD = 0x00200000
TAG_BIT = 1 << 62
SERVICE_BITS, START_BITS = 44, 18
"""Of a tag: which service of this host, and which start of it. 256 services of one host meet in
their part with a chance of 2e-9, and only a process without a readable mark is known by it."""


class ProcessStat:
    """One line of ``/proc/PID/stat``, as far as it is needed. ``start_ticks`` counts from boot."""

    __slots__ = ("group", "kernel", "pid", "ppid", "session", "start_ticks", "state")

    def __init__(
        self,
        pid: int,
        ppid: int,
        group: int,
        session: int,
        start_ticks: int,
        state: str,
        flags: int = 0,
    ) -> None:
        self.pid = pid
        self.ppid = ppid
        self.group = group
        self.session = session
        self.start_ticks = start_ticks
        self.state = state
        self.kernel = bool(flags & PF_KTHREAD)
        """A thread of the kernel: it has neither environment nor limits to look at."""

    @property
    def dead(self) -> bool:
        """Exited; at most its exit status is waiting for the parent."""
        return self.state in "ZX"


_boot_id = ""


def boot_id() -> str:
    """The kernel's id of this boot; a start time means something only together with it."""
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            _boot_id = file.read().strip()
    return _boot_id


def tag_of_mark(mark: str) -> int:
    """The number that stands for a mark (``PREFIX.START``) as a limit; never 0."""
    prefix, _, start = mark.rpartition(".")
    return (
        TAG_BIT | _spread(prefix or mark, SERVICE_BITS) << START_BITS | _spread(start, START_BITS)
    )


def _spread(text: str, bits: int) -> int:
    """FNV-1a in 64 bits, its upper bits: no library, the same in every version of ours."""
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8", "replace"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    value ^= value >> 29
    value = value * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return value >> (64 - bits)


def read_stat(pid: int) -> ProcessStat | None:
    """The process that has the number ``pid`` now, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    # The name stands in parentheses and may hold spaces and parentheses itself: cut after the last
    # one.
    fields = line[line.rfind(b")") + 2 :].split()
    return ProcessStat(
        pid,
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        int(fields[19]),
        fields[0].decode("ascii"),
        int(fields[6]),
    )


def age_s(start_ticks: int) -> float:
    """Seconds since a process started, suspended time of the machine included."""
    started_s = start_ticks / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)


def all_stats() -> dict[int, ProcessStat]:
    """Every process that can be seen, by pid."""
    stats = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            stats[stat.pid] = stat
    return stats


def mark_of(pid: int) -> str:
    """The mark in the environment of ``pid``, or empty (none, gone, or not ours to read)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read(ENVIRON_BYTES_MAX)
    except OSError:
        return ""
    for item in environ.split(b"\0"):
        if item.startswith(b"SUP_INSTANCE="):
            return item[len(b"SUP_INSTANCE=") :].decode("utf-8", "replace")
    return ""


def tag_of(pid: int) -> int:
    """The tag of ``pid``, or 0: it has none, or is gone."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            text = file.read(4096)
    except OSError:
        return 0
    at = text.find(b"Max file locks")
    soft = text[at + 14 : at + 50].split(None, 1)[:1] if at >= 0 else []
    value = int(soft[0]) if soft and soft[0].isdigit() else 0
    return value if value & TAG_BIT else 0


def _carries(pid: int, mark: str) -> bool:
    found = mark_of(pid)
    return found == mark if found else tag_of(pid) == tag_of_mark(mark)


def find_tree(pid: int, start_ticks: int, mark: str) -> list[ProcessStat]:
    """Every process of the tree that runs now, the first process included; dead ones are left out.

    The session counts only while the number ``pid`` is still the first process's: the kernel does
    not give a number away while a session carries it.
    """
    stats = all_stats()
    first = stats.get(pid)
    ours = first is not None and first.start_ticks == start_ticks
    found = {pid} if ours else set()
    for stat in stats.values():
        # Nothing older than the first process descends from it: saves most environment reads.
        if stat.start_ticks < start_ticks or stat.dead or stat.kernel or stat.pid in found:
            continue
        if (ours and stat.session == pid) or (mark and _carries(stat.pid, mark)):
            found.add(stat.pid)
    return _with_descendants(found, stats)


def find_marked(prefix: str, *, keep: str = "") -> list[ProcessStat]:
    """Every live process whose mark starts with ``prefix``, but not the ones marked exactly
    ``keep``.
    """
    wanted = tag_of_mark(f"{prefix}.") >> START_BITS
    spared = tag_of_mark(keep) if keep else 0
    found = []
    for stat in all_stats().values():
        if not (stat.dead or stat.kernel or stat.pid == os.getpid()):
            mark = mark_of(stat.pid)
            if mark:
                if mark.startswith(prefix) and mark != keep:
                    found.append(stat)
            elif (tag := tag_of(stat.pid)) >> START_BITS == wanted and tag != spared:
                found.append(stat)
    return found


def send_signal(stat: ProcessStat, number: int) -> bool:
    """Signal this very process; False when it is gone (or its number is another's by now)."""
    try:
        pidfd = os.pidfd_open(stat.pid)
    except OSError:
        return False
    try:
        now = read_stat(stat.pid)
        if now is None or now.start_ticks != stat.start_ticks:
            return False
        pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        # A set-uid program can be beyond an unprivileged supervisor; it counts as left over.
        return False
    finally:
        os.close(pidfd)
    return True


def kill_tree(pid: int, start_ticks: int, mark: str) -> list[int]:
    """SIGKILL the whole tree, again and again until a look finds nobody; return who could not be
    killed.

    Blocks, at most ``KILL_DEADLINE_S``. The first process is killed too.
    """
    return _kill_until_none(lambda: find_tree(pid, start_ticks, mark))


def kill_tree_once(pid: int, start_ticks: int, mark: str, looks: int = 0) -> list[int]:
    """One look, after ``looks`` before it: SIGKILL whoever is found, or SIGSTOP a crowd that still
    runs, and return them. Until it returns none, look again.
    """
    victims = find_tree(pid, start_ticks, mark)
    _strike(victims, looks)
    return [victim.pid for victim in victims]


def _strike(victims: list[ProcessStat], looks: int) -> None:
    running = [victim for victim in victims if victim.state in "RS"]
    if len(victims) >= CROWD and running and looks < CROWD_LOOKS:
        for victim in running:
            send_signal(victim, SIGSTOP)
    else:
        for victim in victims:
            send_signal(victim, SIGKILL)


def kill_marked(prefix: str, *, keep: str = "") -> list[int]:
    """SIGKILL whatever ``find_marked`` finds, until nothing is left; return who is left."""
    return _kill_until_none(lambda: find_marked(prefix, keep=keep))


def become_subreaper() -> bool:
    """Make orphans of our descendants our children, to be found and reaped; False if refused.

    The launcher does it for itself.
    """
    from sup.launcher import kernel

    return kernel.become_subreaper()


class OrphanReaper:
    """Reaps the dead that were handed to us, and never a child that somebody here waits for.

    A child that is registered in ``known`` is left to its owner. Any other zombie is reaped after
    it has been one for ``grace_s``: whoever else started it (asyncio, subprocess) collects its
    status at once, so one that is still there has no owner.
    """

    def __init__(self, known: Iterable[int], grace_s: float = 5.0) -> None:
        self._known = known
        self._grace_s = grace_s
        self._seen: dict[tuple[int, int], float] = {}

    def reap(self, now_s: float) -> int:
        """Reap what is due at ``now_s`` (monotonic seconds); return how many. One system call when
        idle.
        """
        try:
            peek = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            peek = None
        if peek is None:
            self._seen.clear()
            return 0
        known = set(self._known)
        zombies = {
            (stat.pid, stat.start_ticks)
            for stat in all_stats().values()
            if stat.dead and stat.ppid == os.getpid() and stat.pid not in known
        }
        self._seen = {key: self._seen.get(key, now_s) for key in zombies}
        reaped = 0
        for key, since_s in list(self._seen.items()):
            if now_s - since_s >= self._grace_s:
                del self._seen[key]
                try:
                    os.waitpid(key[0], os.WNOHANG)
                except ChildProcessError:
                    continue
                reaped += 1
        return reaped


def _with_descendants(found: set[int], stats: dict[int, ProcessStat]) -> list[ProcessStat]:
    children: dict[int, list[int]] = {}
    for stat in stats.values():
        children.setdefault(stat.ppid, []).append(stat.pid)
    queue = list(found)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in found:
                found.add(child)
                queue.append(child)
    found.discard(os.getpid())
    return [stats[pid] for pid in sorted(found) if not stats[pid].dead]


def _kill_until_none(find: Callable[[], list[ProcessStat]]) -> list[int]:
    deadline = time.monotonic() + KILL_DEADLINE_S
    pause_s = 0.002
    looks = 0
    while True:
        victims = find()
        if not victims:
            return []
        if time.monotonic() >= deadline:
            return [victim.pid for victim in victims]
        _strike(victims, looks)
        looks += 1
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.1)
