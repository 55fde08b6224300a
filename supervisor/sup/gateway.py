"""The gateway's sockets: where HTTP is answered, and when the HTTP code is loaded.

``Gateway.open`` binds and listens at once, so that a port in use is an error at start and a client
that comes early waits instead of being refused. The unix socket is answered by ``sup.control``. The
server for TCP (aiohttp, some 14 MB resident) is imported in a thread when the first connection
arrives there: a supervisor that nobody asks over the network never pays for it.

It decides nothing about services or configuration: every answer comes from ``sup.routes``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import logging
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sup.control import Control
from sup.edge import memory
from sup.errors import ExitCode, OperatorError
from sup.routes import SupervisorApi

if TYPE_CHECKING:
    from sup.gateway_http import Serving

log = logging.getLogger("sup.gateway")

BACKLOG = 128
"""Connections that the kernel holds while the HTTP code loads, or while the loop is busy."""

UNIX_PATH_BYTES_MAX = 107
"""``sizeof(sockaddr_un.sun_path) - 1`` on Linux."""

CLOSE_SECONDS = 5.0
"""How long requests in progress may go on after ``close``."""


class Gateway:
    """Listening sockets now, an HTTP server on TCP from the first connection there on."""

    def __init__(
        self, api: SupervisorApi | None, *, http: tuple[str, int] | None, unix_path: Path | None
    ) -> None:
        """``api`` None: it is given to ``open``, once there is one."""
        self._api = api
        self._http = http
        self._unix_path = unix_path
        self._unix_inode: tuple[int, int] | None = None
        self._unix: socket.socket | None = None
        self._control: Control | None = None
        self._tcp: socket.socket | None = None
        self._waiting = False
        self._starting: asyncio.Task[None] | None = None
        self._serving: Serving | None = None

    @property
    def http_address(self) -> tuple[str, int] | None:
        """The TCP address that is bound (the real port when 0 was asked for), or None."""
        if self._tcp is None:
            return None
        host, port = self._tcp.getsockname()[:2]
        return host, port

    async def bind(self) -> None:
        """Take the TCP address, so that one in use is known before the ring hears of this start.

        Raises:
            OperatorError: it is taken (exit 4), wrong (exit 2) or not permitted (exit 1).
        """
        if self._http is not None and self._tcp is None:
            self._tcp = await _listen_tcp(*self._http)

    async def open(self, api: SupervisorApi | None = None) -> None:
        """Answer on both. Returns before any HTTP library is loaded.

        Raises:
            OperatorError: an address is taken (exit 4), wrong (exit 2) or not permitted (exit 1);
                nothing stays bound.
        """
        self._api = api or self._api
        assert self._api is not None
        self._control = Control(self._api)
        try:
            await self.bind()
            if self._unix_path is not None:
                self._unix, self._unix_inode = _listen_unix(self._unix_path)
                await self._control.open(self._unix)
        except BaseException:
            self._close_sockets()
            raise
        if self._tcp is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._tcp.fileno(), self._first_connection)
            self._waiting = True

    async def close(self) -> None:
        """Refuse new connections, let requests in progress end (bounded), free the sockets."""
        self._stop_waiting()
        if self._control is not None:
            await self._control.close(CLOSE_SECONDS)
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        if self._serving is not None:
            await self._serving.close(CLOSE_SECONDS)
            self._serving = None
        self._close_sockets()

    def _first_connection(self) -> None:
        if self._waiting:
            self._stop_waiting()
            self._starting = asyncio.get_running_loop().create_task(self._serve())

    def _stop_waiting(self) -> None:
        if self._waiting and self._tcp is not None:
            self._waiting = False
            asyncio.get_running_loop().remove_reader(self._tcp.fileno())

    async def _serve(self) -> None:
        assert self._api is not None
        assert self._tcp is not None
        assert self._http is not None
        try:
            # Its own thread: the loop's executor may be full of work that waits for an answer of
            # ours.
            executor = ThreadPoolExecutor(1, "gateway-import")
            loop = asyncio.get_running_loop()
            loading = loop.run_in_executor(executor, importlib.import_module, "sup.gateway_http")
            executor.shutdown(wait=False)
            await loading
            from sup.gateway_http import serve

            self._serving = await serve(self._api, self._tcp, self._http[0].lower())
            memory.trim()
        except Exception:
            # Without its HTTP server a supervisor still supervises; clients are refused, not left
            # hanging.
            log.exception("gateway failed")
            self._tcp.close()
            self._tcp = None

    def _close_sockets(self) -> None:
        for sock in (self._tcp, self._unix):
            if sock is not None:
                sock.close()
        self._tcp = self._unix = None
        if self._unix_path is not None and self._unix_inode is not None:
            # Only the socket that we made: a successor may have put its own there already.
            with contextlib.suppress(OSError):
                found = self._unix_path.stat()
                if (found.st_dev, found.st_ino) == self._unix_inode:
                    self._unix_path.unlink()
            self._unix_inode = None


async def _listen_tcp(host: str, port: int) -> socket.socket:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OperatorError(f"HTTP address {where} can't be resolved: {error}") from None
    family, kind, proto, _, address = found[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(
                f"HTTP address {where} is in use; choose another with --listen-http HOST:PORT,"
                " or --listen-http off",
                ExitCode.CONFLICT,
            ) from None
        code = ExitCode.FAILED if error.errno == errno.EACCES else ExitCode.BAD_INPUT
        raise OperatorError(
            f"HTTP address {where} can't be used: {error.strerror}; "
            "choose another with --listen-http HOST:PORT",
            code,
        ) from None
    return sock


def _listen_unix(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    size = len(os.fsencode(path))
    if size > UNIX_PATH_BYTES_MAX:
        raise OperatorError(
            f"control socket path {path} is {size} bytes, limit is {UNIX_PATH_BYTES_MAX};"
            " choose a shorter --state-dir"
        )
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(os.fspath(path))
        # Nobody can connect between bind and listen, so there is no moment with a wider mode.
        path.chmod(0o600)
        made = path.stat()
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        code = ExitCode.CONFLICT if error.errno == errno.EADDRINUSE else ExitCode.FAILED
        raise OperatorError(
            f"control socket {path} can't be made: {error.strerror}", code
        ) from None
    return sock, (made.st_dev, made.st_ino)


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody listens; refuse to touch anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperatorError(
            f"control socket {path} can't be made: {error.strerror}", ExitCode.FAILED
        ) from None
    if not stat.S_ISSOCK(mode):
        raise OperatorError(
            f"control socket {path} can't be made: another file is there; move it away",
            ExitCode.CONFLICT,
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:
            pass  # EAGAIN (a full backlog) or a permission: somebody is there.
    raise OperatorError(
        f"control socket {path} is in use: a supervisor runs on this state directory already",
        ExitCode.CONFLICT,
    )
