"""Lifeguard (Dadgar, Phillips, Currey 2017), section by section; Demers and Rapid where they apply.

Lifeguard's aim is kept (a slow member must not accuse the healthy) and its means are partly others;
each test says which.
"""

from __future__ import annotations

import pytest
from rings import SECOND, Ring, address, member_id
from test_differential import CONFIG, card, short
from test_swim_paper import Watched
from tests.reference import wire
from wire import packet

from sup_core.config import Config
from sup_core.events import MemberChange, MemberEvent, MemberState


def test_section_4_a_nack_leaves_before_the_probers_patience_ends() -> None:
    """IV-A: a helper that hears nothing says so, at four fifths of the time it was given."""
    pair = Watched(2)
    pair.run(3 * SECOND)
    pair.silent = {2}
    asked = pair.now
    pair.hear(1, [[wire.PING_REQ, 5, short(2), 500_000]])
    pair.run(SECOND)
    nacks = pair.sent_to(1, wire.NACK)
    assert [(when - asked, m) for when, m in nacks] == [(400_000, [wire.NACK, 5, short(2)])]


def test_section_4_a_silence_of_all_raises_the_health_score_and_stretches_the_period() -> None:
    """IV-A: failed probes without a nack count against oneself. Deviation: the period is stretched
    threefold at most, because who reaches nobody accuses nobody here."""
    pair = Watched(5)
    pair.run(3 * SECOND)
    pair.silent = {1, 2, 3, 4, 5}
    pair.run(40 * SECOND)
    assert pair.node.local_health() == 7
    times = [when for when, _ in pair.probes()]
    assert times[-1] - times[-2] == 3 * SECOND
    assert pair.node.counters()["declared_dead"] == 0


def test_section_4_a_nacks_of_helpers_do_not_count_against_oneself() -> None:
    """IV-A: helpers that answer, if only with a nack, show that one's own network is well."""
    pair = Watched(5)
    pair.run(3 * SECOND)
    pair.silent = {1}
    pair.run(8 * SECOND)
    assert pair.node.local_health() == 0


def test_section_4_a_refuting_a_suspicion_raises_the_score_and_answers_lower_it() -> None:
    """IV-A: having to refute is a sign of slowness; every answered probe takes one off."""
    pair = Watched(3)
    pair.run(3 * SECOND)
    for incarnation in range(3):
        pair.hear(1, [[wire.STATUS, short(0), 1, 1, incarnation, short(1)]])
    assert pair.node.local_health() == 3
    pair.run(5 * SECOND)
    assert pair.node.local_health() == 0


@pytest.mark.parametrize("accusers", [1, 5])
def test_section_4_b_time_of_a_suspicion_does_not_shrink_with_accusers(accusers: int) -> None:
    """IV-B shrinks it with every accuser. Left out on purpose: they come too late to matter, and a
    ring of two or three never has them."""
    pair = Watched(5)
    pair.run(3 * SECOND)
    pair.silent = {1}
    for accuser in range(2, 2 + min(accusers, 4)):
        pair.hear(accuser, [[wire.STATUS, short(1), 1, 1, 0, short(accuser)]])
    assert pair.model.suspicions[short(1)].deadline - pair.now >= CONFIG.pause_tolerance_us


def test_section_4_c_every_ping_of_a_suspect_tells_it() -> None:
    """IV-C, the buddy system: who pings a suspect tells it first, so that it refutes at once."""
    pair = Watched(4)
    pair.run(3 * SECOND)
    pair.silent = {1}
    pair.run(16 * SECOND)
    since = next(when for when, m in pair.sent_to(1, wire.STATUS) if m[1] == short(1) and m[2] == 1)
    for when, target, messages in pair.log:
        if target == 1 and when > since and any(m[0] == wire.PING for m in messages):
            assert messages[0][0] == wire.STATUS
            assert messages[0][1:3] == [short(1), messages[0][2]]
            assert messages[0][2] >= 1


def test_pause_shorter_than_the_tolerance_ends_in_a_refutation() -> None:
    """V: what intermittently slow members suffer from. Here an answer within the tolerance always
    refutes, also one that only a helper gets."""
    pair = Watched(5)
    pair.run(3 * SECOND)
    pair.silent = {1}
    while pair.node.member(member_id(1)).state == MemberState.ALIVE:  # type: ignore[union-attr]
        pair.run(SECOND // 20)
    pair.silent = set()
    pair.run(SECOND)
    member = pair.node.member(member_id(1))
    assert member is not None
    assert (member.state, member.incarnation) == (MemberState.ALIVE, 1)


def test_bystander_waits_longer_than_who_failed_to_reach_the_suspect() -> None:
    """Ours: only first-hand accusers declare; the others wait three to five seconds more."""
    config = Config()
    ring = Ring(2, config=config)
    ring.run(3)
    node = ring.nodes[0]
    ghost = member_id(9)
    node.handle_datagram(
        packet(
            member_id(1),
            card(9),
            [wire.STATUS, short(9), 1, 1, 0, short(1)],
        ),
        address(1),
        ring.now,
    )
    ring.drain(0)
    held = node.member(ghost)
    assert held is not None
    assert held.state == MemberState.SUSPECT
    ring.run(1.5)
    assert node.member(ghost).state == MemberState.SUSPECT  # type: ignore[union-attr]


def test_demers_1_4_deletion_outlives_the_copies_of_what_was_deleted() -> None:
    """Demers et al. 1987, 1.4 (death certificates): a deleted item that a site still holds must not
    come back, so the deletion is kept and spread like any update."""
    pair = Watched(2)
    written = [wire.RUMOR, 1, b"k", member_id(1), 1, 1, b"v", 0]
    deleted = [wire.RUMOR, 1, b"k", member_id(1), 1, 2, None, 0]
    for message in (written, deleted, written):
        pair.hear(1, [message])
    assert pair.node.rumors() == []
    pair.run(SECOND)
    assert [m[6] for _, m in pair.sent_to(2, wire.RUMOR)][-1] is None


def test_demers_1_3_anti_entropy_repairs_what_rumors_missed() -> None:
    """Demers et al. 1987, 1.3: rumor mongering may miss a site, anti-entropy does not."""
    ring = Ring(5)
    ring.run(5)
    ring.drop = lambda source, target: target == 4
    ring.nodes[1].publish(1, b"k", b"v", ring.now)
    ring.drain(1)
    ring.run(1.5)
    ring.drop = lambda source, target: False
    assert ring.nodes[4].rumor(1, b"k", member_id(1)) is None
    ring.run_until(lambda: ring.nodes[4].rumor(1, b"k", member_id(1)) is not None, 15)


def test_rapid_1_one_way_link_of_a_few_does_not_remove_the_healthy() -> None:
    """Rapid (Suresh et al. 2018), section 1: one-way loss at one member makes others flap. Here who
    hears nobody accuses nobody."""
    ring = Ring(12)
    ring.run(4)
    ring.drop = lambda source, target: target == 5
    ring.run(20)
    died = {
        event.member.name
        for index, found in ring.events.items()
        for event in found
        if isinstance(event, MemberEvent) and event.change == MemberChange.DIED
    }
    assert died <= {"m5"}
