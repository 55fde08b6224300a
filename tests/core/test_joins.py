"""How a member comes in: whom the seed names, whom it asks, what is given, what is believed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.core.rings import SECOND, Ring, address, member_id
from tests.core.wire import JOIN, MEMBER, WELCOME, card, packet, read, sent, short

from sup_core import limits
from sup_core.config import Config
from sup_core.events import MemberChange, MemberEvent, MemberState
from sup_core.node import Node
from sup_core.simulator import Simulator

COMPARE, SYNCED = 16, 15
ALL = b"\xff" * 16


def lone(index: int = 0, now: int = 0) -> Node:
    """A node that knows nobody."""
    return Node(
        Config(),
        member_id=member_id(index),
        name=f"m{index}",
        ring="test",
        address=address(index),
        epoch=1,
        seed=index + 1,
        now=now,
    )


def known(node: Node, indices: range, now: int) -> None:
    """Let a node hear of members, each with its card."""
    for index in indices:
        item = card(member_id(index), f"m{index}", address(index))
        node.handle_datagram(packet(member_id(index), [JOIN], item), address(index), now)
    sent(node)


def join_packet(index: int, padding: int = 272) -> bytes:
    """A newcomer's greeting, as long as one is."""
    item = card(member_id(index), f"m{index}", address(index))
    return packet(member_id(index), [JOIN, bytes(padding)], item)


def compare(sender: int, *items: list[Any], window: int | None = None, own: bool = True) -> bytes:
    """A request to compare all buckets with an empty list."""
    asked = [COMPARE, ALL, 0, b""] + ([window] if window is not None else [])
    first = [card(member_id(sender), f"m{sender}", address(sender))] if own else []
    return packet(member_id(sender), asked, *first, *items)


def welcome_of(node: Node, size: int = 272, index: int = 900) -> tuple[bytes, list[bytes]]:
    """The welcome's bytes and the addresses in it."""
    node.handle_datagram(join_packet(index, size), address(index), 10 * SECOND)
    while (parcel := node.poll_transmit()) is not None:
        messages = read(parcel[1])[1]
        if messages[0][0] == WELCOME:
            raw = messages[0][1] if len(messages[0]) > 1 else b""
            return parcel[1], [raw[i : i + 18] for i in range(0, len(raw), 18)]
    raise AssertionError("no welcome")


def test_welcome_names_settled_live_members_within_the_amplification_bound() -> None:
    """Trap 17: the seed names others; an answer stays below three times what came."""
    node = lone()
    known(node, range(1, 60), 0)
    known(node, range(60, 90), 10 * SECOND - 1000)  # too young to have a snapshot
    data, named = welcome_of(node)
    assert 4 <= len(named) <= limits.CONTACTS_MAX
    assert set(named) <= {address(index) for index in range(1, 60)}
    assert len(data) <= limits.AMPLIFICATION_MAX * len(join_packet(900))


def test_welcome_to_a_short_greeting_names_fewer() -> None:
    """Contacts are what is left out first; the card of the seed must fit."""
    node = lone()
    known(node, range(1, 60), 0)
    short_one = welcome_of(node, size=1)
    assert len(short_one[0]) <= limits.AMPLIFICATION_MAX * len(join_packet(900, 1))
    assert any(m[0] == MEMBER for m in read(short_one[0])[1])


def test_newcomers_ask_members_that_the_seed_names_at_random() -> None:
    """Of forty newcomers that are welcomed alike few ask the seed."""
    asked = []
    for index in range(100, 140):
        node = lone(index)
        node.join([address(0)], 0)
        sent(node)
        contacts = b"".join(address(k) for k in range(1, 17))
        item = card(member_id(0), "m0", address(0))
        node.handle_datagram(packet(member_id(0), [WELCOME, contacts], item), address(0), 1000)
        request = node.poll_request()
        assert request is not None
        asked.append(request[1])
        assert node.poll_request() is None  # one at a time
    assert len(set(asked)) >= 10
    assert asked.count(address(0)) <= 10


