"""The launcher's children: start a service as asked, learn how one ended, kill a tree, reap.

A child that ended stays a zombie until its supervisor clears it, so that its number, its session
and its process group can't become somebody else's before the tree is swept. Children that the
launcher did not start are orphans of services that it inherited as subreaper (or as PID 1); they
are reaped as they die and belong to their service through its session, mark, tag or cgroup.
Sources: waitid(2), proc(5), prctl(2).
"""

from __future__ import annotations

import os

from sup.edge import cgroups
from sup.edge.process_tree import TAG_RESOURCE, find_tree, kill_tree_once, read_stat, tag_of_mark
from sup.launcher.log_file import LogFiles, LogTarget
from sup.launcher.notify import open_notify
from sup.launcher.spawn import SpawnError, spawn
from sup.launcher.state import SERVICES_MAX, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from sup.launcher.log_engine import LogEngine


class RefusedError(Exception):
    """A request that can't be done; ``fields`` go into the answer."""

    def __init__(self, text: str, **fields: object) -> None:
        super().__init__(text)
        self.fields = fields


class Children:
    """Starts, kills and reaps for one launcher."""

    def __init__(self, groups: cgroups.Cgroups, nofile: tuple[int, int]) -> None:
        """``nofile`` is the limit of open files that children get unless they ask for another."""
        self._nofile = (7, *nofile)
        self.groups = groups
        self.logs = _log_engine()
        self.sockets: dict[str, _socket.socket] = {}
        self.pidfds: dict[str, int] = {}
        """Of services that a launcher before us started: nobody's children any more."""
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    # Services

    def start(
        self, asked: dict[str, Any], services: dict[str, Service]
    ) -> tuple[Service, list[str]]:
        """Start one service; the answer holds warnings about limits that are not enforced.

        Raises:
            RefusedError: it could not be started; nothing is left behind.
        """
        name, mark = str(asked["name"]), str(asked["mark"])
        if name in services:
            raise RefusedError(f"service {name} has process {services[name].pid} already")
        if len(services) >= SERVICES_MAX:
            raise RefusedError(f"{SERVICES_MAX} services have processes, the limit")
        service = Service(name, 0, 0, mark)
        self._fill(service, asked)
        user = asked.get("credentials")
        environment = [bytes(item) for item in asked["environment"]]
        cgroup_fd = -1
        warnings: list[str] = []
        output = -1
        try:
            output = self._open_log(service)
            if asked.get("notify"):
                gid = user[1] if user else os.getegid()
                environment.append(b"NOTIFY_SOCKET=" + self._open_notify(service, gid))
            if self.groups.root:
                try:
                    limits = asked.get("cgroup") or {}
                    service.cgroup, cgroup_fd, warnings = self.groups.open(name, limits)
                except OSError as error:
                    warnings = [f"no cgroup: {error.strerror}"]
            service.pid = self._spawn(asked, environment, output, cgroup_fd, user, mark)
        except BaseException:
            self.drop(service)
            raise
        finally:
            for fd in (output, cgroup_fd):
                if fd >= 0:
                    os.close(fd)
        # An unreaped child keeps its number, so what is read here is its own, dead or alive.
        stat = read_stat(service.pid)
        service.start_ticks = 0 if stat is None else stat.start_ticks
        return service, warnings

    def adopt(self, asked: dict[str, Any], services: dict[str, Service]) -> Service:
        """Take over what the supervisor knows of and a launcher that died had started.

        Raises:
            RefusedError: it runs no more, or the name is taken.
        """
        name, pid = str(asked["name"]), int(asked["pid"])
        if name in services:
            raise RefusedError(f"service {name} has process {services[name].pid} already")
        service = Service(name, pid, int(asked["start_ticks"]), str(asked["mark"]))
        service.foreign = True
        self._fill(service, asked)
        if not self.watch_foreign(service):
            raise RefusedError(f"process {pid} of service {name} runs no more")
        user = asked.get("credentials")
        try:
            # Its log has had no reader since the launcher before us died.
            os.close(self._open_log(service))
            if asked.get("notify"):
                self._open_notify(service, user[1] if user else os.getegid())
        except BaseException:
            self.drop(service)
            raise
        return service

    def watch_foreign(self, service: Service) -> bool:
        """Open the pidfd of a service that is not our child; False when it runs no more."""
        try:
            self.pidfds[service.name] = os.pidfd_open(service.pid)
        except OSError:
            return False
        # After the open: from here on the number can't change hands unseen.
        if self.look(service) is not None:
            os.close(self.pidfds.pop(service.name))
            return False
        return True

    def _fill(self, service: Service, asked: dict[str, Any]) -> None:
        service.fingerprint = str(asked.get("fingerprint", ""))
        service.stop_signal = int(asked.get("stop_signal", 15))
        service.stop_timeout_us = int(asked.get("stop_timeout_us", 10_000_000))
        service.kill_mode = str(asked.get("kill_mode", "group"))
        service.log = dict(asked["log"])
        user = asked.get("credentials")
        service.uid = user[0] if user else os.geteuid()

    def _spawn(
        self,
        asked: dict[str, Any],
        environment: list[bytes],
        output: int,
        cgroup_fd: int,
        user: list[Any] | None,
        mark: str,
    ) -> int:
        tag = tag_of_mark(mark)
        limits = [(int(n), int(soft), int(hard)) for n, soft, hard in asked.get("limits", ())]
        search = next((e[5:] for e in environment if e.startswith(b"PATH=")), b"/usr/bin:/bin")
        try:
            return spawn(
                [bytes(item) for item in asked["argv"]],
                environment,
                bytes(asked["directory"]),
                stdin=self._null,
                stdout=output,
                stderr=output,
                cgroup=cgroup_fd,
                credentials=None if user is None else (user[0], user[1], tuple(user[2])),
                umask=int(asked.get("umask", 0o027)),
                limits=[(TAG_RESOURCE, tag, tag), self._nofile, *limits],
                oom=asked.get("oom"),
                nice=asked.get("nice"),
                search=search,
            )
        except SpawnError as error:
            raise RefusedError(
                error.strerror or "", errno=error.errno, step=error.step, which=error.which
            ) from None
        except ValueError as error:
            raise RefusedError(str(error)) from None

    def _open_log(self, service: Service) -> int:
        try:
            return self.logs.open(LogTarget(service.log), service.pid)
        except OSError as error:
            raise RefusedError(
                error.strerror or str(error), errno=error.errno or 0, step="open its log"
            ) from None
        except (ValueError, RuntimeError) as error:
            raise RefusedError(f"can't open its log: {error}") from None

    def _open_notify(self, service: Service, gid: int) -> bytes:
        service.notify = os.path.dirname(service.log["directory"]) + "/notify"
        try:
            self.sockets[service.name] = open_notify(service.notify, service.uid, gid)
        except OSError as error:
            service.notify = ""
            raise RefusedError(
                error.strerror or str(error), errno=error.errno or 0, step="open its NOTIFY_SOCKET"
            ) from None
        return os.fsencode(service.notify)

    def signal(self, service: Service, number: int, *, group: bool) -> bool:
        """Signal the child, or its process group; False when it has ended."""
        if service.exit is not None or (service.foreign and self.look(service) is not None):
            return False
        try:
            # The child is not reaped, so both numbers are its own.
            if group and os.getpgid(service.pid) == service.pid:
                os.killpg(service.pid, number)
            else:
                os.kill(service.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def kill_once(self, service: Service, looks: int) -> list[int]:
        """SIGKILL all of the tree that can be seen (a crowd is stopped first); return who was
        there. ``looks`` were before this one.
        """
        left = set()
        if service.cgroup:
            cgroups.kill(service.cgroup)
            if cgroups.populated(service.cgroup):
                left.update(cgroups.members(service.cgroup))
        left.update(kill_tree_once(service.pid, service.start_ticks, service.mark, looks))
        left.discard(os.getpid())
        return sorted(left)

    def tree(self, service: Service) -> list[int]:
        """Who of its tree lives."""
        return [s.pid for s in find_tree(service.pid, service.start_ticks, service.mark)]

    def look(self, service: Service) -> list[object] | None:
        """How the child ended, if it has: [code, signal, core]; it stays unreaped."""
        if service.foreign:
            stat = read_stat(service.pid)
            gone = stat is None or stat.dead or stat.start_ticks != service.start_ticks
            return [None, None, False] if gone else None
        try:
            end = os.waitid(os.P_PID, service.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return [None, None, False]
        return None if end is None else ended(end)

    def drop(self, service: Service) -> None:
        """Reap the child if it is dead, and free what was held for it."""
        if service.pid and not service.foreign:
            reap(service.pid)
        pidfd = self.pidfds.pop(service.name, -1)
        if pidfd >= 0:
            os.close(pidfd)
        self.logs.close(str(service.log.get("name", service.name)))
        sock = self.sockets.pop(service.name, None)
        if sock is not None:
            sock.close()
            try:
                os.unlink(service.notify)
            except OSError:
                pass
        if service.cgroup:
            cgroups.remove(service.cgroup)


def ended(end: os.waitid_result) -> list[object]:
    """[code or None, signal or None, core dumped] of what waitid(2) said."""
    if end.si_code == os.CLD_EXITED:
        return [end.si_status, None, False]
    return [None, end.si_status, end.si_code == os.CLD_DUMPED]


def reap(pid: int) -> list[object] | None:
    """Reap one child if it is dead and say how it ended."""
    try:
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if end is None else ended(end)


def reap_orphans(ours: set[int]) -> int:
    """Reap the dead among the children that are not ``ours``; return how many there were."""
    reaped = 0
    for pid in _children():
        if pid not in ours and reap(pid) is not None:
            reaped += 1
    return reaped


def _children() -> list[int]:
    """The present children. The main thread is the parent of all: it starts and inherits them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        found = []
        for name in os.listdir("/proc"):
            stat = read_stat(int(name)) if name.isdigit() else None
            if stat is not None and stat.ppid == os.getpid():
                found.append(stat.pid)
        return found


def _log_engine() -> LogEngine | LogFiles:
    """The log engine, or plain files where it is not built."""
    try:
        from sup.launcher.log_engine import LogEngine
    except ImportError:
        return LogFiles()
    return LogEngine()
