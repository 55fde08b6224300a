"""What the gossip core costs: packets, timers and whole simulated rings.

Each bench states its question. The packet benches feed recorded datagrams of a real (simulated)
ring to one of its members through the Python surface, so they include the call and two bytes
objects; the ring benches run through the C surface, without a Python object per packet. A number
from here is quoted only with its spread and the machine.
"""

from __future__ import annotations

from typing import Any

import pytest

from sup_core.config import Config
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form

PACKETS = 1000


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