def test_newcomer_that_is_refused_asks_another_after_a_wait() -> None:
    """A refusal is no failure to join; the waits double and end."""
    node = lone(100)
    node.join([address(0)], 0)
    contacts = b"".join(address(k) for k in range(1, 17))
    item = card(member_id(0), "m0", address(0))
    node.handle_datagram(packet(member_id(0), [WELCOME, contacts], item), address(0), 1000)
    asked: list[bytes] = []
    times: list[int] = []
    now = 1000
    request = node.poll_request()
    while request is not None and len(asked) < 50:
        asked.append(request[1])
        times.append(now)
        node.handle_response(request[0], None, now)
        request = None
        for _ in range(60):
            now += 50_000
            node.handle_timeout(now)
            request = node.poll_request()
            if request is not None:
                break
    assert len(asked) == 8
    assert len(set(asked)) == 8
    waits = [b - a for a, b in pairwise(times)]
    assert waits[0] >= 100_000
    assert max(waits) <= 3 * SECOND + 50_000


def test_snapshots_of_one_member_are_bounded_in_bytes_and_come_back() -> None:
    """Trap 17: four megabytes at once, then one a second; what is refused is counted."""
    node = lone()
    known(node, range(1, 1500), 0)
    given = 0
    for index in range(2000, 2400):
        answer = node.handle_request(compare(index), address(index), 5 * SECOND)
        if not answer:
            break
        given += len(answer)
    assert limits.SNAPSHOT_BURST_BYTES <= given <= limits.SNAPSHOT_BURST_BYTES + 200_000
    assert node.counters()["snapshots_refused"] == 1
    assert node.handle_request(compare(2500), address(2500), 5 * SECOND + 500_000) != b""
    # What is no snapshot is not refused.
    assert node.handle_request(compare(1, window=1000), address(1), 5 * SECOND + 500_000) != b""


def test_snapshot_gives_every_member_once_and_shows_the_newcomer() -> None:
    """Who gives a snapshot knows the newcomer by then, and tells of it."""
    node = lone()
    known(node, range(1, 40), 0)
    body = node.handle_request(compare(500), address(500), 5 * SECOND)
    messages = read(body)[1]
    assert messages[0][0] == SYNCED
    ids = [m[1] for m in messages if m[0] == MEMBER]
    assert len(ids) == len(set(ids)) == 41
    held = node.member(member_id(500))
    assert held is not None
    assert held.state == MemberState.ALIVE


def test_snapshot_is_no_news_to_tell_on() -> None:
    """A newcomer that told everybody what it was just given would cost N squared messages."""
    ring = Ring(25)
    ring.run(5)
    before = ring.bytes
    ring.start(25, seeds=[0])
    ring.run(0.5)
    assert ring.nodes[25].counters()["members_live"] == 26
    assert ring.nodes[25].counters()["news_members"] == 0
    # One card to each of 25, six times, some pings; 25 cards six times would be 10 KB alone.
    assert ring.bytes - before < 26 * 6 * 130 + 6000


def test_exchange_shows_a_young_member_and_asks_an_old_one() -> None:
    """Trap 14: who may be a ghost answers a ping first; who just came can't be one."""
    node = lone()
    known(node, range(1, 4), 0)
    now = 100 * SECOND
    young = card(member_id(10), "m10", address(10))
    young[-1] = 5
    old = card(member_id(11), "m11", address(11))  # age 0: its teller does not say
    older = card(member_id(12), "m12", address(12))
    older[-1] = 400
    request = packet(member_id(1), [13, bytes(16)], young, old, older)
    assert node.handle_request(request, address(1), now)
    assert node.member(member_id(10)) is not None
    assert node.member(member_id(11)) is None
    assert node.member(member_id(12)) is None
    asked = {target for target, messages in sent(node) if messages[0][0] == 1}
    assert {address(11), address(12)} <= asked


