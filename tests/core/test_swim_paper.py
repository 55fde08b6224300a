"""SWIM (Das, Gupta, Motivala 2002), section by section, and where this project leaves it.

Each test says the paper's sentence in other words. The peers are scripted (``Pair``): they answer,
relay and nack as members do, and the reference model checks every packet on the way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from rings import SECOND, Ring, member_id
from test_differential import CONFIG, Pair, card, short
from tests.reference import wire
from tests.reference.node import Parcel

from sup_core.config import Config
from sup_core.events import MemberState


class Watched(Pair):
    """A pair that remembers what was sent, and when."""

    def __init__(self, peers: int, seed: int = 1, config: Config = CONFIG) -> None:
        self.log: list[tuple[int, int, list[list[Any]]]] = []
        super().__init__(peers, seed, config)

    def settled(self, sent: list[Parcel]) -> None:
        """Keep what was sent to whom."""
        for target, messages in sent:
            self.log.append((self.now, target[14] << 8 | target[15], messages))
        super().settled(sent)

    def sent_to(self, index: int | None, tag: int) -> list[tuple[int, list[Any]]]:
        """(time, message) of one kind, to one peer or to all."""
        return [
            (when, message)
            for when, target, messages in self.log
            for message in messages
            if message[0] == tag and index in (None, target)
        ]

    def probes(self) -> list[tuple[int, int]]:
        """(time, peer) of the first ping of each probe."""
        found: dict[int, tuple[int, int]] = {}
        for when, target, messages in self.log:
            for message in messages:
                if message[0] == wire.PING and message[1]:
                    found.setdefault(message[1], (when, target))
        return list(found.values())


def test_section_3_1_one_member_is_pinged_each_protocol_period() -> None:
    """3.1: in every protocol period a member picks one other and pings it."""
    pair = Watched(4)
    pair.run(10 * SECOND)
    times = [when for when, _ in pair.probes()]
    assert {later - sooner for sooner, later in pairwise(times)} == {SECOND}


def test_section_3_1_helpers_are_asked_when_the_ack_is_late() -> None:
    """3.1: no ack within the time-out: k members picked at random ping the target on its behalf."""
    pair = Watched(5)
    pair.silent = {1}
    pair.run(6 * SECOND)
    asked = pair.sent_to(None, wire.PING_REQ)
    first = asked[0][1]
    assert first[2] == short(1)
    together = [message for when, message in asked if when == asked[0][0]]
    assert sum(message[1] == first[1] for message in together) == CONFIG.indirect_probes == 3
    direct = next(when for when, message in pair.sent_to(1, wire.PING) if message[1] == first[1])
    assert CONFIG.rto_min_us <= asked[0][0] - direct <= CONFIG.rto_max_us


def test_section_3_1_answer_through_a_helper_counts() -> None:
    """3.1: the ack that a helper relays ends the probe as well as a direct one."""
    pair = Watched(3)
    pair.run(3 * SECOND)
    answer = pair.answer

    def through_helpers_only(index: int, messages: list[list[Any]]) -> None:
        answer(index, [m for m in messages if index != 1 or m[0] != wire.PING])

    pair.answer = through_helpers_only  # type: ignore[method-assign]
    pair.run(20 * SECOND)
    assert pair.sent_to(None, wire.PING_REQ)
    assert pair.node.member(member_id(1)).state == MemberState.ALIVE  # type: ignore[union-attr]
    assert pair.node.counters()["suspected"] == 0


def test_section_3_1_helper_passes_the_ack_on() -> None:
    """3.1: who is asked pings the target and forwards its ack to who asked."""
    pair = Watched(2)
    pair.run(3 * SECOND)
    pair.hear(1, [[wire.PING_REQ, 77, short(2), 400_000]])
    pair.run(SECOND // 10)
    assert [m[:3] for _, m in pair.sent_to(1, wire.RELAYED)] == [[wire.RELAYED, 77, short(2)]]


@pytest.mark.parametrize("size", [10, 40])
def test_section_3_load_per_member_does_not_grow_with_the_group(size: int) -> None:
    """3: the load on a member is independent of the size of the group."""
    ring = Ring(size)
    ring.run(8)
    before = ring.packets
    ring.run(10)
    assert (ring.packets - before) / 10 / size == pytest.approx(2, abs=0.2)


def test_section_4_1_news_rides_on_pings_and_acks() -> None:
    """4.1: membership news is piggybacked on what the failure detector sends anyway."""
    pair = Watched(3)
    pair.run(8 * SECOND)
    pair.log.clear()
    pair.hear(1, [card(6)])
    pair.hear(1, [card(7), [wire.PING, 5, pair.model.digest()]])
    ack = next(sent for _, target, sent in pair.log if target == 1 and sent[0][0] == wire.ACK)
    assert [m[0] for m in ack[1:]].count(wire.MEMBER) >= 1


def test_section_4_1_least_told_goes_first_and_telling_ends() -> None:
    """4.1: elements gossiped fewer times are preferred, each only so often. Deviation: two ticks'
    copies and a neighbour per tick instead of lambda log n (dissemination says why)."""
    pair = Watched(5)
    pair.run(8 * SECOND)
    pair.log.clear()
    pair.hear(1, [card(7)])
    pair.run(20 * SECOND)
    told = pair.sent_to(None, wire.MEMBER)
    assert 4 <= sum(m[1] == member_id(7) for _, m in told) <= 2 * CONFIG.gossip_fanout + 2
    assert pair.node.counters()["news_members"] <= 1


def test_section_4_2_failed_probe_suspects_before_it_declares() -> None:
    """4.2: an unanswered member is suspected first, and taken for faulty only after a time-out."""
    pair = Watched(5)
    pair.run(3 * SECOND)
    pair.silent = {1}
    states = []
    for _ in range(200):
        pair.run(SECOND // 8)
        states.append(pair.node.member(member_id(1)).state)  # type: ignore[union-attr]
    order = list(dict.fromkeys(states))
    assert order == [MemberState.ALIVE, MemberState.SUSPECT, MemberState.DEAD]
    wait = CONFIG.pause_tolerance_us - CONFIG.second_look_us
    assert states.count(MemberState.SUSPECT) >= 8 * wait // SECOND


@pytest.mark.parametrize(
    ("held", "said", "wins"),
    [
        ((0, 0), (1, 0), True),  # suspect overrides alive of the same incarnation
        ((1, 0), (0, 0), False),  # alive does not override suspect of the same incarnation
        ((1, 0), (0, 1), True),  # a larger incarnation refutes
        ((0, 1), (1, 0), False),  # an old suspicion is nothing
        ((1, 0), (2, 0), True),  # confirm overrides suspect
        ((2, 5), (1, 5), False),  # and nothing of the same incarnation overrides confirm
        # Deviation: a larger incarnation brings a dead member back, else a split never heals.
        ((2, 0), (0, 1), True),
    ],
)
def test_section_4_2_order_of_precedence(
    held: tuple[int, int], said: tuple[int, int], wins: bool
) -> None:
    """4.2: which message overrides which, by incarnation and state."""
    pair = Watched(2)
    if held != (0, 0):
        pair.hear(2, [[wire.STATUS, short(1), held[0], 1, held[1], short(2)]])
    pair.hear(2, [[wire.STATUS, short(1), said[0], 1, said[1], short(2)]])
    member = pair.node.member(member_id(1))
    assert member is not None
    assert (member.state, member.incarnation) == (said if wins else held)


def test_section_4_2_only_the_member_itself_raises_its_incarnation() -> None:
    """4.2: suspected in its current incarnation, a member says alive with the next one."""
    pair = Watched(2)
    pair.run(3 * SECOND)
    for said, expected in ((0, 1), (0, 1), (1, 2), (9, 10)):
        pair.hear(1, [[wire.STATUS, short(0), 1, 1, said, short(1)]])
        assert pair.node.local().incarnation == expected
    pair.hear(1, [[wire.STATUS, short(2), 1, 1, 0, short(1)]])
    assert pair.node.member(member_id(2)).incarnation == 0  # type: ignore[union-attr]


def test_section_4_3_each_member_is_probed_once_per_round() -> None:
    """4.3: a shuffled round bounds the time to the next probe. Deviation: every second period goes
    to the next member in id order, so the rounds are in the others."""
    pair = Watched(5)
    pair.run(22 * SECOND)
    rounds = [target for _, target in pair.probes()][1::2]
    assert sorted(rounds[:5]) == sorted(rounds[5:10]) == [1, 2, 3, 4, 5]
    in_order = [target for _, target in pair.probes()][0::2]
    assert len(set(in_order)) == 1


def test_section_5_crash_is_known_to_all_however_large_the_group() -> None:
    """5: detection does not slow down as the group grows, spread only with its logarithm."""
    took = []
    for size in (5, 30):
        ring = Ring(size)
        ring.run(6)
        ring.stop(size - 1)
        took.append(
            ring.run_until(
                lambda ring=ring, size=size: ring.sees(MemberState.DEAD, size - 1),  # type: ignore[misc]
                10,
            )
        )
    assert max(took) <= 6
