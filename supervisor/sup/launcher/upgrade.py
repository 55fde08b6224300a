"""New code for the launcher itself, with the same pid, children and services.

First the code on disk is tried: a child loads it and exits 0, or says on stderr why it can't; then
nothing has changed. The supervisor is asked to let go of the services and to exit; the state is
written to a memfd that stays open over the exec, as do the sockets of the services, and the new
code takes both up and starts the new supervisor. Children stay children over an exec, and signals
that come meanwhile stay pending, because all are blocked. Source: execve(2), memfd_create(2).
"""

from __future__ import annotations

import _socket
import os

from sup import __version__
from sup.launcher.children import reap
from sup.launcher.clock import now_us
from sup.launcher.log_file import LogTarget
from sup.launcher.spawn import SpawnError, spawn
from sup.launcher.state import CHECK_US
from sup.launcher.wire import WireError, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sup.launcher.loop import Launcher

STATE_BYTES_MAX = 8 * 1024 * 1024
REASON_BYTES_MAX = 4096


class Upgrade:
    """At most one upgrade at a time of one launcher."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self.pid = 0
        """Of the child that tries the new code; 0: none."""
        self.said = ""
        """How the last upgrade ended: from which version, or why not."""
        self._errors = -1
        self._answer_to: int | None = None

    def begin(self, answer_to: int | None) -> None:
        """Try the code on disk; ``answer_to`` is the request that waits to hear."""
        launcher = self._launcher
        if self.pid or launcher.state.upgrading or launcher.state.ending:
            self._answer(answer_to, "an upgrade is under way already, or the launcher ends")
            return
        self._answer_to = answer_to
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        command = [*launcher.options.own, "--check"]
        try:
            self.pid = spawn(
                [os.fsencode(word) for word in command],
                [os.fsencode(f"{k}={v}") for k, v in launcher.environment.items()],
                b"/",
                stdin=null,
                stdout=null,
                stderr=write,
            )
        except SpawnError as error:
            os.close(read)
            self._refuse(f"can't {error.step} {command[0]}: {error.strerror}")
            return
        finally:
            os.close(null)
            os.close(write)
        self._errors = read
        launcher.state.check_us = now_us() + CHECK_US

    def forget_asker(self) -> None:
        """Whoever asked is gone."""
        self._answer_to = None

    def handle_children(self) -> None:
        """A child has ended: perhaps the one that tries the new code."""
        end = reap(self.pid) if self.pid else None
        if end is None:
            return
        self.pid = 0
        self._launcher.state.check_us = 0
        try:
            said = os.read(self._errors, REASON_BYTES_MAX).decode("utf-8", "replace")
        except BlockingIOError:
            said = ""
        os.close(self._errors)
        if end[0] != 0:
            lines = said.strip().splitlines() or ["it said nothing"]
            self._refuse(f"the new launcher does not load: {lines[-1][:300]}")
            return
        launcher = self._launcher
        if self._answer_to is not None:
            launcher.send({"id": self._answer_to, "ok": True})
            self._answer_to = None
        launcher.state.handle_upgrade(now_us())
        launcher.systemd.reloading()
        if launcher.state.supervisor_pid:
            launcher.send({"event": "detach"})
        else:
            self.execute()

    def handle_late(self) -> None:
        """The new code neither loads nor fails: it is given up; its end is reported as it comes."""
        if self.pid:
            os.kill(self.pid, 9)

    def execute(self) -> None:
        """Become the new code. Returns only if that fails; then the present code goes on."""
        launcher = self._launcher
        kept = {name: sock.fileno() for name, sock in launcher.children.sockets.items()}
        saved = {"from": __version__, "state": launcher.state.save(), "sockets": kept}
        fd = os.memfd_create("sup-launcher", 0)
        try:
            data = pack(saved, STATE_BYTES_MAX)
            while data:
                data = data[os.write(fd, data) :]
            os.lseek(fd, 0, os.SEEK_SET)
            for kept_fd in kept.values():
                os.set_inheritable(kept_fd, True)
            launcher.children.logs.stop()
            options = launcher.options
            command = [
                *options.own,
                *("--state-dir", options.state_dir, "--log-format", options.log_format),
                *("--resume", str(fd), "--", *options.command),
            ]
            launcher.report.log("INFO", f"launcher executes new code services={len(kept)}")
            os.execve(command[0], command, launcher.exec_environment)
        except (OSError, WireError, ValueError) as error:
            os.close(fd)
            for kept_fd in kept.values():
                os.set_inheritable(kept_fd, False)
            self._reopen_logs()
            self._refuse(f"the new launcher can't be executed: {error}")
        launcher.state.upgrading = False
        launcher.state.start_at_us = now_us()

    def resume(self, fd: int) -> None:
        """Take up what the code before left in the memfd ``fd``; closes it."""
        launcher = self._launcher
        data = b""
        try:
            while len(data) <= STATE_BYTES_MAX and (more := os.read(fd, 1 << 20)):
                data += more
            saved = unpack(data)
            launcher.state.load(saved["state"])
        except (OSError, WireError, KeyError, TypeError, ValueError) as error:
            # The services live; the supervisor adopts them by identity, as after our death.
            launcher.state.services.clear()
            self.said = f"state of the launcher before could not be read: {error!r}"[:300]
            launcher.report.log("ERROR", self.said)
            return
        finally:
            os.close(fd)
        for name, kept in dict(saved.get("sockets", {})).items():
            service = launcher.state.services.get(name)
            try:
                sock = _socket.socket(fileno=kept)
            except OSError:
                continue
            os.set_inheritable(kept, False)
            if service is None:
                sock.close()
            else:
                launcher.children.sockets[name] = sock
                launcher.listen(service, sock)
        for service in launcher.state.services.values():
            if service.foreign and launcher.children.watch_foreign(service):
                launcher.watch_foreign(service)
        self._reopen_logs()
        self.said = f"launcher {saved.get('from', '?')} to {__version__}"
        launcher.report.log(
            "INFO", f"{self.said}: upgraded in place, services={len(launcher.state.services)}"
        )

    def _reopen_logs(self) -> None:
        """Let the log engine read again; what came meanwhile is in the pipes."""
        launcher = self._launcher
        for service in launcher.state.services.values():
            try:
                os.close(launcher.children.logs.open(LogTarget(service.log), service.pid))
            except (OSError, KeyError, ValueError) as error:
                launcher.report.log("ERROR", f"log of {service.name} can't be opened: {error}")

    def _refuse(self, why: str) -> None:
        self.said = why
        self._launcher.report.log("ERROR", f"upgrade refused: {why}")
        self._answer(self._answer_to, why)
        self._answer_to = None

    def _answer(self, number: int | None, why: str) -> None:
        if number is not None:
            self._launcher.send({"id": number, "error": why})
