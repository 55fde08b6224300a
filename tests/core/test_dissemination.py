"""What is told how often and to whom: neighbours, copies, fair lanes, one batch for a tick."""

from __future__ import annotations

import pytest
from tests.core.rings import SECOND, Ring, address, member_id
from tests.core.wire import (
    DEAD,
    MEMBER,
    RUMOR,
    STATUS,
    awake,
    card,
    packet,
    read,
    rumor,
    sent,
    short,
)

from sup_core.config import Config
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form
from sup_core.simulator_network import Network


def lone(now: int = 0, *, peers: int = 0, **settings: int) -> Node:
    """A node that knows ``peers`` members and has told its news of them."""
    node = Node(
        Config(**settings),
        member_id=member_id(0),
        name="m0",
        ring="test",
        address=address(0),
        epoch=1,
        seed=7,
        now=now,
    )
    for index in range(1, peers + 1):
        node.handle_datagram(
            packet(member_id(index), [10], card(member_id(index), f"m{index}", address(index))),
            address(index),
            now,
        )
    for step in range(40):
        node.handle_timeout(now + step * 50_000)
        sent(node)
    return node


def gossip(node: Node, tag: int, now: int, seconds: float = 1.0) -> dict[int, list[bytes]]:
    """The targets that each packet with a message of this kind goes to, by time."""
    found: dict[int, list[bytes]] = {}
    for t in range(now, now + int(seconds * SECOND), 10_000):
        if t > now:
            node.handle_timeout(t)
        for target, messages in sent(node):
            if any(m[0] == tag for m in messages) and not any(m[0] in (1, 2) for m in messages):
                found.setdefault(t, []).append(target)
    return found


def test_rumor_goes_to_both_neighbours_in_id_order_within_two_ticks() -> None:
    """One target of a tick is the next or the previous member: a chain that chance cannot break."""
    now = 5 * SECOND
    node = lone(peers=30)
    own = short(member_id(0))
    others = sorted(range(1, 31), key=lambda i: (short(member_id(i)) - own) % (1 << 64))
    node.publish(1, b"key", b"value", now)
    targets = [target for found in gossip(node, RUMOR, now).values() for target in found]
    assert len(targets) == 6
    assert {address(others[0]), address(others[-1])} <= set(targets)


def test_neighbour_that_dies_is_replaced_by_the_one_behind_it() -> None:
    """The chain closes as soon as the death is known."""
    now = 5 * SECOND
    node = lone(peers=30)
    own = short(member_id(0))
    others = sorted(range(1, 31), key=lambda i: (short(member_id(i)) - own) % (1 << 64))
    awake(node, now)
    for gone in (others[0], others[-1]):
        dead = [STATUS, short(member_id(gone)), DEAD, 1, 0, short(member_id(others[5]))]
        node.handle_datagram(packet(member_id(others[5]), dead), address(others[5]), now)
    gossip(node, STATUS, now, 2.0)
    now += 2 * SECOND
    node.publish(1, b"key", b"value", now)
    targets = {target for found in gossip(node, RUMOR, now).values() for target in found}
    assert {address(others[1]), address(others[-2])} <= targets
    assert not {address(others[0]), address(others[-1])} & targets


def test_batch_of_a_tick_goes_to_all_its_targets() -> None:
    """Trap 19: popped per target, a rumor would reach one member where the tick had three."""
    now = 5 * SECOND
    node = lone(peers=12)
    node.publish(1, b"key", b"value", now)
    ticks = gossip(node, RUMOR, now)
    assert [len(set(targets)) for targets in ticks.values()] == [3, 3]


def test_first_sight_after_a_quiet_interval_is_forwarded_at_once_else_at_the_tick() -> None:
    """A hop costs no wait in a quiet ring, and a busy one sends a tick each 200 ms."""
    now = 5 * SECOND
    node = lone(peers=12)
    source = member_id(3)
    for number, wait, watched in ((1, 0, 0.05), (2, 200_000, 0.25)):
        message = rumor(1, b"k%d" % number, source, 1, number, b"value")
        node.handle_datagram(packet(source, message), address(3), now)
        first = min(
            t
            for t, found in gossip(node, RUMOR, now, watched).items()
            if found and (number == 1 or t > now)
        )
        assert first - now <= wait
        now += 50_000


def test_backlog_sends_up_to_four_packets_to_a_target_in_a_tick() -> None:
    """A mass change does not wait for a packet a tick, and is no flood either."""
    now = 5 * SECOND
    node = lone(peers=5)
    source = member_id(1)
    for number in range(20):
        message = rumor(1, b"key%d" % number, source, 1, number + 1, bytes(800))
        node.handle_datagram(packet(source, message), address(1), now)
    sent(node)
    now += 250_000
    node.handle_timeout(now)
    per_target: dict[bytes, int] = {}
    for target, messages in sent(node):
        if messages[0][0] == RUMOR:  # and no ping that carries some
            per_target[target] = per_target.get(target, 0) + 1
    assert set(per_target.values()) == {4}


