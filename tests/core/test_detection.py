"""The rules of detection, one by one, on small rings: each fails when its rule is simplified away.

The trap that a test holds against is named by its number in the protocol's list of traps.
"""

from __future__ import annotations

from collections import Counter

import pytest
from rings import SECOND, Ring, address, member_id
from wire import (
    ACK,
    ALIVE,
    DEAD,
    LEFT,
    MEMBER,
    NACK,
    PING,
    PING_REQ,
    RELAYED,
    STATUS,
    SUSPECT,
    awake,
    card,
    packet,
    sent,
    short,
)

from sup_core.config import PROFILES, Config
from sup_core.events import MemberChange, MemberEvent, MemberState, SelfEvent
from sup_core.node import Node

RETURNED, DIED, SUSPECTED = MemberChange.RETURNED, MemberChange.DIED, MemberChange.SUSPECTED


def lone(**options: object) -> Node:
    """A node that knows nobody."""
    config = options.pop("config", None) or Config()
    return Node(
        config,  # type: ignore[arg-type]
        member_id=member_id(0),
        name="m0",
        ring="test",
        address=address(0),
        epoch=1,
        seed=1,
        now=0,
        **options,  # type: ignore[arg-type]
    )


def introduce(node: Node, count: int) -> None:
    """Show members 1..count to a node by their own packets."""
    for index in range(1, count + 1):
        shown = card(member_id(index), f"m{index}", address(index))
        node.handle_datagram(packet(member_id(index), shown), address(index), 0)
    sent(node)


def tell(node: Node, now: int, sender: int, *messages: list[object]) -> None:
    """Hand a packet of a member in."""
    node.handle_datagram(packet(member_id(sender), *messages), address(sender), now)


def of(ring: Ring, change: MemberChange, observer: int | None = None) -> Counter[str]:
    """Who changed so, by name, as one observer or everybody told it."""
    found = ring.events if observer is None else {observer: ring.events[observer]}
    events = (e for heard in found.values() for e in heard if isinstance(e, MemberEvent))
    return Counter(e.member.name for e in events if e.change is change)


def cut(ring: Ring, *gone: int) -> None:
    """Lose everything that these members send or should receive; none of them: mend it."""
    ring.drop = lambda source, target: source in gone or target in gone


def flap(ring: Ring, victim: int, times: int) -> None:
    """Let a member be declared dead and come back so often."""
    for _ in range(times):
        cut(ring, victim)
        ring.run_until(lambda: ring.sees(MemberState.DEAD, victim), 20)
        cut(ring)
        ring.run(25)


# the last check


def test_check_that_nobody_answers_declares_nobody() -> None:
    """Trap 1: no answer from anybody is evidence about this member."""
    ring = Ring(8)
    ring.run(4)
    ring.deaf = {3}
    ring.run(40)
    assert not of(ring, DIED, 3)
    assert SelfEvent("cut_off") in ring.events[3]


@pytest.mark.parametrize("size", [3, 8])
def test_probe_that_nobody_answers_accuses_nobody(size: int) -> None:
    """Trap 1: a deaf member does not even suspect those who do not answer it."""
    ring = Ring(size)
    ring.run(4)
    ring.deaf = {2}
    ring.run(40)
    assert not of(ring, SUSPECTED, 2)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_small_ring_detects_as_fast_as_a_large_one(size: int) -> None:
    """Trap 8: the answers of helpers that a verdict needs are capped by the helpers there are."""
    ring = Ring(size)
    ring.run(4)
    ring.stop(size - 1)
    assert ring.run_until(lambda: ring.sees(MemberState.DEAD, size - 1), 20) <= 6


def test_only_who_failed_to_reach_a_suspect_checks_it() -> None:
    """Trap 3: the verdict is the accusers'; who only heard of it waits for them."""
    ring = Ring(30)
    ring.run(5)
    ring.stop(29)
    ring.run_until(lambda: ring.sees(MemberState.DEAD, 29), 10)
    declared = sum(node.counters()["declared_dead"] for node in ring.nodes.values())
    assert 1 <= declared <= 6


