"""HTTP on the control socket: small, loaded from the start, for the command line and for ``curl
--unix-socket``.

The socket's mode lets only the supervisor's own user connect, so this server checks no origin; it
is bounded all the same. It speaks as much HTTP/1.1 as its clients do: requests one after the
other, bodies with a ``Content-Length``. The command line uses it, so that asking for the status
does not load aiohttp into the supervisor (13 MB resident, half a second); what needs more of HTTP
uses the TCP address.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

from sup import gateway_table as table
from sup.gateway_table import Refused, Reply, Request, problem

if TYPE_CHECKING:
    from sup.gateway import SupervisorApi

HEAD_BYTES_MAX = 16 * 1024
"""Request line and headers together."""

HEADERS_MAX = 64

LINGER_SECONDS = 2.0
LINGER_READS_MAX = 64
"""How long, and for how much, a client that was refused is heard out before the connection ends."""

_LINE = re.compile(r"([A-Za-z]{1,20}) (/[!-~]*) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*?)[ \t]*")


class ControlServer:
    """Answers on one listening unix socket until it is closed."""

    def __init__(self, api: SupervisorApi) -> None:
        self._api = api
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    async def open(self, sock: socket.socket) -> None:
        """Serve on ``sock``, which listens already."""
        self._server = await asyncio.start_unix_server(
            self._connected, sock=sock, limit=HEAD_BYTES_MAX
        )

    async def close(self, timeout_s: float) -> None:
        """Refuse new connections, give requests in progress ``timeout_s``, close the rest."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks - self._busy:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= table.CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                wait_s = table.HEADER_SECONDS
                while await self._exchange(task, reader, writer, wait_s):
                    wait_s = table.KEEPALIVE_SECONDS
        finally:
            self._tasks.discard(task)
            self._busy.discard(task)
            writer.close()

    async def _exchange(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        wait_s: float,
    ) -> bool:
        """One request and its reply; False when the connection ends with it."""
        try:
            async with asyncio.timeout(wait_s):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError):
            return False
        except asyncio.LimitOverrunError:
            text = f"request head is larger than the limit of {HEAD_BYTES_MAX} bytes"
            await _send(writer, problem(431, text), "GET", keep=False)
            return await _hear_out(reader, writer)
        self._busy.add(task)
        method, keep, refused = "GET", False, False
        try:
            method, target, minor, headers = _parse(head)
            length = _length(headers)
            body = await _read(reader, writer, headers, length)
            wish = headers.get("connection", "keep-alive" if minor == "1" else "close").lower()
            keep = wish != "close" and self._server is not None and self._server.is_serving()

            async def read() -> bytes:
                return body

            reply = await table.answer(self._api, Request(method, target, headers, read))
        except Refused as error:
            # What follows on this connection may be the rest of the refused request: end it.
            reply, refused = error.reply, True
        except asyncio.IncompleteReadError:
            return False
        try:
            keep = await _send(writer, reply, method, keep=keep)
        finally:
            self._busy.discard(task)
        return await _hear_out(reader, writer) if refused else keep


def _parse(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, target, minor version and headers of a request head."""
    lines = head[:-4].decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(lines[0])
    if line is None:
        raise Refused(problem(400, f"not a request line: {lines[0][:100]!r}"))
    if len(lines) > HEADERS_MAX + 1:
        raise Refused(problem(431, f"more than {HEADERS_MAX} headers"))
    headers: dict[str, str] = {}
    for text in lines[1:]:
        header = _HEADER.fullmatch(text)
        if header is None:
            raise Refused(problem(400, f"not a header: {text[:100]!r}"))
        name = header[1].lower()
        if name in headers and name in ("content-length", "transfer-encoding"):
            raise Refused(problem(400, f"header {name} is given twice"))
        headers[name] = header[2]
    return line[1], line[2], line[3], headers


def _length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise Refused(problem(411, "send the body with a Content-Length"))
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Refused(problem(400, f"Content-Length is {text[:30]!r}"))
    # The number of digits first: a number of thousands of them is slow to make.
    if len(text) > 10 or int(text) > table.BODY_BYTES_MAX:
        raise table.too_large()
    return int(text)


async def _read(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: dict[str, str],
    length: int,
) -> bytes:
    if not length:
        return b""
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(table.BODY_SECONDS):
            return await reader.readexactly(length)
    except TimeoutError:
        raise table.too_slow() from None


async def _hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Say that nothing follows, and read what the client still sends, so that it gets to our reply.

    Bounded. Always False: the connection ends.
    """
    with contextlib.suppress(TimeoutError, OSError, RuntimeError):
        writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            for _ in range(LINGER_READS_MAX):
                if not await reader.read(HEAD_BYTES_MAX):
                    break
    return False


async def _send(writer: asyncio.StreamWriter, reply: Reply, method: str, *, keep: bool) -> bool:
    headers = {
        **reply.all_headers(),
        "Content-Length": str(len(reply.body)),
        "Connection": "keep-alive" if keep else "close",
    }
    head = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(head.encode("latin-1") + b"\r\n" + (b"" if method == "HEAD" else reply.body))
    try:
        async with asyncio.timeout(table.BODY_SECONDS):
            await writer.drain()
    except TimeoutError:
        return False
    return keep