def test_laggard_does_not_pass_a_suspect_off_as_young() -> None:
    """A suspicion is new while the last sign of life is old: its time says nothing of youth."""
    node = lone()
    known(node, range(1, 6), 0)
    now = 200 * SECOND
    accusation = [6, short(member_id(3)), 1, 1, 0, short(member_id(1))]
    node.handle_datagram(packet(member_id(1), accusation), address(1), now)
    body = node.handle_request(compare(1, own=False), address(1), now + SECOND)
    ages = {m[1]: m[-1] for m in read(body)[1] if m[0] == MEMBER}
    assert ages[member_id(3)] == 0
    assert ages[member_id(2)] == 0


@pytest.mark.parametrize(("members", "over", "limit"), [(200, 0.0, 2.5), (200, 1.0, 2.5)])
def test_burst_join_is_known_by_all_in_time(members: int, over: float, limit: float) -> None:
    """Design: all of 200 know all within 2.5 s of the last start."""
    sim = Simulator(seed=3, light=True)
    sim.add(members, over=over)
    sim.run(over)
    took = sim.run_until(sim.converged, limit, every=0.05, what="the join")
    assert took <= limit
    assert sim.changes[MemberChange.SUSPECTED] == 0


def test_mass_start_spreads_the_snapshots_over_the_members() -> None:
    """Trap 17: 300 newcomers to a ring of 100 take no more of its seeds than of others."""
    sim = Simulator(seed=5, light=True)
    sim.add(100, over=1.0)
    sim.run(5.0)
    before = [sim.node_of(i).counters()["requests_in"] for i in range(100)]
    sim.add(300, over=1.0)
    sim.run(1.0)
    after = [sim.node_of(i).counters()["requests_in"] for i in range(100)]
    given = [b - a for a, b in zip(before, after, strict=True)]
    assert sum(given) >= 200
    assert sum(given[:3]) <= 0.4 * sum(given)
    sim.run_until(sim.converged, 5.0, what="the join")


def test_two_holders_of_one_id_are_told_apart_when_they_join() -> None:
    """Trap 12: same id and epoch from two addresses is said by the members that see both."""
    ring = Ring(6)
    ring.run(4)
    twin = card(member_id(3), "m3", address(77))
    ring.nodes[0].handle_datagram(
        packet(member_id(3), [JOIN, bytes(272)], twin), address(77), ring.now
    )
    ring.drain(0)
    said = [e for e in ring.events[0] if not isinstance(e, MemberEvent)]
    assert any(getattr(e, "what", "") == "duplicate_id" for e in said)


def test_stranger_at_the_address_of_a_member_that_asks_without_card_is_greeted() -> None:
    """It took the place of that member, was pinged in its stead, and a ping is too short for a
    card. An address where nobody is known gets nothing; all of it is at the rate of questions."""
    node = lone()
    known(node, range(1, 3), 0)
    bare = packet(member_id(50), [JOIN])
    greeted = []
    for source in [address(9), *[address(2)] * 1000]:
        node.handle_datagram(bare, source, SECOND)
        tags = [(target, [m[0] for m in messages]) for target, messages in sent(node)]
        greeted += [(target, said) for target, said in tags if said[0] == JOIN]
    assert greeted[0] == (address(2), [JOIN, MEMBER])
    assert {target for target, _ in greeted} == {address(2)}
    assert len(greeted) < Config().questions_per_second


def test_restarted_without_disk_at_a_held_address_meets_who_pings_it() -> None:
    """Nobody is its seed, and to who knows its predecessor the seed there is alive."""
    ring = Ring(2)
    ring.run(3)
    ring.stop(0)
    ring.nodes[0] = Node(
        Config(), member_id=member_id(70), name="m70", ring="test", address=address(0), epoch=1,
        seed=70, now=ring.now,
    )  # fmt: skip
    ring.events[0] = []
    ring.run(2)  # nobody is found dead by then
    for observer, other in ((0, 1), (1, 70)):
        held = ring.nodes[observer].member(member_id(other))
        assert held is not None
        assert held.state == MemberState.ALIVE
