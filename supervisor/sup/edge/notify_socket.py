"""The ``NOTIFY_SOCKET`` of a service that has no launcher: read by this process's event loop.

The socket is a file in the service's directory that only its user may write to, and the kernel says
who sent each datagram (SO_PASSCRED, unix(7)): what comes from another user than the service's,
ours or root is dropped. Its name is the same at every start, so a service that was adopted reaches
the next supervisor. Datagrams are bounded and read a few at a time, so a service that floods slows
itself down, not the loop. Neighbours: ``sup.launcher.notify`` (the same beneath a launcher),
``sup.model.notify`` (what is said).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from sup.edge.users import Credentials
from sup.launcher.notify import open_notify, receive

DATAGRAMS_PER_TURN = 16
"""Datagrams read before the loop turns to others."""


class NotifySocket:
    """One service's socket, heard from ``open`` to ``close``."""

    def __init__(self, path: Path, credentials: Credentials | None) -> None:
        """Bind ``path`` for the user of the service.

        Raises:
            OSError: the directory is not there, or the path has more than 107 bytes.
        """
        self.path = path
        self._uid = os.geteuid() if credentials is None else credentials.uid
        gid = os.getegid() if credentials is None else credentials.gid
        self._socket = open_notify(str(path), self._uid, gid)
        self._loop = asyncio.get_running_loop()
        self._heard: Callable[[bytes], None] = lambda data: None

    def tell(self, heard: Callable[[bytes], None]) -> None:
        """``heard`` gets each datagram from here on; the kernel has kept those before."""
        self._heard = heard
        self._loop.add_reader(self._socket.fileno(), self._handle_readable)

    def close(self, *, remove: bool) -> None:
        """Hear no more; ``remove`` the file when the service is gone."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _handle_readable(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            data = receive(self._socket, self._uid)
            if data is None:
                return
            if data:
                self._heard(data)
