"""The rules of SWIM and Lifeguard, and this project's, on small rings in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from rings import SECOND, Ring, address, member_id
from wire import ACK, DEAD, JOIN, NACK, PING, PING_REQ, STATUS, SUSPECT, card, packet, sent, short

from sup_core.config import Config
from sup_core.events import MemberChange, MemberEvent, MemberState, RumorEvent, SelfEvent
from sup_core.node import Node

ALIVE, LEFT = MemberState.ALIVE, MemberState.LEFT


def changes(ring: Ring) -> Counter[MemberChange]:
    """How often everybody saw each kind of change."""
    events = (event for found in ring.events.values() for event in found)
    return Counter(event.change for event in events if isinstance(event, MemberEvent))


def selves(ring: Ring, index: int) -> list[str]:
    """What a member said about itself."""
    return [event.what for event in ring.events[index] if isinstance(event, SelfEvent)]


@pytest.mark.parametrize("size", [2, 3, 10, 50])
def test_ring_converges_and_detects_a_crash(size: int) -> None:
    """SWIM 3.1: complete detection; the design's bound is 6 s until the last member knows."""
    ring = Ring(size)
    ring.run_until(lambda: all(len(node.members()) == size for node in ring.nodes.values()), 5)
    ring.run(6)
    assert ring.converged()
    ring.stop(size - 1)
    assert ring.run_until(lambda: ring.sees(MemberState.DEAD, size - 1), 10) <= 6


def test_probe_intervals_are_bounded_for_every_member() -> None:
    """SWIM 4.3: round robin bounds the time to the next probe; here two periods by the id order."""
    ring = Ring(12)
    ring.run(3)
    before = {index: node.counters()["packets_in"] for index, node in ring.nodes.items()}
    ring.run(2.5)
    assert all(node.counters()["packets_in"] > before[i] for i, node in ring.nodes.items())


def test_steady_traffic_is_two_packets_a_second_and_flat_in_size() -> None:
    """SWIM 3: load per member does not grow with the ring; at most 150 bytes with headers."""
    for size in (5, 40):
        ring = Ring(size)
        ring.run(8)
        packets, traffic = ring.packets, ring.bytes
        ring.run(20)
        assert (ring.packets - packets) / 20 / size == pytest.approx(2, abs=0.1)
        assert (ring.bytes - traffic) / 20 / size + 2 * 28 <= 150


def test_pause_below_the_tolerance_kills_nobody() -> None:
    """Lifeguard's aim: a member that stops for 1.5 s of 2 s is suspected at most, never dead."""
    ring = Ring(10)
    ring.run(3)
    for victim in range(10):
        ring.drop = lambda source, target, victim=victim: victim in (source, target)  # type: ignore[misc]
        ring.run(1.5)
        ring.drop = lambda source, target: False
        ring.run(2)
    assert changes(ring)[MemberChange.DIED] == 0
    assert all(ring.sees(ALIVE, index) for index in range(10))


def test_deaf_member_kills_nobody_and_shows_itself_cut_off() -> None:
    """Trap 1: no answer from anybody is evidence about me."""
    ring = Ring(12)
    ring.run(3)
    ring.deaf = {5}
    ring.run(20)
    assert set(ring.states(5).values()) == {ALIVE}
    assert "cut_off" in selves(ring, 5)
    assert ring.nodes[5].local_health() > 0
    victims = {
        event.member.name
        for found in ring.events.values()
        for event in found
        if isinstance(event, MemberEvent) and event.change == MemberChange.DIED
    }
    assert victims == {"m5"}


def test_lossy_network_kills_nobody() -> None:
    """Lifeguard II: 5 % loss is no reason to declare anybody."""
    ring = Ring(15)
    ring.drop = lambda source, target: ring.random.random() < 0.05
    ring.run(40)
    assert changes(ring)[MemberChange.DIED] == 0


