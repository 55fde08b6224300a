"""TCP exchanges on loopback: framing, limits, deadlines, under both event loops."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sup.edge import streams
from sup.edge.addresses import HostPort, pack_address, unpack_address
from sup.edge.sockets import bind_pair
from sup.edge.streams import StreamClient, StreamCounters, StreamServer, exchange
from sup_core.limits import STREAM_BYTES_MAX

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Handler = Callable[[bytes, bytes], bytes]


def run(loop_factory: LoopFactory, body: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(body(), 60))


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "condition did not hold in time"
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[bytes, StreamCounters]]:
    datagrams, listening = bind_pair(HostPort(host, 0))
    datagrams.close()
    port = listening.getsockname()[1]
    counters = StreamCounters()
    server = StreamServer(handler, counters)
    await server.open(listening)
    try:
        yield pack_address(host, port), counters
    finally:
        await server.close()


def port_of(address: bytes) -> int:
    return unpack_address(address)[1]


def echo(request: bytes, source: bytes) -> bytes:
    return request


@pytest.mark.parametrize("size", [1, 40 * 1024, STREAM_BYTES_MAX])
def test_exchange_of_any_size_gives_the_response(size: int, loop_factory: LoopFactory) -> None:
    """Up to the limit each way, whatever the segments."""

    async def body() -> None:
        async with serving(echo) as (address, counters):
            assert await exchange(address, b"x" * size) == b"x" * size
            await until(lambda: counters.served == 1)

    run(loop_factory, body)


def test_exchange_over_ipv6_names_the_source(loop_factory: LoopFactory, ipv6_loopback: str) -> None:
    """The handler learns the address in the core's form."""

    async def body() -> None:
        async with serving(lambda _, source: source[:16], ipv6_loopback) as (address, _):
            assert await exchange(address, b"?") == bytes(15) + b"\x01"

    run(loop_factory, body)


def test_exchange_refused_by_the_handler_is_none(loop_factory: LoopFactory) -> None:
    """An empty response closes the connection; the asker sees a failure, not an empty success."""

    async def body() -> None:
        async with serving(lambda _, __: b"") as (address, counters):
            assert await exchange(address, b"?") is None
            assert counters.refused == 1

    run(loop_factory, body)


def test_exchange_nobody_listens_is_none(loop_factory: LoopFactory) -> None:
    """A refused connection is an answer of its own: nothing raises."""

    async def body() -> None:
        datagrams, listening = bind_pair(HostPort("127.0.0.1", 0))
        port = listening.getsockname()[1]
        datagrams.close()
        listening.close()
        assert await exchange(pack_address("127.0.0.1", port), b"?") is None

    run(loop_factory, body)


def test_server_announced_length_over_the_limit_is_refused(loop_factory: LoopFactory) -> None:
    """The length is checked before anything is allocated or awaited."""

    async def body() -> None:
        async with serving(echo) as (address, counters):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
            writer.write(struct.pack(">I", STREAM_BYTES_MAX + 1))
            assert await reader.read() == b""
            writer.close()
            assert counters.refused == 1

    run(loop_factory, body)


def test_client_response_over_the_limit_is_none(loop_factory: LoopFactory) -> None:
    """A server that announces too much gets nothing more of our memory."""

    async def body() -> None:
        async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(struct.pack(">I", STREAM_BYTES_MAX + 1))
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(lie, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await exchange(pack_address("127.0.0.1", port), b"?") is None
        server.close()

    run(loop_factory, body)


def test_server_slow_request_is_cut_off(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow loris: the deadline is for the whole request, bytes that trickle do not extend it."""
    monkeypatch.setattr(streams, "EXCHANGE_TIMEOUT_S", 0.2)

    async def body() -> None:
        async with serving(echo) as (address, counters):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(address))
            writer.write(struct.pack(">I", 1000))
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                with contextlib.suppress(OSError):
                    writer.write(b"x")
                await asyncio.wait([ended], timeout=0.02)
            writer.close()
            assert counters.timed_out == 1

    run(loop_factory, body)


def test_server_reader_that_never_reads_is_cut_off(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that nobody takes ends at its deadline, and its connection with it."""
    monkeypatch.setattr(streams, "EXCHANGE_TIMEOUT_S", 0.2)

    async def body() -> None:
        async with serving(lambda _, __: b"x" * STREAM_BYTES_MAX) as (address, counters):
            with socket.socket() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peer.connect(("127.0.0.1", port_of(address)))
                peer.sendall(struct.pack(">I", 1) + b"?")
                await until(lambda: counters.timed_out == 1)

    run(loop_factory, body)


def test_exchange_silent_server_is_none_at_the_deadline(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that accepts and hangs costs one deadline."""
    monkeypatch.setattr(streams, "EXCHANGE_TIMEOUT_S", 0.2)

    async def body() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            port = silent.getsockname()[1]
            assert await exchange(pack_address("127.0.0.1", port), b"?") is None

    run(loop_factory, body)


def test_server_more_connections_than_allowed_are_refused(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle connections take their slots until the deadline, others are closed at once."""
    monkeypatch.setattr(streams, "SERVER_EXCHANGES_MAX", 4)

    async def body() -> None:
        async with serving(echo) as (address, counters):
            port = port_of(address)
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await until(lambda: counters.refused == 1)
            for _, one in [*idle, (reader, writer)]:
                one.close()
            await until(lambda: counters.broken == 4)
            for _ in range(1000):  # a slot is free once its connection has been closed
                if await exchange(address, b"again") == b"again":
                    break
            assert counters.served == 1

    run(loop_factory, body)


def test_client_exchanges_at_once_are_bounded_and_all_end(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than the slots wait their turn; more than the waiting room fail, each exactly once."""
    monkeypatch.setattr(streams, "CLIENT_EXCHANGES_MAX", 2)
    monkeypatch.setattr(streams, "CLIENT_WAITING_MAX", 3)

    async def body() -> None:
        async with serving(echo) as (address, _):
            counters = StreamCounters()
            client = StreamClient(counters)
            answers: list[bytes | None] = []
            for number in range(8):
                client.ask(address, bytes([number]), answers.append)
            await until(lambda: len(answers) == 8)
            assert sorted(one for one in answers if one is not None) == [
                bytes([n]) for n in range(5)
            ]
            assert counters.failed == 3
            await client.close()

    run(loop_factory, body)


def test_client_closed_calls_nobody_back(loop_factory: LoopFactory) -> None:
    """After close no answer reaches a node that may be gone."""

    async def body() -> None:
        async with serving(echo) as (address, _):
            client = StreamClient(StreamCounters())
            answers: list[bytes | None] = []
            client.ask(address, b"?", answers.append)
            await client.close()
            assert answers == []

    run(loop_factory, body)
