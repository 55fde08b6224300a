"""What the simulated network can do to a packet, each with its numbers; bad values are refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.test_simulator import Toy, flood, pair, send

from sup_core.simulator_engine import Engine
from sup_core.simulator_network import Network


def delays(network: Network) -> list[int]:
    """Return how long 2,000 packets took, sorted."""
    engine, a, b = pair(network)
    flood(engine, a, 2000)
    engine.advance(60_000_000)
    return sorted(t for t, _, _ in b.heard)


def test_latency_constant_is_the_median_for_every_packet() -> None:
    """No spread at all."""
    assert set(delays(Network(latency_us=700, law="constant", tail=0.0))) == {700}


def test_latency_lognormal_has_its_median_and_its_width() -> None:
    """Half are below the median; one in six above it times e to the sigma."""
    times = delays(Network(latency_us=1000, law="lognormal", sigma=0.5, tail=0.0, tail_us=100_000))
    assert 950 <= times[1000] <= 1050
    assert 1550 <= times[1683] <= 1750
    assert 330 <= times[45] <= 420


def test_latency_between_zones_is_theirs_one_way() -> None:
    """Zone 1 to zone 2 takes 40 ms, the way back the network's 300 us."""
    network = Network(law="constant", tail=0.0)
    network.set_zone_latency(1, 2, 40_000)
    engine, a, b = pair(network)
    engine.set_zone(0, 1)
    engine.set_zone(1, 2)
    send(engine, a, 0, 1)
    engine.advance(100_000)
    assert [t for t, _, _ in b.heard] == [40_000]
    assert [t for t, _, _ in a.heard] == [40_300]


def test_packet_above_the_mtu_is_lost_and_one_at_it_arrives() -> None:
    """A path that forwards no fragments."""
    engine, a, b = pair(Network(mtu_bytes=100, tail=0.0))
    for size in (100, 101):
        send(engine, a, 0, 1, bytes(size))
    engine.advance(10_000)
    assert [len(data) for _, data, _ in b.heard] == [100]
    assert engine.traffic(1)["lost_packets"] == 1


def test_truncation_is_dropped_by_the_checksum_or_delivered_shorter() -> None:
    """Never longer, never empty."""
    engine, a, b = pair(Network(truncate=1.0, checksum=False))
    for _ in range(50):
        send(engine, a, 0, 1, bytes(80))
    engine.advance(100_000)
    assert len(b.heard) == 50
    assert all(1 <= len(data) < 80 for _, data, _ in b.heard)
    engine, a, b = pair(Network(truncate=1.0))
    send(engine, a, 0, 1)
    engine.advance(100_000)
    assert b.heard == []


def test_link_that_loses_half_does_so_one_way_only() -> None:
    """A partial one-way fault of one pair."""
    engine, a, b = pair()
    engine.set_link_loss(0, 1, 0.5)
    flood(engine, a, 1000)
    for n in range(100):
        send(engine, b, 1, 0, b"%d" % n)
    engine.advance(1_000_000)
    assert 420 <= len(b.heard) <= 580
    assert len(a.heard) == 100
    engine.set_link_loss(0, 1, 0.0)
    flood(engine, a, 100)
    engine.advance(2_000_000)
    assert 520 <= len(b.heard) <= 680


def test_clock_that_jumps_fires_what_is_due_at_once() -> None:
    """As after a suspend in which the clock went on; virtual time does not jump."""
    engine = Engine(1, Network())
    toy = Toy(beat_us=60_000_000)
    engine.place(toy)
    engine.jump(0, 3_600_000_000)
    engine.advance(1_000)
    assert toy.fired == [3_600_000_000]
    assert engine.now_us == 1_000


@pytest.mark.parametrize(
    "options",
    [
        {"law": "normal"},
        {"law": "lognormal", "sigma": 2.1},
        {"mtu_bytes": 63},
        {"mtu_bytes": 1401},
        {"truncate": 1.5},
        {"latency_us": 0},
    ],
)
def test_network_out_of_bounds_is_refused_in_one_line(options: dict[str, Any]) -> None:
    """With the value and the bound."""
    with pytest.raises(ValueError, match=r"^[^\n]+(bounds are|known are)[^\n]+$"):
        Network(**options)


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.set_zone(0, -1),
        lambda e: e.jump(0, -1),
        lambda e: e.set_link_loss(0, 1, 1.5),
        lambda e: e.network.set_zone_latency(0, 1, 0),
        lambda e: e.network.set_zone_latency(0, 70_000, 10),
    ],
)
def test_host_fault_out_of_bounds_is_refused(call: Any) -> None:
    """Before anything has changed."""
    engine, _, _ = pair()
    with pytest.raises(ValueError, match="bounds are"):
        call(engine)