def test_accusation_learnt_from_another_is_not_first_hand() -> None:
    """Trap 4: who is told of a suspicion asks nobody before the accusers' time is up."""
    node = lone()
    introduce(node, 5)
    tell(node, 1, 1, [STATUS, short(member_id(2)), SUSPECT, 1, 0, short(member_id(1))])
    suspicious = [m for target, ms in sent(node) for m in ms if target == address(2)]
    assert PING not in [m[0] for m in suspicious]
    pings = node.counters()["pings"]
    for step in range(1, 20):
        node.handle_timeout(step * 100_000)
    # Its own rhythm, twice at most, and not the three a second of an accuser.
    assert node.counters()["pings"] - pings <= 4


def test_dead_helpers_leave_local_health_as_it_is() -> None:
    """Trap 9: after a mass crash the survivors go on probing at full speed."""
    ring = Ring(20)
    ring.run(5)
    for index in range(14, 20):
        ring.stop(index)
    ring.run(12)
    assert all(ring.sees(MemberState.DEAD, index) for index in range(14, 20))
    assert sum(node.local_health() for node in ring.nodes.values()) <= 2


def test_helpers_are_mostly_members_heard_from_lately() -> None:
    """Two of three: an unanswered ping asks those who have just spoken."""
    node = lone()
    introduce(node, 30)
    now = SECOND
    while not (asked := [t for t, ms in sent(node) for m in ms if m[0] == PING_REQ]):
        for index in (7, 8):
            tell(node, now, index)
        now = max(now, node.next_timeout())
        node.handle_timeout(now)
    assert len(asked) == len(set(asked)) == 3
    assert {address(7), address(8)} <= set(asked) or len({address(7), address(8)} & set(asked)) == 1


def test_nack_leaves_before_the_one_who_asked_gives_up() -> None:
    """Four fifths of the budget: a nack that comes late is none."""
    node = lone()
    introduce(node, 3)
    tell(node, 1000, 1, [PING_REQ, 7, short(member_id(2)), 40_000])
    sent(node)
    node.handle_timeout(1000 + 31_000)
    assert not [m for t, ms in sent(node) for m in ms if t == address(1) and m[0] == NACK]
    node.handle_timeout(1000 + 32_000)
    assert [m for t, ms in sent(node) for m in ms if t == address(1) and m[0] == NACK]


def asked_around() -> tuple[Node, int, int, int, list[int]]:
    """A node whose ping stayed unanswered: (node, when it gives up, seq, target, helpers)."""
    node = lone()
    introduce(node, 4)
    asked: list[tuple[bytes, list[object]]] = []
    while not asked:
        node.handle_timeout(node.next_timeout())
        asked = [(t, m) for t, ms in sent(node) for m in ms if m[0] == PING_REQ]
    [[_, seq, target, _], *_] = [message for _, message in asked]
    index = next(index for index in range(1, 5) if short(member_id(index)) == target)
    return node, node.next_timeout(), seq, index, [where[15] for where, _ in asked]  # type: ignore[return-value]


@pytest.mark.parametrize("answers", [0, 1])
def test_nack_that_leaves_as_its_prober_gives_up_counts(answers: int) -> None:
    """The prober waits one time-out more, once: timers round up, and both may be one wake-up."""
    node, due, seq, target, helpers = asked_around()
    rto = node.counters()["rto_us"]
    node.handle_timeout(due)
    assert node.counters()["probes_unanswered"] == 0
    for helper in helpers[:answers]:
        tell(node, due + 300, helper, [NACK, seq, short(member_id(target))])
    sent(node)
    node.handle_timeout(due + rto - 1)
    assert not sent(node)
    node.handle_timeout(due + rto)
    again = [m for where, ms in sent(node) for m in ms if where == address(target)]
    assert [message[0] for message in again] == [PING] * answers
    assert node.counters()["probes_unanswered"] == 1 - answers


def test_answer_that_a_helper_passes_on_after_its_nack_ends_the_probe() -> None:
    """The target is slow and lives: the second look is over."""
    node, due, seq, target, [helper, *_] = asked_around()
    tell(node, due - 1, helper, [NACK, seq, short(member_id(target))])
    node.handle_timeout(due)
    sent(node)
    tell(node, due + 9_000, helper, [RELAYED, seq, short(member_id(target)), 1, 0])
    while node.next_timeout() < due + 3 * SECOND:
        now = node.next_timeout()
        node.handle_timeout(now)
        for where, messages in sent(node):
            for message in messages:
                if message[0] == PING:
                    assert message[1] != seq
                    tell(node, now + 400, where[15], [ACK, message[1], node.digest()])
    assert node.counters()["suspected"] == 0