@pytest.mark.parametrize("size", [2, 10])
def test_split_heals_without_seeds_being_needed(size: int) -> None:
    """Halves that declared each other dead contact their dead for ever."""
    ring = Ring(size)
    ring.run(3)
    half = size // 2
    ring.drop = lambda source, target: (source < half) != (target < half)

    def split() -> bool:
        return all(
            state != ALIVE
            for observer in ring.nodes
            for index, state in ring.states(observer).items()
            if (observer < half) != (index < half)
        )

    ring.run_until(split, 60)
    for node in ring.nodes.values():
        node.join([], ring.now)
    ring.run(60)
    ring.drop = lambda source, target: False
    ring.run_until(lambda: all(ring.sees(ALIVE, index) for index in ring.nodes), 40)
    ring.run(8)
    assert ring.converged()


def test_restarted_member_replaces_its_old_self_at_once() -> None:
    """An epoch outranks whatever was said of the one before, and nobody shows two members."""
    ring = Ring(8)
    ring.run(3)
    ring.stop(3)
    ring.start(3, seeds=[0], epoch=2)
    ring.run(3)
    assert all(node.member(member_id(3)).epoch == 2 for node in ring.nodes.values())  # type: ignore[union-attr]
    assert all(len(node.members()) == 8 for node in ring.nodes.values())
    assert changes(ring)[MemberChange.DIED] == 0


def test_leaver_is_known_as_left_and_not_as_dead() -> None:
    """`left` outranks `dead`; nobody looks for a leaver."""
    ring = Ring(8)
    ring.run(3)
    ring.nodes[3].leave(ring.now)
    ring.drain(3)
    ring.run_until(lambda: ring.nodes[3].has_left(), 4)
    ring.stop(3)
    ring.run(8)
    assert ring.sees(LEFT, 3)
    assert changes(ring)[MemberChange.DIED] == 0


def test_suspect_told_directly_refutes_with_a_larger_incarnation() -> None:
    """SWIM 4.2 and Lifeguard's buddy system: the answer to an accusing ping is the refutation."""
    ring = Ring(2)
    ring.run(2)
    node, other = ring.nodes[0], member_id(1)
    accusation = [STATUS, short(member_id(0)), SUSPECT, 1, 0, short(other)]
    node.handle_datagram(packet(other, accusation, [PING, 7, 0]), address(1), ring.now)
    assert node.local().incarnation == 1
    parcel = node.poll_transmit()
    assert parcel is not None
    assert node.counters()["refuted"] == 1
    assert node.local_health() == 1


def test_higher_accusation_that_changes_nothing_still_raises_the_incarnation() -> None:
    """Trap 18: dead at 10, then alive at 2 must not resurrect."""
    ring = Ring(2)
    ring.run(2)
    node, other = ring.nodes[0], member_id(1)
    for incarnation in (2, 10):
        message = [STATUS, short(other), DEAD, 1, incarnation, 5]
        node.handle_datagram(packet(member_id(7), message), address(7), ring.now)
    alive = [STATUS, short(other), 0, 1, 4, 0]
    node.handle_datagram(packet(member_id(7), alive), address(7), ring.now)
    held = node.member(other)
    assert held is not None
    assert (held.state, held.incarnation) == (MemberState.DEAD, 10)


def test_two_holders_of_one_id_are_noticed() -> None:
    """Trap 12: the same id and epoch from two addresses."""
    ring = Ring(2)
    ring.run(2)
    node = ring.nodes[0]
    clone = card(member_id(1), "clone", address(9))
    node.handle_datagram(packet(member_id(1), [JOIN], clone), address(9), ring.now)
    node.handle_datagram(packet(member_id(0), [PING, 1, 0]), address(8), ring.now + 11 * SECOND)
    events = []
    while (event := node.poll_event()) is not None:
        events.append(event)
    assert [event.what for event in events if isinstance(event, SelfEvent)] == ["duplicate_id"] * 2


