"""Digests, comparisons and heals: what a sync costs, what it carries, what it may do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.rings import SECOND, Ring, address, member_id
from tests.core.wire import (
    ACK,
    DEAD,
    JOIN,
    MEMBER,
    PING,
    RUMOR,
    STATUS,
    SUSPECT,
    awake,
    card,
    packet,
    read,
    rumor,
    sent,
    short,
)

from sup_core.config import Config
from sup_core.events import MemberChange, MemberState
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form

BUCKETS, SYNC, SYNCED, COMPARE = 12, 13, 15, 16
ALL = b"\xff" * 16


def lone(members: int, now: int = 0, **settings: int) -> Node:
    """A node that knows members 1 to ``members``."""
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
    for index in range(1, members + 1):
        item = card(member_id(index), f"m{index}", address(index))
        node.handle_datagram(packet(member_id(index), [JOIN], item), address(index), now)
        sent(node)
    return node


def listing(node: Node) -> tuple[bytes, list[list[Any]]]:
    """The list that a node makes of all it holds, taken from its own request."""
    messages = read(node.poll_request()[2])[1]  # type: ignore[index]
    assert messages[0][0] == COMPARE
    return messages[0][3], messages


def ping(node: Node, index: int, digest: int, now: int) -> list[tuple[bytes, list[list[Any]]]]:
    """Ping a node with a digest; what it sends."""
    node.handle_datagram(packet(member_id(index), [PING, 1, digest]), address(index), now)
    return sent(node)


def test_sync_of_equal_members_is_a_digest_on_probe_and_ack() -> None:
    """Design: at most 100 bytes, whatever is held; and nothing follows."""
    node = lone(2000, probe_interval_us=60 * SECOND)
    for t in range(0, 50 * SECOND, 200_000):  # until it has told its news
        node.handle_timeout(t)
        sent(node)
    data = packet(member_id(1), [PING, 1, node.digest()])
    node.handle_datagram(data, address(1), 60 * SECOND)
    answers = []
    while (parcel := node.poll_transmit()) is not None:
        answers.append(parcel[1])
    assert [read(answer)[1][0][0] for answer in answers] == [ACK]
    assert len(data) + len(answers[0]) <= 100
    assert node.poll_request() is None
    assert node.counters()["exchanges"] == 0


def test_digests_that_differ_in_silence_say_in_one_datagram_where() -> None:
    """128 hashes of 8 bytes, and at most three a second."""
    node = lone(5)
    now = 60 * SECOND
    found = []
    for _ in range(20):
        now += 10_000
        found += [m for _, m in ping(node, 1, 12345, now) if m[0][0] == BUCKETS]
    assert 1 <= len(found) <= 3
    assert len(found[0][0][1]) == 1024


def test_comparison_answers_with_what_the_list_lacks_and_names_what_it_wants() -> None:
    """A card crosses the wire only to who lacks it."""
    now = 60 * SECOND
    node = lone(5)
    node.publish(1, b"key", b"value", now)
    twin = lone(4)
    twin.handle_datagram(
        packet(member_id(1), card(member_id(9), "m9", address(9))), address(1), now
    )
    sent(twin)
    # The twin is asked with different buckets, so that it lists what it holds.
    wrong = packet(member_id(1), [BUCKETS, bytes(1024)])
    twin.handle_datagram(wrong, address(1), now)
    names, _ = listing(twin)
    assert len(names) == 12 * 6  # itself, m1 to m4, m9
    body = packet(member_id(1), [COMPARE, ALL, 0, b""])
    everything = read(node.handle_request(body, address(1), now))[1]
    assert sorted(m[0] for m in everything) == [MEMBER] * 6 + [RUMOR, SYNCED]
    held = b"".join(short(member_id(i)).to_bytes(8, "big") + bytes(4) for i in (1, 9))
    messages = read(
        node.handle_request(packet(member_id(1), [COMPARE, ALL, 0, held]), address(1), now)
    )[1]
    wanted = messages[0][2]
    # m1 is held with another hash than four zero bytes, m9 is not known: both are wanted.
    assert wanted == b"".join(short(member_id(i)).to_bytes(8, "big") for i in (1, 9))
    assert len([m for m in messages if m[0] == MEMBER]) == 6


def test_comparison_of_recent_changes_leaves_out_what_is_old() -> None:
    """While members come all the time a list is a few hundred entries, not all."""
    node = lone(50)
    now = 100 * SECOND
    fresh = card(member_id(70), "m70", address(70))
    node.handle_datagram(packet(member_id(1), fresh), address(1), now)
    node.publish(1, b"key", b"value", now)
    request = packet(member_id(1), [COMPARE, ALL, 0, b"", 5000])
    messages = read(node.handle_request(request, address(1), now + SECOND))[1]
    assert [m[1] for m in messages if m[0] == MEMBER] == [member_id(70)]
    assert [m[0] for m in messages if m[0] == RUMOR] == [RUMOR]


def test_suspicions_are_no_part_of_the_digest() -> None:
    """Trap 10: digests would differ for ever."""
    node = lone(5)
    before = node.digest()
    accusation = [STATUS, short(member_id(3)), SUSPECT, 1, 0, short(member_id(1))]
    node.handle_datagram(packet(member_id(1), accusation), address(1), 60 * SECOND)
    held = node.member(member_id(3))
    assert held is not None
    assert held.state == MemberState.SUSPECT
    assert node.digest() == before


def test_tombstones_past_half_the_floor_are_no_part_of_the_digest() -> None:
    """Trap 10: else a member that learnt of a death later differs for a whole floor."""
    now = 60 * SECOND
    node = lone(5, tombstone_floor_us=100 * SECOND)
    without = lone(5, tombstone_floor_us=100 * SECOND)
    without.handle_timeout(now)
    death = [STATUS, short(member_id(3)), DEAD, 1, 0, short(member_id(1))]
    awake(node, now)
    node.handle_datagram(packet(member_id(1), death), address(1), now)
    young = node.digest()
    for t in range(now, now + 70 * SECOND, SECOND):
        for index in (1, 2, 4, 5):
            node.handle_datagram(packet(member_id(index)), address(index), t)
        node.handle_timeout(t)
        sent(node)
    assert node.member(member_id(3)) is not None
    assert node.digest() != young
    assert node.digest() != without.digest()
    old = node.digest()
    again = [STATUS, short(member_id(3)), DEAD, 1, 5, short(member_id(1))]
    node.handle_datagram(packet(member_id(1), again), address(1), now + 70 * SECOND)
    assert node.digest() == old


def test_death_learnt_by_sync_is_a_question_to_the_member() -> None:
    """Trap 5: after a heal `dead` as it is would bury hundreds of thousands of reachable pairs."""
    node = lone(5)
    now = 60 * SECOND
    said = card(member_id(3), "m3", address(3), state=DEAD)
    said[-1] = 10
    node.handle_request(packet(member_id(1), [SYNC, bytes(16)], said), address(1), now)
    held = node.member(member_id(3))
    assert held is not None
    assert held.state == MemberState.ALIVE
    told = [m for target, messages in sent(node) if target == address(3) for m in messages]
    assert any(m[0] == STATUS and m[1] == short(member_id(3)) for m in told)
    assert any(m[0] == PING for m in told)


def test_questions_are_bounded_by_the_second() -> None:
    """A hundred deaths told by one sync are twenty questions a second."""
    node = lone(150)
    items = []
    for index in range(1, 101):
        said = card(member_id(index), f"m{index}", address(index), state=DEAD)
        said[-1] = 10
        items.append(said)
    request = packet(member_id(120), [SYNC, bytes(16)], *items)
    node.handle_request(request, address(120), 60 * SECOND)
    assert len({target for target, messages in sent(node)}) <= 20 + 3
    assert node.counters()["questions_refused"] >= 70


def test_contacts_with_the_dead_do_not_clump() -> None:
    """Trap 6: back-off without jitter brings all contacts of a split at one moment."""
    node = lone(40, probe_interval_us=60 * SECOND)
    now = 60 * SECOND
    awake(node, now)
    for index in range(2, 40):
        death = [STATUS, short(member_id(index)), DEAD, 1, 0, short(member_id(1))]
        node.handle_datagram(packet(member_id(1), death), address(1), now)
    sent(node)
    times: list[int] = []
    for t in range(now, now + 14 * SECOND, 100_000):
        node.handle_timeout(t)
        for target, messages in sent(node):
            if target != address(1) and any(m[0] == PING for m in messages):
                times.append(t)
    assert len(times) >= 30
    in_a_second = max(sum(1 for t in times if s <= t < s + SECOND) for s in times)
    assert in_a_second <= len(times) // 2


@pytest.mark.parametrize("part", [30, 3])
def test_split_heals_in_seconds_and_nobody_reachable_is_buried(part: int) -> None:
    """Design: at most 20 s after five minutes apart, without seeds, no new death on the way."""
    sim = Simulator(seed=6, light=True)
    form(sim, 60)
    for index in range(60):
        sim.node_of(index).join([], sim.clock(index))
    sim.partition([range(part)])
    sim.run(120.0)
    assert sim.converged()
    died = sim.changes[MemberChange.DIED]
    sim.heal()
    took = sim.run_until(sim.converged, 20.0, every=0.1, what="the heal")
    assert took <= 20
    assert sim.changes[MemberChange.DIED] == died


def test_ring_in_motion_agrees_soon_after_it() -> None:
    """A digest that differs all the time does not keep what was missed from being found."""
    ring = Ring(20)
    ring.run(4)
    for index in range(20, 32):
        ring.start(index, seeds=[0])
        ring.nodes[index].publish(1, b"k", b"v", ring.now)
        ring.drain(index)
        ring.run(0.2)
    assert ring.run_until(ring.converged, 5) <= 5
    item = rumor(1, b"late", member_id(5), 1, 99, b"value")
    ring.nodes[7].handle_request(
        packet(member_id(5), [SYNC, bytes(16)], item), address(5), ring.now
    )
    assert ring.run_until(ring.converged, 5) <= 5


# the quiet time


def quiet_node() -> tuple[Node, int]:
    """A node in which nothing has changed for a minute, and whose digest its peers have."""
    node, now = lone(20), 60 * SECOND
    for earlier in (SECOND, 0):
        awake(node, now - earlier)
    node.handle_timeout(now)
    sent(node)
    ping(node, 1, node.digest(), now)
    return node, now


def starts_exchange(node: Node, now: int) -> bool:
    """Whether a ping with another digest starts an exchange."""
    found = [m for _, m in ping(node, 1, 12345, now) if m[0][0] == BUCKETS]
    return bool(found) or node.poll_request() is not None


def renewed(node: Node, now: int) -> None:
    """A peer started anew."""
    message = [STATUS, short(member_id(2)), 0, 2, 0, 0]
    node.handle_datagram(packet(member_id(1), message), address(1), now)


def died(node: Node, now: int) -> None:
    """A peer is dead."""
    message = [STATUS, short(member_id(2)), DEAD, 1, 0, 0]
    node.handle_datagram(packet(member_id(1), message), address(1), now)


def held_down(node: Node, now: int) -> None:
    """A flapping peer returns, and is not shown."""
    for number in range(3):
        for state, incarnation in ((DEAD, number), (0, number + 1)):
            message = [STATUS, short(member_id(2)), state, 1, incarnation, 0]
            at = now - SECOND if (number, state) < (2, 0) or state == DEAD else now
            node.handle_datagram(packet(member_id(1), message), address(1), at)
    assert node.counters()["members_held"] == 1


CHANGES = {
    "own address": lambda node, now: node.set_address(address(77), now),
    "own tags": lambda node, now: node.set_tags({"a": "b"}, now),
    "new start": renewed,
    "death": died,
    "return of a held one": held_down,
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_quiet_time_starts_anew_with_every_change_of_the_digest(change: str) -> None:
    """Gossip of the change is under way: digests that differ meanwhile start nothing."""
    node, now = quiet_node()
    CHANGES[change](node, now)
    sent(node)
    assert not starts_exchange(node, now)
    assert not starts_exchange(node, now + 590_000)
    assert starts_exchange(node, now + 600_000)


def test_suspicion_does_not_start_the_quiet_time_anew() -> None:
    """It is no part of the digest, so digests that differ now differ for another reason."""
    node, now = quiet_node()
    message = [STATUS, short(member_id(2)), SUSPECT, 1, 0, short(member_id(3))]
    node.handle_datagram(packet(member_id(1), message), address(1), now)
    sent(node)
    assert starts_exchange(node, now)