def test_accuser_asks_over_another_member_with_every_question() -> None:
    """In the second look and while it suspects: a broken link must not join two short silences."""
    node, due, seq, target, helpers = asked_around()
    for helper in helpers:
        tell(node, due - 1, helper, [NACK, seq, short(member_id(target))])
    asked: dict[int, list[int]] = {seq: [], 0: []}
    while (now := node.next_timeout()) < due + 2 * SECOND:
        node.handle_timeout(now)
        found = [(where[15], m) for where, messages in sent(node) for m in messages]
        for number, others in asked.items():
            if [PING, number] in [m[:2] for index, m in found if index == target]:
                others.append(sum(m[:2] == [PING_REQ, number] for _, m in found))
        for index, message in found:
            if message[0] == PING and index != target:
                tell(node, now + 400, index, [ACK, message[1], node.digest()])
    assert asked[seq] == [1, 1, 1]
    assert len(asked[0]) >= 2
    assert set(asked[0]) == {1}


def test_probe_with_nobody_alive_to_ask_asks_the_suspects() -> None:
    """Who is deaf would else accuse the last other member by its own silence alone."""
    node = lone()
    introduce(node, 2)
    tell(node, 0, 1, [STATUS, short(member_id(2)), SUSPECT, 1, 0, short(member_id(1))])
    asked = []
    while (now := node.next_timeout()) < 4 * SECOND:
        node.handle_timeout(now)
        asked += [(where[15], m[2]) for where, ms in sent(node) for m in ms if m[0] == PING_REQ]
    assert (2, short(member_id(1))) in asked
    assert node.member(member_id(1)).state is MemberState.ALIVE  # type: ignore[union-attr]


@pytest.mark.parametrize("after", [390_000, 410_000])
def test_answer_is_passed_on_for_four_tenths_of_a_second_after_the_nack(after: int) -> None:
    """Budgets are shorter than what a slow member takes, and a helper does not wait for ever."""
    node, budget = lone(), 40_000
    introduce(node, 3)
    node.handle_timeout(SECOND)
    sent(node)
    node.handle_datagram(
        packet(member_id(1), [PING_REQ, 77, short(member_id(2)), budget]), address(1), SECOND
    )
    [seq] = [m[1] for where, ms in sent(node) for m in ms if where == address(2) and m[0] == PING]
    nacked = SECOND + budget * 4 // 5
    node.handle_timeout(nacked)
    assert [NACK, 77] in [m[:2] for _, ms in sent(node) for m in ms]
    node.handle_timeout(nacked + after)
    sent(node)
    node.handle_datagram(
        packet(member_id(2), [ACK, seq, node.digest()]), address(2), nacked + after
    )
    passed = [m[:2] for where, ms in sent(node) for m in ms if where == address(1)]
    assert ([RELAYED, 77] in passed) is (after < 400_000)


# time that this node missed


def test_node_that_stood_still_accuses_nobody_for_it() -> None:
    """A timer that fires long after it was due was not waited for: the stage is asked once more."""
    node = lone()
    introduce(node, 4)
    for _ in range(40):
        now = node.next_timeout()
        node.handle_timeout(now)
        sent(node)
        now += 5 * SECOND
        node.handle_timeout(now)
        for target, messages in sent(node):
            for message in messages:
                if message[0] == PING:
                    index = target[15]
                    tell(node, now + 400, index, [2, message[1], 0])
    assert node.counters()["suspected"] == 0
    assert node.counters()["probes_unanswered"] == 0


def test_node_that_is_always_late_still_detects() -> None:
    """Asked once more, not for ever: a busy member detects later, but it detects."""
    ring = Ring(3)
    ring.run(4)
    ring.stop(2)
    deaths = []
    for _ in range(200):
        ring.run(0.03)
        for index, node in ring.nodes.items():
            node.handle_timeout(ring.now)
            ring.drain(index)
        deaths = [o for o in (0, 1) if ring.states(o)[2] is MemberState.DEAD]
    assert deaths == [0, 1]


# time-outs


