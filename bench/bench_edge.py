"""Question: how fast does the hub echo datagrams, against a C loop and against Python protocols?

Against C: `bench/echo_loop.c` (epoll_wait, recvfrom, sendto) and the hub on uvloop run side by
side, and one client in C keeps 1, 4 or 64 packets of 128 bytes under way with each of them in
turns of a fifth of a second. The figure is the median of the ratios of neighbouring turns, by
packets per second and by CPU time of the server per packet; with the tag of the ring and without.
Against Python: 1,000 datagrams wait in the socket, and the time is that of the server alone until
all are answered. Ratios count; absolute times depend on the machine.

    pytest bench/bench_edge.py --benchmark-enable
    python bench/bench_edge.py              # the ratios against C alone, as a table
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sup.edge.datagram_ports import EchoPort, tag_of
from sup.edge.datagrams import Hub

ROOT = Path(__file__).resolve().parents[1]
PACKETS = 1000
PAYLOAD = bytes(128)
ROUNDS = 15
TURN_MS = 200
TURNS = 15
KEY = 0x5EED
BOUNDS = {1: 1.0, 4: 0.95, 64: 1.2}
"""Packets per second of the hub, as a share of what the C loop does; by window."""


def udp() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    bound.bind(("127.0.0.1", 0))
    bound.setblocking(False)
    return bound


# --- against C ---------------------------------------------------------------------------------


def build() -> Path:
    """Compile the yardstick; skipped where there is no C compiler."""
    source, made = ROOT / "bench" / "echo_loop.c", ROOT / "build" / "bench" / "echo_loop"
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc or gcc) on PATH")
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        made.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-Wall", "-o", str(made), str(source)], check=True)
    return made


class Server:
    """An echo server in a process of its own, on the first CPU that this process may use."""

    def __init__(self, command: list[str], payload: bytes = PAYLOAD) -> None:
        self.payload = payload
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self.process.pid, cpus[:1])

    def cpu_ns(self) -> int:
        """Time on a CPU until now."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0])

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


@contextlib.contextmanager
def servers(*wanted: tuple[list[str], bytes]) -> Iterator[list[Server]]:
    """All at once, ended in the end."""
    started: list[Server] = []
    try:
        for command, payload in wanted:
            started.append(Server(command, payload))
        yield started
    finally:
        for server in started:
            server.end()


@dataclass(frozen=True)
class Turn:
    """What one turn of the client with one server gave."""

    packets_s: float
    cpu_us: float


def drive(loop: Path, server: Server, window: int, turn_ms: int = TURN_MS) -> Turn:
    """Keep ``window`` packets under way with a server; the client has the other CPU."""
    cpus = sorted(os.sched_getaffinity(0))
    before = server.cpu_ns()
    said = subprocess.run(
        [str(loop), "drive", str(server.port), str(window), str(turn_ms), server.payload.hex()],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus[-1:]),
    ).stdout.split()
    packets, seconds = int(said[0]), float(said[1])
    if not packets:
        raise RuntimeError("the echo server does not answer")
    return Turn(packets / seconds, (server.cpu_ns() - before) / 1e3 / packets)


@dataclass(frozen=True)
class Compared:
    """Ratios of neighbouring turns: packets per second, and the other way round CPU per packet."""

    rates: list[float]
    cpus: list[float]
    c_cpu_us: float
    hub_cpu_us: float

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpus)

    @property
    def spread(self) -> str:
        quarters = statistics.quantiles(self.rates, n=4)
        return f"{quarters[0]:.2f} to {quarters[2]:.2f}"


def compare(loop: Path, yardstick: Server, hub: Server, window: int, turns: int) -> Compared:
    """Alternate between both; the order within a pair alternates too."""
    for server in (yardstick, hub):
        drive(loop, server, window, 50)
    pairs = []
    for number in range(turns):
        order = (yardstick, hub) if number % 2 else (hub, yardstick)
        got = {id(server): drive(loop, server, window) for server in order}
        pairs.append((got[id(yardstick)], got[id(hub)]))
    return Compared(
        [ours.packets_s / theirs.packets_s for theirs, ours in pairs],
        [theirs.cpu_us / ours.cpu_us for theirs, ours in pairs],
        statistics.median(theirs.cpu_us for theirs, _ in pairs),
        statistics.median(ours.cpu_us for _, ours in pairs),
    )


def hub_command(*, is_tagged: bool) -> list[str]:
    return [sys.executable, __file__, "--serve", "tagged" if is_tagged else "plain"]


def payload_of(*, is_tagged: bool) -> bytes:
    """128 bytes; with the tag as the last 8 of them, if it is checked."""
    return PAYLOAD[:-8] + tag_of(PAYLOAD[:-8], KEY) if is_tagged else PAYLOAD


def serve(kind: str) -> None:
    """The hub with an echo port, until the standard input ends."""
    loop = uvloop.new_event_loop()
    hub, bound = Hub(loop), udp()
    hub.add(EchoPort(KEY if kind == "tagged" else None), bound)
    print(bound.getsockname()[1], flush=True)
    loop.add_reader(0, loop.stop)
    loop.run_forever()
    hub.close()
    loop.close()


@pytest.mark.parametrize("is_tagged", [False, True], ids=["plain", "tagged"])
@pytest.mark.parametrize("window", sorted(BOUNDS))
def test_echo_against_c(benchmark: Any, window: int, is_tagged: bool) -> None:
    """Echoed packets per second of the hub, as a share of a C loop's, by packets under way."""
    loop = build()
    plain = ([str(loop), "serve"], payload_of(is_tagged=is_tagged))
    hub = (hub_command(is_tagged=is_tagged), payload_of(is_tagged=is_tagged))
    with servers(plain, hub) as (yardstick, ours):
        found = benchmark.pedantic(
            compare, args=(loop, yardstick, ours, window, TURNS), rounds=1, warmup_rounds=0
        )
    benchmark.extra_info["value"] = f"{found.rate:.2f} (CPU per packet {found.cpu:.2f})"
    benchmark.extra_info["spread"] = found.spread
    benchmark.extra_info["rounds"] = TURNS
    benchmark.extra_info["bound"] = f"≥ {BOUNDS[window]:g}"


def print_ratios(turns: int) -> None:
    """The table of ``python bench/bench_edge.py``."""
    loop = build()
    wanted = [
        ("C, drain until empty", [str(loop), "drain"], PAYLOAD),
        ("hub on uvloop", hub_command(is_tagged=False), PAYLOAD),
        ("hub, tag checked and written", hub_command(is_tagged=True), payload_of(is_tagged=True)),
    ]
    print("ratio to a C loop of epoll_wait, recvfrom, sendto; median and quartiles of", turns)
    print(f"{'':30} {'window':>6} {'packets/s':>9} {'quartiles':>14} {'CPU':>6} {'us/packet':>13}")
    for name, command, payload in wanted:
        with servers(([str(loop), "serve"], payload), (command, payload)) as (yardstick, ours):
            for window in BOUNDS:
                found = compare(loop, yardstick, ours, window, turns)
                costs = f"{found.hub_cpu_us:.1f} / {found.c_cpu_us:.1f}"
                print(
                    f"{name:30} {window:6} {found.rate:9.2f} {found.spread:>14} {found.cpu:6.2f}"
                    f" {costs:>13}",
                    flush=True,
                )


# --- against Python ----------------------------------------------------------------------------


class EchoProtocol(asyncio.DatagramProtocol):
    """What one writes without the hub."""

    def __init__(self) -> None:
        self.echoed = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)
        self.echoed += 1


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


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        print_ratios(int(sys.argv[1]) if sys.argv[1:] else TURNS)
