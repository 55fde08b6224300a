"""TCP exchanges of the ring: one connection, one request, one response, then it is closed.

Frame: 4 bytes of length, big-endian, then that many bytes, at most ``STREAM_BYTES_MAX`` each way.
Every step has a deadline, so a peer that sends a byte a second (slow loris) or nothing holds a
connection for at most ``EXCHANGE_TIMEOUT_S`` each way. Both sides are bounded in concurrent
exchanges; what is over the bound is refused at once, because the core asks somebody else or
again. It never looks into the bytes: the core decides what they mean, and an empty response is a
refusal.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sup.edge.addresses import pack_address, unpack_address
from sup_core.limits import STREAM_BYTES_MAX

EXCHANGE_TIMEOUT_S: Final = 5.0
"""For the request and for the response, each: 4 MiB in 5 s is 7 Mbit/s."""
SERVER_EXCHANGES_MAX: Final = 64
"""Concurrent connections; with 4 MiB each way that bounds the memory an attacker can hold."""
SERVER_EXCHANGES_PER_IP_MAX: Final = 32
"""One address can't take all of them; a member has at most ``CLIENT_EXCHANGES_MAX`` open."""
SERVER_BYTES_MAX: Final = 32 * 1024 * 1024
"""Request bytes received and not yet handled, over all connections."""
CLIENT_EXCHANGES_MAX: Final = 16
CLIENT_WAITING_MAX: Final = 256
"""Exchanges that wait for one of the slots; more are failed at once."""
_LENGTH: Final = struct.Struct(">I")
_CHUNK: Final = 64 * 1024
_BACKLOG: Final = 64
log = logging.getLogger("sup.streams")

Handler = Callable[[bytes, bytes], bytes]
"""(request, source address) -> response; empty = refused."""


@dataclass(slots=True)
class StreamCounters:
    """What happened since the start; drops are visible, never silent."""

    served: int = 0
    refused: int = 0
    timed_out: int = 0
    broken: int = 0
    asked: int = 0
    failed: int = 0


class StreamServer:
    """Accepts exchanges on one listening socket and hands each request to ``handler``."""

    __slots__ = ("_bytes", "_counters", "_handler", "_per_ip", "_server", "_tasks")

    def __init__(self, handler: Handler, counters: StreamCounters) -> None:
        self._handler = handler
        self._counters = counters
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._per_ip: dict[bytes, int] = {}
        self._bytes = 0

    async def open(self, listening: socket.socket) -> None:
        """Serve on a bound socket, which this object closes."""
        self._server = await asyncio.start_server(
            self._accept, sock=listening, backlog=_BACKLOG, limit=_CHUNK
        )

    async def close(self) -> None:
        """Stop listening and end the exchanges that are under way."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = _peer_address(writer)
        if (
            source is None
            or len(self._tasks) >= SERVER_EXCHANGES_MAX
            or self._per_ip.get(source[:16], 0) >= SERVER_EXCHANGES_PER_IP_MAX
        ):
            self._counters.refused += 1
            writer.transport.abort()
            return
        self._per_ip[source[:16]] = self._per_ip.get(source[:16], 0) + 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, source))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(done, source[:16]))

    def _finished(self, task: asyncio.Task[None], ip: bytes) -> None:
        self._tasks.discard(task)
        left = self._per_ip.get(ip, 1) - 1
        if left > 0:
            self._per_ip[ip] = left
        else:
            self._per_ip.pop(ip, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("exchange failed error=%r", error)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: bytes
    ) -> None:
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
                request = await self._read_request(reader)
            response = self._handler(request, source) if request else b""
            if not response:
                self._counters.refused += 1
                return
            async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
                await _write_frame(writer, response)
            self._counters.served += 1
        except TimeoutError:
            self._counters.timed_out += 1
        except (OSError, asyncio.IncompleteReadError):
            self._counters.broken += 1
        finally:
            await _hang_up(writer)

    async def _read_request(self, reader: asyncio.StreamReader) -> bytes:
        """The request, or empty bytes if it is larger than allowed or there is no room for it."""
        size = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
        parts = bytearray()
        held = 0
        try:
            while len(parts) < size <= STREAM_BYTES_MAX:
                chunk = await _read_some(reader, size - len(parts))
                parts += chunk
                held += len(chunk)
                self._bytes += len(chunk)
                if self._bytes > SERVER_BYTES_MAX:
                    return b""
        finally:
            self._bytes -= held
        return bytes(parts)


class StreamClient:
    """Asks other members, a bounded number at a time; each exchange ends, answered or not.

    Members of one process may share one: then the bounds are those of the process.
    """

    __slots__ = ("_counters", "_slots", "_tasks", "_waiting_max")

    def __init__(self, counters: StreamCounters, waiting_max: int | None = None) -> None:
        self._counters = counters
        self._waiting_max = CLIENT_WAITING_MAX if waiting_max is None else waiting_max
        self._slots = asyncio.Semaphore(CLIENT_EXCHANGES_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, address: bytes, request: bytes, done: Callable[[bytes | None], None]) -> None:
        """Start an exchange; ``done`` gets the response or None, once, unless it is closed."""
        if len(self._tasks) >= CLIENT_EXCHANGES_MAX + self._waiting_max:
            self._counters.failed += 1
            asyncio.get_running_loop().call_soon(done, None)
            return
        task = asyncio.get_running_loop().create_task(self._run(address, request, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is under way; its ``done`` is not called any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(
        self, address: bytes, request: bytes, done: Callable[[bytes | None], None]
    ) -> None:
        async with self._slots:
            response = await exchange(address, request)
        if response is None:
            self._counters.failed += 1
        else:
            self._counters.asked += 1
        done(response)


async def exchange(address: bytes, request: bytes) -> bytes | None:
    """One request to one address: the response, or None if it was refused, broken or late."""
    writer = None
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            host, port = unpack_address(address)
            reader, writer = await asyncio.open_connection(host, port, limit=_CHUNK)
            await _write_frame(writer, request)
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            size = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
            if not 0 < size <= STREAM_BYTES_MAX:
                return None
            parts = bytearray()
            while len(parts) < size:
                parts += await _read_some(reader, size - len(parts))
            return bytes(parts)
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return None
    finally:
        if writer is not None:
            await _hang_up(writer)


async def _read_some(reader: asyncio.StreamReader, missing: int) -> bytes:
    """Some of the bytes that are missing: memory follows what was sent, not what was announced."""
    chunk = await reader.read(min(_CHUNK, missing))
    if not chunk:
        raise asyncio.IncompleteReadError(b"", missing)
    return chunk


async def _write_frame(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write a frame and wait until the kernel has all of it, so that the deadline covers it."""
    if len(data) > STREAM_BYTES_MAX:
        raise OSError(f"frame has {len(data)} bytes, limit {STREAM_BYTES_MAX}")
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(_LENGTH.pack(len(data)))
    writer.write(data)
    await writer.drain()


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close without waiting for the other side: what was drained is with the kernel."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            await writer.wait_closed()
    if not writer.transport.is_closing():
        writer.transport.abort()


def _peer_address(writer: asyncio.StreamWriter) -> bytes | None:
    """Source of a connection; None when it is already gone or needs a zone."""
    peer = writer.get_extra_info("peername")
    try:
        return pack_address(peer[0], peer[1])
    except (TypeError, ValueError):
        return None