def test_time_out_is_estimated_for_the_whole_ring_and_not_per_peer() -> None:
    """Trap 11: a peer that was never probed has the time-out of the others, not a guess."""
    ring = Ring(40)
    ring.run(8)
    assert all(node.counters()["rto_us"] == 20_000 for node in ring.nodes.values())


# words that are not believed, and words that count


def test_accusation_far_above_the_own_incarnation_is_not_believed() -> None:
    """Trap 13: a forged maximum could never be refuted."""
    node = lone()
    introduce(node, 2)
    tell(node, 1, 1, [STATUS, short(member_id(0)), DEAD, 1, 0xFFFFFFFF, short(member_id(1))])
    tell(node, 2, 1, [STATUS, short(member_id(2)), DEAD, 1, 0xFFFFFFFF, short(member_id(1))])
    assert node.local().incarnation == 0
    assert node.member(member_id(2)).state is MemberState.ALIVE  # type: ignore[union-attr]
    assert node.counters()["evidence_refused"] == 2


def test_leaver_answers_an_accusation_with_left() -> None:
    """Trap 15: a leaver that refuted with alive would revive itself."""
    node = lone()
    introduce(node, 2)
    node.leave(1)
    tell(node, 2, 1, [STATUS, short(member_id(0)), DEAD, 1, 0, short(member_id(1))])
    own = [m for t, ms in sent(node) for m in ms if m[0] in (STATUS, MEMBER)]
    mine = [m for m in own if m[1] in (short(member_id(0)), member_id(0))]
    assert mine
    assert {m[2] for m in mine} == {LEFT}
    assert node.local().state is MemberState.LEFT


def test_accusation_that_changes_nothing_still_raises_the_incarnation() -> None:
    """Trap 18: dead at 10 about one who is dead at 2: alive at 5 must not bring it back."""
    node = lone()
    introduce(node, 2)
    tell(node, 1, 1, [STATUS, short(member_id(2)), DEAD, 1, 2, short(member_id(1))])
    tell(node, 2, 1, [STATUS, short(member_id(2)), DEAD, 1, 10, short(member_id(1))])
    tell(node, 3, 1, [STATUS, short(member_id(2)), ALIVE, 1, 5, 0])
    assert node.member(member_id(2)).state is MemberState.DEAD  # type: ignore[union-attr]
    tell(node, 4, 1, [STATUS, short(member_id(2)), ALIVE, 1, 11, 0])
    assert node.member(member_id(2)).state is MemberState.ALIVE  # type: ignore[union-attr]


def test_why_tells_who_accused_on_what_evidence() -> None:
    """Every suspicion and verdict keeps its author and its reason."""
    ring = Ring(5)
    ring.run(4)
    ring.stop(4)
    ring.run_until(lambda: ring.sees(MemberState.DEAD, 4), 10)
    lines = [ring.nodes[observer].why(member_id(4)) for observer in range(4)]
    assert all(len(found) >= 2 for found in lines)
    assert any("probe failed, by " in line for found in lines for line in found)
    assert any("last check failed, " in line for found in lines for line in found)
    assert any(" of 3 helpers answered" in line for found in lines for line in found)
    assert any("accused, by " in line for found in lines for line in found)


# who goes and comes


def test_third_return_in_ten_minutes_is_held_down() -> None:
    """Twice it is believed; from the third time on it answers for a minute before it is shown."""
    ring = Ring(8)
    ring.run(4)
    flap(ring, 7, 2)
    assert ring.sees(MemberState.ALIVE, 7)
    flap(ring, 7, 1)
    assert ring.sees(MemberState.DEAD, 7)
    assert all(ring.nodes[o].counters()["members_held"] == 1 for o in range(7))
    assert any("held down" in line for line in ring.nodes[0].why(member_id(7)))
    took = ring.run_until(lambda: ring.sees(MemberState.ALIVE, 7), 60)
    assert 25 <= took <= 50
    assert of(ring, RETURNED, 0) == Counter({"m7": 3})


def test_held_member_goes_on_in_the_protocol() -> None:
    """Trap 10: shown as dead, and alive to the digest, or the digests would differ for a minute."""
    ring = Ring(8)
    ring.run(4)
    flap(ring, 7, 3)
    assert ring.sees(MemberState.DEAD, 7)
    assert ring.converged()
    ring.nodes[7].publish(1, b"key", b"value", ring.now)
    ring.drain(7)
    ring.run(5)
    assert all(node.rumor(1, b"key", member_id(7)) for node in ring.nodes.values())
    ring.nodes[2].publish(1, b"key", b"value", ring.now)
    ring.drain(2)
    ring.run(10)
    assert ring.nodes[7].rumor(1, b"key", member_id(2))


