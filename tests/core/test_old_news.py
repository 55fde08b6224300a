"""What a member hears that stood still, was deaf or has just started may be old, and kills nobody.

And the other half of it: what was asked over a broken link, or where the member no longer is, says
nothing about the member. Each rule was found by a seed of a campaign, kept in
``tests/scenarios/test_simulator_excuses.py``; here it is alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from rings import SECOND, address, member_id
from wire import (
    DEAD,
    LEFT,
    NACK,
    PING,
    PING_REQ,
    STATUS,
    SUSPECT,
    awake,
    card,
    packet,
    sent,
    short,
)

from sup_core.config import Config
from sup_core.events import MemberState
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form

TOLERANCE = Config().pause_tolerance_us


def knowing(peers: int, now: int) -> Node:
    """A node that knows peers, has told its news and is awake."""
    node = Node(
        Config(),
        member_id=member_id(0),
        name="m0",
        ring="test",
        address=address(0),
        epoch=1,
        seed=1,
        now=0,
    )
    for index in range(1, peers + 1):
        tell(node, 0, 1, card(member_id(index), f"m{index}", address(index)))
    for step in range(1, 40):
        node.handle_timeout(step * 50_000)
        sent(node)
    awake(node, now)
    return node


def tell(node: Node, now: int, sender: int, *messages: list[Any]) -> list[Any]:
    """Hand a packet of a member in; give what is sent upon it."""
    node.handle_datagram(packet(member_id(sender), *messages), address(sender), now)
    return sent(node)


def said(index: int, state: int, by: int = 1) -> list[Any]:
    """News of a member."""
    return [STATUS, short(member_id(index)), state, 1, 0, short(member_id(by))]


def state(node: Node, index: int) -> MemberState:
    """What a node holds of a member."""
    return node.member(member_id(index)).state  # type: ignore[union-attr]


def test_verdict_is_believed_by_who_is_awake() -> None:
    """The rule below must not keep a death from anybody."""
    node = knowing(4, 10 * SECOND)
    tell(node, 10 * SECOND, 1, said(2, DEAD))
    assert state(node, 2) is MemberState.DEAD


@pytest.mark.parametrize("stood_still", [False, True])
def test_verdict_from_a_backlog_is_a_question_to_the_member(stood_still: bool) -> None:
    """Who stood still, or did not read, reads verdicts that may have been refuted long ago."""
    node, now = knowing(4, 10 * SECOND), 10 * SECOND
    if stood_still:
        now += TOLERANCE - 50_000
    else:
        while now < 10 * SECOND + TOLERANCE:
            now += 50_000
            node.handle_timeout(now)
            sent(node)
    found = tell(node, now, 1, said(3, DEAD))
    assert state(node, 3) is not MemberState.DEAD
    asked = [message for to, messages in found if to == address(3) for message in messages]
    assert [asked[0][0], asked[0][2]] == [STATUS, DEAD]
    assert PING in [message[0] for message in asked]


def test_verdict_that_waited_while_its_teller_stood_still_is_not_told() -> None:
    """It was declared before, and has perhaps been refuted since."""
    for pause, told in ((0, True), (TOLERANCE - 50_000, False)):
        node, now = knowing(4, 10 * SECOND), 10 * SECOND
        node.handle_datagram(packet(member_id(1), said(2, DEAD)), address(1), now)
        found = sent(node) if pause else []  # the first tick; the second is still to come
        found = tell(node, now + pause + 10_000, 3, [PING, 5, node.digest()])
        news = [m for _, messages in found for m in messages if m[0] == STATUS and m[2] == DEAD]
        assert bool(news) is told


@pytest.mark.parametrize("alone", [False, True])
def test_verdict_of_who_was_alone_is_no_news_to_who_returns(alone: bool) -> None:
    """There was nobody to tell it to; the first that comes back must not hear it as news."""
    node, now = knowing(3, 10 * SECOND), 10 * SECOND
    gone = [said(2, DEAD), said(3, DEAD)] + [said(1, LEFT)] * alone
    node.handle_datagram(packet(member_id(1), *gone), address(1), now)
    sent(node)
    returns = packet(member_id(2), [PING, 5, node.digest()], incarnation=1)
    node.handle_datagram(returns, address(2), now + 10_000)
    assert state(node, 2) is MemberState.ALIVE
    told = [m[:3] for _, messages in sent(node) for m in messages]
    assert ([STATUS, short(member_id(3)), DEAD] in told) is not alone


def test_suspicion_starts_anew_when_nobody_was_heard_for_the_tolerance() -> None:
    """Who did not hear anybody did not hear the suspect's refutation either."""
    node, now = knowing(6, 10 * SECOND), 10 * SECOND
    tell(node, now, 1, said(2, SUSPECT))
    while now < 16 * SECOND:
        now += 50_000
        node.handle_timeout(now)
        sent(node)
    assert state(node, 2) is MemberState.SUSPECT
    tell(node, now, 1)
    before, checks = now, []
    while not checks and now < before + 2 * TOLERANCE:
        now += 50_000
        tell(node, now, 1)
        node.handle_timeout(now)
        checks = [m for _, messages in sent(node) for m in messages if m[0] == PING_REQ and m[1]]
        checks = [m for m in checks if m[2] == short(member_id(2))]
    assert now - before >= TOLERANCE


