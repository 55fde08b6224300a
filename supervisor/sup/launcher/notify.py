"""Both ends of sd_notify(3): the sockets that services speak to, and what we tell systemd.

A service's socket is a file in its directory that only its user may write to; the kernel says who
sent (SO_PASSCRED), and a sender who is neither that user, nor us, nor root is not heard. Datagrams
are bounded before they are looked at.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DATAGRAM_BYTES_MAX = 4096
PATH_BYTES_MAX = 107
CREDENTIALS_BYTES = 12
"""struct ucred: pid, uid, gid."""
ANCILLARY_BYTES = 64
"""Room for the credentials and four descriptors; the kernel closes those beyond."""


def open_notify(path: str, uid: int, gid: int) -> _socket.socket:
    """Bind the socket of one service at ``path``, for ``uid``. Raises ``OSError``."""
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise OSError(36, f"path of the NOTIFY_SOCKET is over {PATH_BYTES_MAX} bytes", path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        if uid != os.geteuid():
            os.chown(path, uid, gid, follow_symlinks=False)
    except OSError:
        sock.close()
        raise
    return sock


def receive(sock: _socket.socket, uid: int) -> bytes | None:
    """One datagram of whom we hear, empty for one of whom we do not; None: there is none."""
    try:
        data, ancillary, _, _ = sock.recvmsg(DATAGRAM_BYTES_MAX, ANCILLARY_BYTES)
    except OSError:
        return None
    heard = False
    for level, kind, value in ancillary:
        if level != _socket.SOL_SOCKET:
            continue
        if kind == _socket.SCM_RIGHTS:
            # Ours from here on, whoever sent them: kept, they would use up our descriptors, and
            # sd_notify_barrier(3), which systemd-notify calls, waits until they are closed.
            for at in range(0, len(value) - 3, 4):
                os.close(int.from_bytes(value[at : at + 4], sys.byteorder))
        elif kind == _socket.SCM_CREDENTIALS and len(value) >= CREDENTIALS_BYTES:
            heard = int.from_bytes(value[4:8], sys.byteorder) in (uid, 0, os.geteuid())
    return data if heard else b""


class Systemd:
    """The service manager above us, if there is one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_us = 0
        watchdog, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        if self._address and watchdog.isdigit() and pid in ("", str(os.getpid())):
            self.watchdog_us = int(watchdog)
        self._status = ""

    def tell(self, *lines: str) -> None:
        """Send what is new; nobody there, or nobody who listens, is no fault."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        except OSError:
            return
        try:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            pass
        finally:
            sock.close()

    def status(self, text: str) -> None:
        """STATUS, when it is another one than before."""
        if text != self._status:
            self._status = text
            self.tell(f"STATUS={text}")

    def reloading(self) -> None:
        """What Type=notify-reload wants to hear at the beginning of a reload."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