def test_survivors_of_a_mass_crash_find_all_dead() -> None:
    """Trap 7 and 9: half of twenty within 15 s, eighteen of twenty within 90 s."""
    for crashed, bound in ((10, 15), (18, 90)):
        ring = Ring(20)
        ring.run(3)
        for index in range(20 - crashed, 20):
            ring.stop(index)
        ring.run_until(
            lambda ring=ring, crashed=crashed: all(  # type: ignore[misc]
                ring.states(observer).get(index) == MemberState.DEAD
                for observer in ring.nodes
                for index in range(20 - crashed, 20)
            ),
            bound,
        )


def test_rumor_reaches_everybody_with_few_copies() -> None:
    """256 bytes to 50 members within 0.8 s, by gossip alone."""
    ring = Ring(50)
    ring.run(8)
    version = ring.nodes[7].publish(1, b"key", bytes(256), ring.now)
    ring.drain(7)
    took = ring.run_until(
        lambda: all(node.rumor(1, b"key", member_id(7)) for node in ring.nodes.values()), 2, 0.01
    )
    assert took <= 0.8
    events = [e for e in ring.events[30] if isinstance(e, RumorEvent)]
    assert [(e.rumor.version, e.previous) for e in events] == [(version, None)]


def test_large_rumor_is_pulled_by_everybody() -> None:
    """A body over a packet travels by stream from whoever has it."""
    ring = Ring(20)
    ring.run(5)
    ring.nodes[3].publish(64, b"big", b"x" * 60_000, ring.now)
    ring.drain(3)
    ring.run_until(lambda: all(node.rumor(64, b"big") for node in ring.nodes.values()), 5)
    ring.run(5)
    assert ring.converged()


def test_retracted_rumor_stays_away_from_a_member_that_missed_it() -> None:
    """A tombstone outranks what a laggard still holds."""
    ring = Ring(6)
    ring.run(3)
    ring.nodes[1].publish(1, b"gone", b"x", ring.now)
    ring.drain(1)
    ring.run(2)
    ring.drop = lambda source, target: 5 in (source, target)
    ring.nodes[1].retract(1, b"gone", ring.now)
    ring.drain(1)
    ring.run(6)
    ring.drop = lambda source, target: False
    ring.run(25)
    assert all(node.rumor(1, b"gone", member_id(1)) is None for node in ring.nodes.values())
    assert ring.converged()


def test_last_writer_without_a_wall_clock_orders_by_what_it_saw() -> None:
    """A node with wall clock 0 still writes above every stamp it has seen."""
    ring = Ring(1)
    ring.start(1, seeds=[0], wall_us=1_700_000_000 * SECOND)
    ring.run(2)
    first = ring.nodes[1].publish(64, b"k", b"one", ring.now)
    ring.drain(1)
    ring.run(1)
    second = ring.nodes[0].publish(64, b"k", b"two", ring.now)
    ring.drain(0)
    ring.run(1)
    assert second > first
    assert all(node.rumor(64, b"k").value == b"two" for node in ring.nodes.values())  # type: ignore[union-attr]


def test_stamp_from_the_future_is_refused_and_reported() -> None:
    """One wrong clock must not win for ever."""
    ring = Ring(0)
    ring.start(0, seeds=[], wall_us=1_700_000_000 * SECOND)
    ring.start(1, seeds=[0], wall_us=1_700_000_100 * SECOND)
    ring.run(2)
    ring.nodes[1].publish(64, b"k", b"late", ring.now)
    ring.drain(1)
    ring.run(2)
    assert ring.nodes[0].rumor(64, b"k") is None
    assert "clock" in selves(ring, 0)


def test_snapshot_restores_rumors_and_contacts_members_without_believing() -> None:
    """Loaded members are asked, not shown; they are shown when they answer."""
    ring = Ring(4)
    ring.run(3)
    ring.nodes[1].publish(64, b"config", b"value", ring.now)
    ring.drain(1)
    ring.run(2)
    saved = ring.nodes[3].snapshot()
    ring.stop(3)
    node = ring.start(3, seeds=[], epoch=2)
    node.load(saved, ring.now)
    assert [member.name for member in node.members()] == ["m3"]
    assert node.rumor(64, b"config").value == b"value"  # type: ignore[union-attr]
    ring.drain(3)
    ring.run(5)
    assert len(node.members()) == 4
    with pytest.raises(ValueError, match="no snapshot"):
        node.load(b"nonsense", ring.now)