@pytest.mark.parametrize("direction", ["in", "out"])
def test_held_member_that_is_half_connected_stays_held(direction: str) -> None:
    """A deaf member sends all the same, a mute one hears: only answers to questions are clean."""
    ring = Ring(8)
    ring.run(4)
    flap(ring, 7, 3)
    end = 7
    ring.drop = lambda source, target: (target if direction == "in" else source) == end
    ring.run(120)
    assert ring.sees(MemberState.DEAD, 7)
    ring.drop = lambda source, target: False
    assert ring.run_until(lambda: ring.sees(MemberState.ALIVE, 7), 90) >= 40


def test_held_member_is_shown_again_by_who_is_always_late() -> None:
    """A question that ended late is put once more, and counts then; lateness is no clean time."""
    ring = Ring(8)
    ring.run(4)
    ring.lag = {0: 400_000}
    flap(ring, 7, 3)
    assert ring.nodes[0].counters()["members_held"] == 1
    shown = ring.run_until(lambda: ring.sees(MemberState.ALIVE, 7), 90)
    assert shown >= 25


def test_half_connected_member_stays_held_by_who_is_always_late() -> None:
    """Unanswered questions count, too, where each of them ends late."""
    ring = Ring(8)
    ring.run(4)
    ring.lag = {0: 400_000}
    flap(ring, 7, 3)
    ring.drop = lambda source, target: {source, target} == {0, 7} and source == 7
    ring.run(120)
    assert ring.states(0)[7] is MemberState.DEAD
    assert ring.states(1)[7] is MemberState.ALIVE
    assert ring.nodes[0].counters()["members_held"] == 1


def test_each_further_hold_is_twice_as_long() -> None:
    """Who goes again after a hold comes back later than before."""
    ring = Ring(6)
    ring.run(4)
    flap(ring, 5, 3)
    ring.run_until(lambda: ring.sees(MemberState.ALIVE, 5), 60)
    flap(ring, 5, 1)
    assert ring.nodes[0].counters()["hold_longest_us"] == 120 * SECOND
    assert ring.run_until(lambda: ring.sees(MemberState.ALIVE, 5), 130) >= 85


def test_restarted_member_is_not_held() -> None:
    """A new start says that somebody looked after it: it is shown at once."""
    ring = Ring(6)
    ring.run(4)
    flap(ring, 5, 3)
    assert ring.sees(MemberState.DEAD, 5)
    ring.stop(5)
    ring.start(5, seeds=[0], epoch=2)
    assert ring.run_until(lambda: ring.sees(MemberState.ALIVE, 5), 5) <= 3


def test_split_that_comes_and_goes_holds_nobody() -> None:
    """Half of the ring dies and returns at once: that is the network, and no member's doing."""
    ring = Ring(12)
    ring.run(4)
    for _ in range(4):
        ring.drop = lambda source, target: (source < 6) != (target < 6)
        ring.run(15)
        assert ring.states(0)[11] is MemberState.DEAD
        ring.drop = lambda source, target: False
        ring.run(40)
        assert all(ring.sees(MemberState.ALIVE, index) for index in range(12))
    assert all(node.counters()["hold_longest_us"] == 0 for node in ring.nodes.values())


# the dial


def test_suspicion_follows_from_the_pause_tolerance() -> None:
    """One dial: who raises the tolerance waits as much longer, and half as long otherwise."""
    took = {}
    for tolerance in (1, 2, 6):
        ring = Ring(12, config=Config(pause_tolerance_us=tolerance * SECOND))
        ring.run(4)
        ring.stop(11)
        took[tolerance] = ring.run_until(lambda: ring.sees(MemberState.DEAD, 11), 20)  # noqa: B023
    assert took[2] - took[1] == pytest.approx(1, abs=0.6)
    assert took[6] - took[2] == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_profile_detects_and_tolerates_a_pause(profile: str) -> None:
    """Every profile keeps its own promise: its tolerance, and a bound that follows from it."""
    config = PROFILES[profile]()
    ring = Ring(10, config=config)
    ring.run(8)
    cut(ring, 9)
    ring.run(config.pause_tolerance_us * 0.9 / SECOND)
    cut(ring)
    ring.run(10)
    assert not of(ring, DIED)
    ring.stop(9)
    bound = (3 * config.probe_interval_us + config.pause_tolerance_us) / SECOND + 1.5
    assert ring.run_until(lambda: ring.sees(MemberState.DEAD, 9), 30) <= bound


