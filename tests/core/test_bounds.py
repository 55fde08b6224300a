"""Bounded memory against remote bytes: what a stranger can leave in a node goes by itself or is
small."""

from __future__ import annotations

import random

from rings import SECOND, Ring, address, member_id
from wire import JOIN, PING, card, packet, rumor

from sup_core import limits
from sup_core.config import Config
from sup_core.events import MemberState
from sup_core.fuzzing import fuzz
from sup_core.node import Node


def quiet(ring: Ring, seconds: float) -> None:
    """Let time pass for the first node, its packets going nowhere."""
    ring.drop = lambda source, target: True
    ring.run(seconds)


def flood(node: Node, count: int, now: int, seed: int = 1) -> None:
    """Owner rumors of origins that nobody knows, ``count`` of them, 600 bytes each."""
    rng = random.Random(seed)
    for _ in range(count):
        raw = rumor(1, rng.randbytes(8), rng.randbytes(16), 1, 1, bytes(600))
        node.handle_datagram(packet(member_id(1), raw), address(1), now)


def test_owner_rumors_of_unknown_origins_are_few_and_collected() -> None:
    """20,000 forged owner rumors: a bounded part is held, and none of it two minutes later."""
    ring = Ring(2)
    ring.run(2)
    node = ring.nodes[0]
    flood(node, 20_000, ring.now)
    counters = node.counters()
    assert 0 < counters["rumors_orphaned"] <= limits.ORPHANS_MAX
    assert counters["rumor_bytes"] < 2 * limits.ORPHAN_BYTES_MAX
    assert counters["rumor_quota_refused"] > 10_000
    quiet(ring, 130)
    assert node.counters()["rumors_stored"] == 0
    assert node.counters()["rumors_orphaned"] == 0


def test_owner_rumor_of_a_forgotten_member_does_not_come_back() -> None:
    """A copy that arrives after the member was forgotten is no part of the digest and goes."""
    ring = Ring(3, config=Config(tombstone_floor_us=20 * SECOND))
    ring.run(3)
    ring.nodes[2].publish(1, b"service", b"x", ring.now)
    ring.drain(2)
    ring.run(1)
    ring.stop(2)
    ring.run_until(lambda: ring.sees(MemberState.DEAD, 2), 10)
    ring.run(25)
    digest = ring.nodes[0].digest()
    raw = rumor(1, b"service", member_id(2), 1, 1, b"x")
    ring.nodes[0].handle_datagram(packet(member_id(1), raw), address(1), ring.now)
    assert ring.nodes[0].digest() == digest
    ring.run(70)
    assert all(node.rumors() == [] for node in ring.nodes.values())
    assert ring.converged()


def test_rumor_that_overtakes_its_owners_card_counts_once_the_owner_is_known() -> None:
    """Rumor first, card second, and the other way round: the same digest in the end."""
    raw = rumor(1, b"service", member_id(7), 1, 1, b"x")
    owner = card(member_id(7), "m7", address(7))
    digests = []
    for messages in ([raw, owner], [owner, raw]):
        ring = Ring(2)
        ring.run(2)
        for message in messages:
            ring.nodes[0].handle_datagram(packet(member_id(1), message), address(1), ring.now)
        ring.now += SECOND // 5
        ring.nodes[0].handle_timeout(ring.now)
        digests.append(ring.nodes[0].digest())
    assert digests[0] == digests[1]


def test_events_that_nobody_reads_keep_a_bounded_number_of_bytes() -> None:
    """An unread queue holds EVENT_BYTES_MAX of old values, then drops, counts and says so."""
    ring = Ring(1)
    node = ring.nodes[0]
    for number in range(2_000):
        node.publish(1, b"k", number.to_bytes(4, "big") * 16_000, ring.now)
    events = []
    while (event := node.poll_event()) is not None:
        events.append(event)
    size = sum(len(e.rumor.value) for e in events if hasattr(e, "rumor"))
    assert size <= limits.EVENT_BYTES_MAX
    assert node.counters()["events_dropped"] > 1_000
    assert events[-1].what == "events_dropped"