def test_dead_member_is_forgotten_after_the_floor() -> None:
    """Tombstones have a floor; until then a stale `alive` cannot resurrect."""
    ring = Ring(3, config=Config(tombstone_floor_us=20 * SECOND))
    ring.run(3)
    ring.nodes[2].publish(1, b"service", b"x", ring.now)
    ring.drain(2)
    ring.run(1)
    ring.stop(2)
    ring.run_until(lambda: ring.sees(MemberState.DEAD, 2), 10)
    ring.run(25)
    assert all(len(node.members()) == 2 for node in ring.nodes.values())
    assert all(node.rumor(1, b"service", member_id(2)) is None for node in ring.nodes.values())
    assert changes(ring)[MemberChange.FORGOTTEN] == 2


def test_ghost_learnt_by_sync_is_not_shown_before_it_answers() -> None:
    """Trap 14: a laggard brings a member back that nobody else knows."""
    ring = Ring(2)
    ring.run(3)
    node = ring.nodes[0]
    ghost = card(member_id(9), "ghost", address(9))
    request = packet(member_id(1), [13, b"\0" * 16], ghost)
    assert node.handle_request(request, address(1), ring.now)
    assert node.member(member_id(9)) is None
    pings = [target for target, messages in sent(node) if messages[0][0] == PING]
    assert address(9) in pings


def test_why_names_the_accuser_and_the_reason() -> None:
    """An operator can ask why a member is held dead."""
    ring = Ring(3)
    ring.run(3)
    ring.stop(2)
    ring.run_until(lambda: ring.sees(MemberState.DEAD, 2), 10)
    lines = [line for node in ring.nodes.values() for line in node.why(member_id(2))]
    assert any("probe failed" in line and ", by " in line for line in lines)
    assert any("dead" in line for line in lines)


def test_same_seed_and_inputs_give_the_same_bytes() -> None:
    """Determinism: two runs of a ring with a crash and rumors send the same packets."""

    def run() -> list[bytes]:
        ring = Ring(6, seed=5)
        trace: list[bytes] = []
        ring.drop = lambda source, target: False
        ring.run(3)
        ring.nodes[1].publish(1, b"a", b"b", ring.now)
        ring.drain(1)
        ring.stop(5)
        ring.run(6)
        for node in ring.nodes.values():
            trace += [node.snapshot(), repr(sorted(node.counters().items())).encode()]
        return trace

    assert run() == run()


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (0, b"k", b""),
        (192, b"k", b""),
        (1, bytes(256), b""),
        (1, b"k", bytes(65_537)),
        (160, b"k", b"abc"),
    ],
)
def test_publish_over_a_bound_raises_with_the_value(kind: int, key: bytes, value: bytes) -> None:
    """A local caller's mistake is told at once."""
    ring = Ring(1)
    with pytest.raises(ValueError, match=r"\d"):
        ring.nodes[0].publish(kind, key, value, 0)


def test_origin_quota_refuses_the_runaway_owner() -> None:
    """What one member may occupy in everybody's store is bounded."""
    ring = Ring(1)
    for number in range(1024):
        ring.nodes[0].publish(1, b"%d" % number, b"", 0)
    with pytest.raises(ValueError, match="1024"):
        ring.nodes[0].publish(1, b"more", b"", 0)