def test_leave_of_an_earlier_start_is_not_final_for_a_later_one() -> None:
    """An unshown member that did not answer is buried with others, but may come back: nobody saw it
    leave this start, and a leave outranks all else of its start."""
    node = lone()
    introduce(node, 2)
    unseen = card(member_id(9), "m9", address(9), state=SUSPECT, epoch=2)
    tell(node, 0, 1, unseen)
    for second in range(1, 5):
        node.handle_timeout(second * SECOND)
        sent(node)
    for second in (5, 7):  # asked upon the first, believed at the next
        awake(node, second * SECOND)
        tell(node, second * SECOND, 1, [STATUS, short(member_id(9)), LEFT, 1, 0, 0])
    found = node.member(member_id(9))
    assert found is not None
    assert (found.state, found.epoch) == (MemberState.DEAD, 2)
    tell(node, 8 * SECOND, 1, [STATUS, short(member_id(9)), ALIVE, 2, 1, 0])
    assert node.member(member_id(9)).state is MemberState.ALIVE  # type: ignore[union-attr]


def last_check_of_two() -> tuple[Node, int]:
    """A node whose only peer is silent, in the last check of it; and when that check is over."""

    def run(until: int) -> tuple[Node, int]:
        node = lone()
        introduce(node, 1)
        while (now := node.next_timeout()) < until:
            node.handle_timeout(now)
            node.handle_datagram(packet(member_id(77)), address(77), now)  # it is not deaf
            sent(node)
            if until > 60 * SECOND and node.counters()["declared_dead"]:
                return node, now
        return node, now

    _, end = run(61 * SECOND)
    node, due = run(end)
    assert due == end
    return node, end


def peer(node: Node) -> MemberState:
    """The state of the first peer."""
    return node.member(member_id(1)).state  # type: ignore[union-attr]


def test_check_repeated_with_helpers_needs_their_answers() -> None:
    """Who stood still repeats the check; that the first could ask nobody does not make silence of
    those that the second asks a verdict."""
    node, end = last_check_of_two()
    for index in (2, 3):
        tell(node, end - 1, index, card(member_id(index), f"m{index}", address(index)))
    sent(node)
    node.handle_timeout(end + SECOND)
    asked = [m for _, messages in sent(node) for m in messages if m[0] == PING_REQ]
    assert len(asked) == 2
    for step in range(1, 8):
        node.handle_timeout(end + SECOND + step * SECOND // 10)
        sent(node)
    assert peer(node) is not MemberState.DEAD


def test_check_that_could_ask_nobody_says_nothing_about_the_own_health() -> None:
    """A helper came before the check was over: it is repeated, and nobody was silent in it."""
    node, end = last_check_of_two()
    tell(node, end - 1, 2, card(member_id(2), "m2", address(2)))
    node.handle_timeout(end)
    assert peer(node) is MemberState.SUSPECT
    assert node.local_health() == 0


@pytest.mark.parametrize(("after", "counts"), [(700_000, True), (1_550_000, False)])
def test_ack_too_late_for_its_probe_is_a_sample_while_it_measures_a_path(
    after: int, counts: bool
) -> None:
    """Up to three times the longest time-out; later ones would measure a pause of this node."""
    node = lone(config=Config(rto_max_us=500_000))
    introduce(node, 4)
    pings: list[tuple[bytes, list[list[object]]]] = []
    while not pings:
        start = node.next_timeout()
        node.handle_timeout(start)
        pings = [one for one in sent(node) if one[1][0][0] == PING]
    [(target, [ping, *_])] = pings
    index = next(index for index in range(1, 5) if address(index) == target)
    before = node.counters()["rto_us"]
    while node.next_timeout() < start + after:
        node.handle_timeout(node.next_timeout())
        sent(node)
    tell(node, start + after, index, [ACK, ping[1], node.digest()])
    assert (node.counters()["rto_us"] != before) is counts
