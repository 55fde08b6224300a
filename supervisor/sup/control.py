"""The control socket: HTTP/1.1 for the programs of this host, on a unix socket of mode 0600.

The command line must work when memory is short, and must not make the supervisor import an HTTP
library of 14 MB for one question. So this is the least server that ``curl --unix-socket`` and the
standard library's client can talk to: one request per connection, a body only with
``Content-Length``, no chunks, no keep-alive. Whoever can open the socket is the supervisor's own
user; everything that a stranger may reach is served by ``sup.gateway_http``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import struct
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Protocol

from sup.routes import (
    BODY_BYTES_MAX,
    STREAM_SECONDS,
    Answer,
    Request,
    SupervisorApi,
    answer,
    problem,
    too_large,
)

log = logging.getLogger("sup.gateway")

HEAD_BYTES_MAX = 16 * 1024
"""Request line and headers together."""
READ_SECONDS = 10.0
"""For the whole request: a client on this host has it ready."""
WRITE_SECONDS = 30.0
LINGER_SECONDS = 1.0
LINGER_BYTES_MAX = 8 * 1024 * 1024
"""Of a refused request, read and thrown away."""
_UCRED = struct.Struct("iIi")  # pid, uid, gid
CONNECTIONS_MAX = 64
"""Requests at once; one more is refused with 503."""


class Guard(Protocol):
    """Who else may ask, and what; ``uid`` is what the kernel says of the other side."""

    def knows(self, uid: int) -> bool:
        """Whether the connection is answered at all."""
        ...

    def refusal(self, request: Request, uid: int) -> Answer | None:
        """The answer to what is not permitted, or None: it is."""
        ...


class Control:
    """Answers on one listening unix socket."""

    def __init__(self, api: SupervisorApi, guard: Guard | None = None) -> None:
        """With a ``guard``, others than the supervisor's own user may ask what it permits."""
        self._api = api
        self._guard = guard
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()

    async def open(self, sock: socket.socket) -> None:
        """Answer on ``sock``, which listens already; it is closed by ``close``."""
        self._server = await asyncio.start_unix_server(
            self._accept, sock=sock, limit=HEAD_BYTES_MAX
        )

    async def close(self, timeout_s: float) -> None:
        """Refuse new connections, give requests in progress ``timeout_s``, close the rest."""
        if self._server is None:
            return
        self._server.close()
        for task in self._busy - self._answering:
            task.cancel()  # it has asked nothing yet
        if self._answering:
            await asyncio.wait(self._answering, timeout=timeout_s)
        for task in self._busy:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            uid = -1 if self._guard is None else _peer(writer)
            if self._guard is not None and not self._guard.knows(uid):
                return
            if len(self._busy) > CONNECTIONS_MAX:
                await _write(writer, problem(503, f"{CONNECTIONS_MAX} requests are in progress"))
                return
            try:
                async with asyncio.timeout(READ_SECONDS):
                    request = await _read(reader, writer)
            except TimeoutError:
                request = problem(408, f"request not received in {READ_SECONDS:.0f} s")
            if request is None:
                return
            if self._guard is not None and isinstance(request, Request):
                request = self._guard.refusal(request, uid) or request
            self._answering.add(task)
            if isinstance(request, Request):
                head_only = request.method == "HEAD"
                found = await answer(self._api, request)
                if found.stream is not None and not head_only:
                    self._answering.discard(task)  # it may go on for ever: nothing waits for it
                    await _write_stream(writer, found, found.stream)
                else:
                    await _write(writer, found, head_only)
            else:
                await _write(writer, request)
                await _linger(reader)
        except (OSError, TimeoutError):
            pass  # the client has gone; nobody is left to be told
        except asyncio.CancelledError:
            pass  # ``close``: the task ends here, and asyncio's server would log an error
        finally:
            self._busy.discard(task)
            self._answering.discard(task)
            writer.close()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user at the other end, by SO_PEERCRED (unix(7)); -1 when it is gone."""
    sock = writer.get_extra_info("socket")
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return -1
    uid: int = _UCRED.unpack(data)[1]
    return uid


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | Answer | None:
    """One request, or the refusal of it, or None when the client closed without one."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return problem(400, "request ends within its headers") if error.partial else None
    except asyncio.LimitOverrunError:
        return problem(431, f"headers are larger than the limit of {HEAD_BYTES_MAX} bytes")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return problem(400, "not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            return problem(400, "a header is malformed or given twice")
        headers[name.lower()] = value.strip()
    path, _, query = words[1].partition("?")
    body = b""
    if "transfer-encoding" in headers:
        return problem(411, "this socket wants Content-Length, not chunks")
    if "content-length" in headers:
        length = headers["content-length"]
        if not (length.isascii() and length.isdigit()):
            return problem(400, "Content-Length is not a number")
        if len(length) > 10 or int(length) > BODY_BYTES_MAX:
            return too_large()
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await reader.readexactly(int(length))
        except asyncio.IncompleteReadError:
            return problem(400, "request ends within its body")
    return Request(words[0], path, query, headers, body)


async def _linger(reader: asyncio.StreamReader) -> None:
    """Let a client that is refused finish what it sends: closing before would cut the answer off.

    Bounded in time and bytes; a client with more has to do without the answer.
    """
    room = LINGER_BYTES_MAX
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while room > 0 and (data := await reader.read(HEAD_BYTES_MAX)):
                room -= len(data)


async def _write_stream(
    writer: asyncio.StreamWriter, answer: Answer, stream: AsyncGenerator[bytes]
) -> None:
    """Write what comes until it ends: a body without a length, which ends with the connection."""
    _write_head(writer, answer, {})
    sock = writer.get_extra_info("socket")
    try:
        async with contextlib.aclosing(stream) as reading:
            async for data in reading:
                if not data and _hung_up(sock.fileno()):
                    return
                writer.write(data)
                async with asyncio.timeout(STREAM_SECONDS):
                    await writer.drain()
        writer.write_eof()
    except TimeoutError:
        writer.write(answer.too_slow)
        await asyncio.sleep(LINGER_SECONDS)
        writer.transport.abort()


def _hung_up(fd: int) -> bool:
    """Whether the other side of a unix socket has closed it, and not only ended its request."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _write_head(writer: asyncio.StreamWriter, answer: Answer, length: Mapping[str, str]) -> None:
    headers = {
        "Content-Type": answer.content_type,
        **length,
        "Cache-Control": "no-store",
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))


async def _write(writer: asyncio.StreamWriter, answer: Answer, head_only: bool = False) -> None:
    length = {} if answer.stream else {"Content-Length": str(len(answer.body))}
    _write_head(writer, answer, length)
    if not head_only:
        writer.write(answer.body)
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.drain()
        writer.write_eof()