def accuser(helpers: int = 5, stall: int = 0) -> tuple[Node, int, list[tuple[int, int]]]:
    """A node among eight that member 7 does not answer, though all others do.

    It is stopped when it asks so many helpers at once about the suspect: three probe it, five are
    the last check. Gives the node, the time and (helper, sequence) of what was asked.
    """
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
    for index in range(1, 8):
        shown = card(member_id(index), f"m{index}", address(index))
        node.handle_datagram(packet(member_id(index), shown), address(index), 0)
    for _ in range(4000):
        now = node.next_timeout()
        if stall and state_of(node, 7) is MemberState.SUSPECT:
            now, stall = now + stall, 0
        node.handle_timeout(now)
        heard = [(target[15], m) for target, messages in sent(node) for m in messages]
        asked = [(index, m[1]) for index, m in heard if m[0] == PING_REQ]
        if len(asked) == helpers:
            return node, now, asked
        for index, m in heard:
            if m[0] in (PING, PING_REQ) and index != 7:
                answer = [ACK, m[1], 0] if m[0] == PING else [NACK, *m[1:3]]
                node.handle_datagram(packet(member_id(index), answer), address(index), now)
    raise AssertionError("nobody was asked")


def state_of(node: Node, index: int) -> MemberState:
    """What a node holds a member for."""
    held = node.member(member_id(index))
    assert held is not None
    return held.state


def test_last_check_that_no_helper_answers_declares_nobody() -> None:
    """Trap 1: the suspicion was well founded, then this member went deaf."""
    node, now, _ = accuser()
    assert state_of(node, 7) == MemberState.SUSPECT
    for _ in range(400):
        node.handle_timeout(now := max(now, node.next_timeout()))
        sent(node)
    assert MemberState.DEAD not in {state_of(node, index) for index in range(1, 8)}


@pytest.mark.parametrize("refuted", [False, True])
def test_check_that_began_before_a_refutation_says_nothing_of_the_next_suspicion(
    refuted: bool,
) -> None:
    """What its helpers found is about an incarnation that is no more; else it is a verdict."""
    node, now, asked = accuser()
    if refuted:
        for state in (0, SUSPECT):
            told = [STATUS, short(member_id(7)), state, 1, 1, short(member_id(1))]
            node.handle_datagram(packet(member_id(1), told), address(1), now)
    for helper, seq in asked:
        nack = [NACK, seq, short(member_id(7))]
        node.handle_datagram(packet(member_id(helper), nack), address(helper), now + 1)
    end = now + SECOND
    while (now := max(now, node.next_timeout())) < end:
        node.handle_timeout(now)
        sent(node)
    assert state_of(node, 7) == (MemberState.SUSPECT if refuted else MemberState.DEAD)


def test_step_of_a_suspicion_in_which_the_clock_jumped_is_not_the_suspects() -> None:
    """Its timer says for how long this node stood still at its end, and nothing of what was before:
    the suspect gets what the timer was late and one step of 0.33 s."""
    stall = 400_000
    added = accuser(stall=stall)[1] - accuser()[1]
    assert stall < added <= stall + 330_000


@pytest.mark.parametrize("refuted", [False, True])
def test_probe_that_began_before_a_refutation_accuses_nobody(refuted: bool) -> None:
    """Its failure says nothing of the member that has just shown that it lives."""
    node, now, asked = accuser(helpers=3)
    for helper, seq in asked:
        nack = [NACK, seq, short(member_id(7))]
        node.handle_datagram(packet(member_id(helper), nack), address(helper), now)
    for state, incarnation in ((SUSPECT, 0), (0, 1)) if refuted else ():
        told = [STATUS, short(member_id(7)), state, 1, incarnation, short(member_id(1))]
        node.handle_datagram(packet(member_id(1), told), address(1), now)
    end = now + Config().second_look_us + 350_000
    while (now := max(now, node.next_timeout())) < end:
        node.handle_timeout(now)
        sent(node)
    assert state_of(node, 7) == (MemberState.ALIVE if refuted else MemberState.SUSPECT)


def test_second_value_of_a_key_has_a_higher_version_and_reaches_everybody() -> None:
    """A sequence that repeats is two values under one version: each member keeps its first."""
    ring = Ring(5)
    ring.run(3)
    for value in (b"one", b"two"):
        ring.nodes[1].publish(1, b"key", value, ring.now)
        ring.drain(1)
        ring.run(1)
    found = [node.rumor(1, b"key", member_id(1)) for node in ring.nodes.values()]
    assert [rumor.value for rumor in found if rumor is not None] == [b"two"] * 5
