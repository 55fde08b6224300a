"""What the gossip core costs: packets, timers and whole simulated rings.

Each bench states its question. The cases in C time `Node.receive` and `Node.transmit` packet by
packet in a loop of C; the packet benches feed recorded datagrams of a real (simulated) ring to one
of its members through the Python surface, so they include the call and two bytes objects; the ring
benches run through the C surface, without a Python object per packet. A number from here is quoted
only with its spread and the machine.
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from sup_core.bench_hooks import PacketBench
from sup_core.config import Config
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form

PACKETS = 1000
C_PACKETS = 20_000
C_ROUNDS = 7
C_CASES = {
    "quiet": "a ping in, an ack out, nothing else",
    "known": "a ping and six statuses that are held already, an ack with six",
    "raised": "a ping and six statuses with new incarnations, an ack with six",
    "cards": "a ping and six members with full cards, an ack with six",
    "new_cards": "a ping and six new versions of cards, an ack with six",
    "build": "no packet in, a ping with six statuses is built",
    "build_cards": "no packet in, a ping with six full cards is built",
    "clock": "what the two readings of the clock in each of these figures cost",
}


@pytest.mark.parametrize("members", [100, 10_000])
@pytest.mark.parametrize("case", sorted(C_CASES))
def test_packet_in_c(benchmark: Any, case: str, members: int) -> None:
    """How long does one packet take in the core, without a Python call? (median, p99; 20,000)"""
    found: list[tuple[float, float]] = []

    def run() -> None:
        node = Node(
            Config(),
            member_id=bytes(16),
            name="bench",
            ring="bench",
            address=bytes(10) + b"\xff\xff\x0a\xff\x00\x01\x25\xa6",
            epoch=1,
            seed=len(found),
            now=0,
        )
        bench = PacketBench(node, members, seed=len(found))
        bench.measure(case, 1000)
        times = sorted(bench.measure(case, C_PACKETS))
        found.append((statistics.median(times), times[len(times) * 99 // 100]))
        benchmark.extra_info["bytes"] = f"{bench.bytes_in} in, {bench.bytes_out} out"

    benchmark.pedantic(run, rounds=C_ROUNDS)
    medians = [median for median, _ in found]
    p99 = statistics.median(tail for _, tail in found)
    benchmark.extra_info["question"] = (
        f"{members:,} members: {C_CASES[case]} ({benchmark.extra_info['bytes']})"
    )
    benchmark.extra_info["value"] = f"{statistics.median(medians):.0f} ns, p99 {p99:.0f} ns"
    benchmark.extra_info["spread"] = f"{min(medians):.0f} to {max(medians):.0f} ns"
    benchmark.extra_info["rounds"] = C_ROUNDS
    benchmark.extra_info["bound"] = "" if case == "clock" else "1000 ns"


def ring(members: int) -> Simulator:
    """Form a ring without checks; all agree."""
    sim = Simulator(seed=1, checks=[])
    form(sim, members)
    return sim


class Recorder:
    """A node around a node that keeps what it hears."""

    def __init__(self, inner: Node) -> None:
        self.inner = inner
        self.heard: list[tuple[bytes, bytes, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def handle_datagram(self, data: bytes, source: bytes, now: int) -> None:
        """Keep, and pass on."""
        self.heard.append((data, source, now))
        self.inner.handle_datagram(data, source, now)


def record(members: int, *, churn: bool) -> Recorder:
    """Run a ring until one member has heard enough; with churn its packets carry news."""
    sim = ring(members)
    recorder = Recorder(sim.node_of(0))
    sim.boot(0, recorder)
    while len(recorder.heard) < PACKETS:
        if churn:
            victim = sim.faults.choice(sim.running()[1:])
            sim.restart(victim)
        sim.run(1.0)
    return recorder


def drain(node: Node) -> None:
    """Take all outputs."""
    while node.poll_transmit():
        pass
    while node.poll_event():
        pass


@pytest.mark.parametrize("churn", [False, True], ids=["quiet", "news"])
def test_handle_packet(benchmark: Any, churn: bool) -> None:
    """How long does a member of 100 take per packet, answer written and drained? (1,000 packets)"""
    recorder = record(100, churn=churn)
    node = recorder.inner
    packets = recorder.heard[:PACKETS]
    end = recorder.heard[-1][2]

    def run() -> None:
        for data, source, _ in packets:
            node.handle_datagram(data, source, end)
            drain(node)

    benchmark.extra_info["packets"] = len(packets)
    benchmark.extra_info["bytes"] = sum(len(data) for data, _, _ in packets)
    benchmark(run)


def test_refuse_packet(benchmark: Any) -> None:
    """How fast is a packet of another ring refused? (1,000 packets)"""
    recorder = record(10, churn=False)
    stranger = Node(
        Config(),
        member_id=b"\xff" * 16,
        name="stranger",
        ring="other",
        address=bytes(18),
        epoch=1,
        seed=1,
        now=0,
    )
    packets = recorder.heard[:PACKETS]

    def run() -> None:
        for data, source, _ in packets:
            stranger.handle_datagram(data, source, 0)

    benchmark(run)
    drain(stranger)


@pytest.mark.parametrize("members", [100, 1000])
def test_questions_of_a_view(benchmark: Any, members: int) -> None:
    """What does `members()` cost who asks for the whole view?"""
    node = ring(members).node_of(0)
    assert len(benchmark(node.members)) == members
