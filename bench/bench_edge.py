"""Question: how much cheaper is one echoed datagram in the hub than in a Python protocol?

Both serve the same packets in the same run: 1,000 datagrams of 128 bytes already wait in the
socket, and the time is that of the server alone until all are answered. The ratio is what counts;
absolute times depend on the machine. `pytest bench/bench_edge.py --benchmark-enable`
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from sup.edge.datagram_ports import EchoPort
from sup.edge.datagrams import Hub

PACKETS = 1000
PAYLOAD = bytes(128)
ROUNDS = 15


class EchoProtocol(asyncio.DatagramProtocol):
    """What one writes without the hub."""

    def __init__(self) -> None:
        self.echoed = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)
        self.echoed += 1


def udp() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    bound.bind(("127.0.0.1", 0))
    bound.setblocking(False)
    return bound


def measure(
    benchmark: Any,
    loop: asyncio.AbstractEventLoop,
    server: socket.socket,
    echoed: Callable[[], int],
) -> None:
    """Time the loop from "all packets wait" to "all are answered"."""
    where = server.getsockname()
    client = udp()
    goal = echoed()

    def fill() -> None:
        nonlocal goal
        while True:
            try:
                client.recv(2048)
            except BlockingIOError:
                break
        goal = echoed() + PACKETS
        for _ in range(PACKETS):
            client.sendto(PAYLOAD, where)

    async def until_answered() -> None:
        while echoed() < goal:  # noqa: ASYNC110 - an event would add cost to one side only
            await asyncio.sleep(0)

    benchmark.group = "echo of 1,000 datagrams"
    benchmark.extra_info["packets"] = PACKETS
    benchmark.pedantic(
        lambda: loop.run_until_complete(until_answered()),
        setup=fill,
        rounds=ROUNDS,
        warmup_rounds=3,
    )
    client.close()


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_echo_hub(benchmark: Any, kind: str) -> None:
    """The Cython hub: recvmmsg and sendmmsg, no Python object per packet."""
    loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
    hub = Hub(loop)
    port, server = EchoPort(), udp()
    hub.add(port, server)
    measure(benchmark, loop, server, lambda: port.echoed)
    hub.close()
    loop.close()


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_echo_datagram_protocol(benchmark: Any, kind: str) -> None:
    """An asyncio.DatagramProtocol in Python, on either loop."""
    loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
    server = udp()
    transport, protocol = loop.run_until_complete(
        loop.create_datagram_endpoint(EchoProtocol, sock=server)
    )
    measure(benchmark, loop, server, lambda: protocol.echoed)
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