def test_flood_of_suspicions_does_not_stop_the_node() -> None:
    """Stale timers fill the heap; the protocol period still goes on."""
    ring = Ring(2)
    ring.run(2)
    node = ring.nodes[0]
    ids = [random.Random(i).randbytes(16) for i in range(100, 120)]
    for one in ids:
        raw = card(one, "x", address(9))
        node.handle_datagram(packet(member_id(1), raw), address(1), ring.now)
    incarnation = 0
    while node.counters()["timers_refused"] == 0:
        incarnation += 1
        messages = []
        for one in ids:
            short = int.from_bytes(one[:8], "big")
            messages.append([6, short, 1, 1, incarnation, short])
            messages.append([6, short, 0, 1, incarnation + 1, 0])
        data = packet(member_id(1), *messages[:30])
        node.handle_datagram(data, address(1), ring.now)
        assert incarnation < 30_000
    pings = node.counters()["pings"]
    now = ring.now
    for _ in range(100):
        now += SECOND // 5
        node.handle_timeout(now)
        while node.poll_transmit():
            pass
    assert node.counters()["pings"] > pings + 5
    assert node.counters()["timers"] < 1_000


def test_hours_of_mutated_packets_leave_less_than_the_worst_case() -> None:
    """The fuzzer for a virtual hour, with a floor of a minute: stores end small, none is at its
    bound."""
    config = Config(tombstone_floor_us=60 * SECOND)
    ring = Ring(4, config=config)
    corpus: dict[bytes, None] = {}
    for step in range(30):
        ring.nodes[step % 4].publish(1, b"k%d" % step, bytes(step * 8), ring.now)
        ring.drain(step % 4)
        ring.run(0.1)
        for entry in ring.queue:
            corpus[entry[4]] = None
    node = ring.nodes[0]
    now = ring.now
    for lap in range(12):
        now = fuzz(node, list(corpus)[:500], 20_000, lap, now)
        for _ in range(30):
            now += 10 * SECOND
            node.handle_timeout(now)
            while node.poll_transmit() or node.poll_event():
                pass
            while (request := node.poll_request()) is not None:
                node.handle_response(request[0], None, now)
    counters = node.counters()
    assert counters["members_rows"] < 50
    assert counters["rumors_orphaned"] == 0
    assert counters["rumors_stored"] < limits.ORIGIN_RUMORS_MAX
    assert counters["timers"] < 1_000
    assert counters["pulls"] == 0


def test_answers_to_a_stranger_are_at_most_three_times_what_came() -> None:
    """Ping, JOIN and short JOIN from unknown and from claimed addresses: no lever for a flood."""
    victim = address(200)
    tags = {f"tag{i}": "v" * 100 for i in range(6)}
    for known in (False, True):
        ring = Ring(2)
        ring.run(2)
        node = ring.nodes[0]
        node.set_tags(tags, ring.now)
        ring.run(3)
        for number in range(20):
            node.publish(1, b"news%d" % number, bytes(300), ring.now)
        while node.poll_transmit():
            pass
        sender = member_id(1 if known else 9)
        own = card(sender, "m", victim)
        for messages in ([[PING, 5, 7]], [[JOIN]], [[JOIN], own], [[JOIN, bytes(300)], own]):
            data = packet(sender, *messages)
            node.handle_datagram(data, victim, ring.now)
            sizes = []
            while (parcel := node.poll_transmit()) is not None:
                if parcel[0] == victim:
                    sizes.append(len(parcel[1]))
            assert sum(sizes) <= limits.AMPLIFICATION_MAX * len(data), (known, messages, sizes)


def test_request_to_join_is_long_enough_for_the_longest_welcome() -> None:
    """A card at its bound still gets through to a joiner with the shortest card."""
    ring = Ring(0)
    ring.start(0, seeds=[], tags={f"t{i}": "v" * 100 for i in range(6)})
    ring.start(1, seeds=[0])
    ring.run(0.05)
    assert len(ring.nodes[1].members()) == 2