def test_helper_asks_also_whom_it_knows_by_hearsay_only() -> None:
    """A member that was just restarted said at once that it got no answer, and had not asked."""
    node, now = knowing(2, 10 * SECOND), 10 * SECOND
    tell(node, now, 1, card(member_id(9), "m9", address(9), state=SUSPECT))
    assert node.member(member_id(9)) is None
    found = tell(node, now, 1, [PING_REQ, 7, short(member_id(9)), 100_000])
    assert [(to, messages[0][0]) for to, messages in found] == [(address(9), PING)]


def test_newcomer_says_nothing_about_strangers() -> None:
    """It cannot tell them from members that it has not heard of; later they are nobody's."""
    node = knowing(1, 10 * SECOND)
    request = [PING_REQ, 7, short(member_id(9)), 100_000]
    assert tell(node, 10 * SECOND, 1, request)[0][1][0][0] == NACK
    young = Node(
        Config(),
        member_id=member_id(0),
        name="m0",
        ring="test",
        address=address(0),
        epoch=1,
        seed=1,
        now=0,
    )
    tell(young, 0, 1, card(member_id(1), "m1", address(1)))
    assert [m for _, ms in tell(young, 999_999, 1, request) for m in ms if m[0] == NACK] == []
    assert [m for _, ms in tell(young, SECOND, 1, request) for m in ms if m[0] == NACK]


def test_suspect_that_moved_gets_its_time_anew() -> None:
    """It was asked where it was not."""
    node, now = knowing(6, 10 * SECOND), 10 * SECOND
    tell(node, now, 1, said(2, SUSPECT))
    wait = Config().bystander_wait_us * 5 // 3 + TOLERANCE + 3 * 500_000
    moved = now + wait - SECOND
    while now < moved + TOLERANCE:
        now += 50_000
        tell(node, now, 1)
        node.handle_timeout(now)
        found = [m for _, messages in sent(node) for m in messages]
        if moved <= now < moved + 50_000:
            tell(node, now, 1, card(member_id(2), "m2", address(200), version=(1 << 16) + 1))
        elif now > moved:
            # A last check asks all of the others at once, a probe three.
            assert sum(m[0] == PING_REQ and m[2] == short(member_id(2)) for m in found) <= 3


@pytest.mark.parametrize("pause", [0.9, 1.3])
def test_broken_link_does_not_make_of_short_pauses_a_death(pause: float) -> None:
    """Its accuser asks through others, too, all the time: each answer between two pauses counts."""
    sim = Simulator(seed=4)
    form(sim, 5)
    for victim in (1, 2):
        sim.set_link(0, victim, False)
    for round_ in range(12):
        for victim in (1, 2):
            sim.freeze(victim, pause)
        sim.run(pause + 0.5 + 0.05 * round_)
    assert sim.changes[next(c for c in sim.changes if c.value == "died")] == 0


def test_declarer_of_a_death_is_known_to_who_only_heard_of_it() -> None:
    """And told on: whom to ask is the first question of who finds a member gone."""
    now = 10 * SECOND
    node = knowing(6, now)
    tell(node, now, 1, said(2, DEAD, by=5))
    assert member_id(5).hex()[:16] in node.why(member_id(2))[-1]
    while now < 11 * SECOND:
        now += 50_000
        tell(node, now, 1)
        node.handle_timeout(now)
    found = tell(node, now, 2, [PING, 5, node.digest()])
    news = [m for _, messages in found for m in messages if m[0] == STATUS]
    assert news[0][:3] == [STATUS, short(member_id(2)), DEAD]
    assert news[0][5] == short(member_id(5))