def test_lanes_share_a_packet_when_both_have_a_backlog() -> None:
    """User rumors do not starve behind membership rumors, nor these behind those."""
    now = 5 * SECOND
    node = lone(peers=5, packets_per_tick_max=1)
    for index in range(100, 160):
        item = card(member_id(index), f"m{index}", address(index))
        node.handle_datagram(packet(member_id(1), item), address(1), now)
    for number in range(20):
        message = rumor(1, b"key%d" % number, member_id(2), 1, number + 1, bytes(200))
        node.handle_datagram(packet(member_id(2), message), address(2), now)
    sent(node)
    node.handle_timeout(now + 250_000)
    kinds = [[m[0] for m in messages] for _, messages in sent(node)]
    full = [tags for tags in kinds if len(tags) > 4]
    assert full
    for tags in full:
        assert tags.count(RUMOR) >= 2
        assert tags.count(MEMBER) >= 5


def test_datagram_of_a_backlog_is_never_over_its_bound() -> None:
    """Four packets of a tick are four of at most 1392 bytes."""
    now = 5 * SECOND
    node = lone(peers=5)
    for index in range(100, 400):
        item = card(member_id(index), f"m{index}", address(index), tags={"k": "v" * (index % 99)})
        node.handle_datagram(packet(member_id(1), item), address(1), now)
    node.handle_timeout(now + 250_000)
    sizes = []
    while (parcel := node.poll_transmit()) is not None:
        sizes.append(len(parcel[1]))
        read(parcel[1])
    assert 1200 < max(sizes) <= 1392


def test_copies_to_suspects_do_not_count_so_news_outlives_a_mass_crash() -> None:
    """With most targets suspected two ticks would be lost: more are sent until six arrived."""
    now = 5 * SECOND
    node = lone(peers=9)
    for index in range(2, 9):
        accusation = [STATUS, short(member_id(index)), 1, 1, 0, short(member_id(1))]
        node.handle_datagram(packet(member_id(1), accusation), address(1), now)
    sent(node)
    gossip(node, STATUS, now, 0.8)
    now += 800_000
    node.publish(1, b"key", b"value", now)
    ticks = gossip(node, RUMOR, now, 0.9)
    assert sum(len(found) for found in ticks.values()) > 6


@pytest.mark.parametrize("seed", range(3))
def test_rumor_to_a_hundred_takes_half_a_second_and_seven_copies(seed: int) -> None:
    """Design: median at most 0.05 s, last at most 0.5 s, at most seven copies each, everybody."""
    sim = Simulator(seed=seed, light=True)
    form(sim, 100)
    sim.run(5.0)
    spread = sim.follow(1, b"news")
    sim.publish(7, 1, b"news", bytes(256))
    sim.run_until(lambda: sim.ledger.seen_by_all(spread), 0.5, every=0.01, what="the rumor")
    sim.run(2.0)
    delays = sorted(spread.delays_us())
    assert delays[len(delays) // 2] <= 50_000
    assert delays[-1] <= 500_000
    assert sum(spread.copies()) <= 7 * 100


def test_rumor_at_five_percent_loss_reaches_all_of_a_hundred() -> None:
    """What loss breaks of the chain, chance and the digests repair, soon."""
    sim = Simulator(seed=4, light=True, network=Network(loss=0.05))
    form(sim, 100)
    sim.run(5.0)
    for number in range(5):
        spread = sim.follow(1, b"news%d" % number)
        sim.publish(number, 1, b"news%d" % number, bytes(256))
        took = sim.run_until(lambda s=spread: sim.ledger.seen_by_all(s), 5.0, every=0.05)  # type: ignore[misc]
        assert took <= 3.0
        sim.run(3.0)


def test_unknown_rumor_kinds_are_dropped_counted_and_not_fatal() -> None:
    """A kind of a later version: what follows it in the packet is read."""
    node = lone(peers=3)
    strange = rumor(250, b"key", member_id(1), 1, 1, b"value")
    known = rumor(1, b"key", member_id(1), 1, 1, b"value")
    node.handle_datagram(packet(member_id(1), strange, known), address(1), 5 * SECOND)
    assert node.counters()["rumor_kind_refused"] == 1
    assert node.rumor(1, b"key", member_id(1)) is not None


def test_rumors_of_a_kind_nobody_here_uses_are_relayed() -> None:
    """The number of a kind names its merge rule, so relays need not know what it is for."""
    ring = Ring(12)
    ring.run(6)
    ring.nodes[4].publish(63, b"key", b"value", ring.now)
    ring.drain(4)
    ring.run(1)
    assert all(node.rumor(63, b"key", member_id(4)) for node in ring.nodes.values())
