"""The compiled node against the reference model: the same inputs, the same states and packets.

Hypothesis writes scripts of a small ring: what peers say (well-formed and not), who is silent, how
long. Every step goes into the node and into the model; then members, rumors, digest, events, own
health, waiting news and every packet sent have to agree, and every deadline to the microsecond.
"""

from __future__ import annotations

import heapq
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rings import SECOND, address, member_id
from tests.reference import digest, wire
from tests.reference.members import Evidence, State, merge
from tests.reference.node import Parcel, ReferenceNode

from sup_core.config import Config
from sup_core.events import MemberEvent
from sup_core.identity import hash_bytes, ring_hash
from sup_core.member_table import outranks
from sup_core.node import Node

RING = ring_hash("test")
LATENCY_US = 700
# No wait of a bystander: its length is left to chance, and has tests of its own.
# A member that goes and comes is held down in test_detection.
CONFIG = Config(bystander_wait_us=1, flap_hold_us=0)


def short(index: int) -> int:
    """The short id of a peer."""
    return int.from_bytes(member_id(index)[:8])


def card(index: int, state: int = 0, epoch: int = 1, incarnation: int = 0, count: int = 0) -> list:  # type: ignore[type-arg]
    """The MEMBER message of a peer."""
    numbers = [epoch, incarnation, (epoch << 16) + count]
    where = address(index + 100 * count)
    return [wire.MEMBER, member_id(index), state, *numbers, where, [f"m{index}", {}], 0]


class Pair:
    """A node and its model, and peers that answer both."""

    def __init__(self, peers: int, seed: int, config: Config = CONFIG) -> None:
        self.now = 0
        self.node = Node(
            config,
            member_id=member_id(0),
            name="m0",
            ring="test",
            address=address(0),
            epoch=1,
            seed=seed,
            now=0,
        )
        self.model = ReferenceNode(
            config, member_id=member_id(0), name="m0", ring=RING, address=address(0), epoch=1
        )
        # When the first period starts is left to chance.
        self.model.arm(self.node.next_timeout(), self.model.period)
        self.incarnations = dict.fromkeys(range(1, 10), 0)
        self.silent: set[int] = set()
        self.grain = 1
        """Timers fire at multiples of it, of the node and of its peers."""
        self.other = 0
        """What the digests of the peers differ by."""
        self.queue: list[tuple[int, int, int, list[list[Any]]]] = []
        self.order = 0
        for index in range(1, peers + 1):
            self.hear(index, [[wire.JOIN], card(index)])

    def hear(
        self, index: int, messages: list[Any], *, source: int | None = None, cut: int = 0
    ) -> None:
        """A peer's datagram reaches both."""
        head = [1, RING, short(index), 1, self.incarnations.get(index, 0)]
        data: bytes = msgpack.packb([*head, *messages])
        if cut:
            data = data[: -min(cut, len(data) - 1)]
        where = address(index if source is None else source)
        self.node.handle_datagram(data, where, self.now)
        sent = self.sent()
        self.model.handle_datagram(data, where, self.now, list(sent))
        self.settled(sent)

    def sent(self) -> list[Parcel]:
        """What the node wants sent, read with the msgpack library."""
        found = []
        while (parcel := self.node.poll_transmit()) is not None:
            packet = wire.decode(parcel[1])
            assert not packet.malformed
            head = [packet.version, packet.ring, packet.sender, packet.epoch, packet.incarnation]
            assert head[:4] == [1, RING, short(0), 1]
            found.append((parcel[0], packet.messages))
        while (request := self.node.poll_request()) is not None:
            self.model.requested.append((request[1], wire.decode(request[2]).messages))
            self.node.handle_response(request[0], None, self.now)
        return found

    def settled(self, sent: list[Parcel]) -> None:
        """Both agree; then the peers answer."""
        assert self.model.observed == [], f"unexplained: {self.model.observed}"
        assert self.model.requested == [], f"unexplained: {self.model.requested}"
        self.agree()
        for target, messages in sent:
            index = next((i for i in range(1, 10) if address(i) == target), None)
            if index is not None and index not in self.silent:
                self.answer(index, messages)

    def answer(self, index: int, messages: list[list[Any]]) -> None:
        """A peer refutes, acks, relays and nacks."""
        for message in messages:
            if message[0] == wire.STATUS and message[1] == short(index) and message[2]:
                known = self.incarnations[index]
                if message[3] == 1 and message[4] >= known and message[4] < 1000:
                    self.incarnations[index] = message[4] + 1
            elif message[0] == wire.PING:
                digest = self.model.digest() ^ self.other
                self.later(LATENCY_US, index, [[wire.ACK, message[1], digest]])
            elif message[0] == wire.PING_REQ:
                subject = next((i for i in range(1, 10) if short(i) == message[2]), 0)
                if subject and subject not in self.silent:
                    said = [wire.RELAYED, *message[1:3], 1, self.incarnations[subject]]
                    self.later(2 * LATENCY_US, index, [said])
                else:
                    nack_at = self.rounded(self.now + message[3] * 4 // 5) + LATENCY_US
                    self.later(nack_at - self.now, index, [[wire.NACK, *message[1:3]]])

    def rounded(self, due: int) -> int:
        """When a timer fires."""
        return -(-due // self.grain) * self.grain

    def later(self, wait: int, index: int, messages: list[list[Any]]) -> None:
        """A peer's datagram comes after a wait."""
        self.order += 1
        heapq.heappush(self.queue, (self.now + wait, self.order, index, messages))

    def run(self, duration: int) -> None:
        """Time passes: timers and answers in order."""
        end = self.now + duration
        while True:
            due = self.node.next_timeout()
            assert self.model.next_due() >= due, "the node sleeps past a deadline"
            due = self.rounded(due)
            arrives = self.queue[0][0] if self.queue else end + 1
            moment = max(self.now, min(due, arrives))
            if moment > end:
                break
            self.now = moment
            if arrives <= due:
                _, _, index, messages = heapq.heappop(self.queue)
                if index not in self.silent:
                    self.hear(index, messages)
                continue
            self.node.handle_timeout(self.now)
            sent = self.sent()
            self.model.handle_timeout(self.now, list(sent))
            self.settled(sent)
        self.now = end

    def agree(self) -> None:
        """States are the same."""
        model, node = self.model, self.node
        members = {
            m.id: (m.state, m.epoch, m.incarnation, m.version, m.address, m.name)
            for m in node.members()
        }
        assert members == {
            m.id: (m.state, m.epoch, m.incarnation, m.version, m.address, m.card[0])
            for m in model.members.values()
            if m.shown
        }
        rumors = {
            (r.kind, r.key, r.origin, r.version.a, r.version.b, r.value) for r in node.rumors()
        }
        assert rumors == {
            tuple(h.rumor) for h in model.rumors.held.values() if h.rumor.value is not None
        }
        assert node.digest() == model.digest()
        events = []
        while (event := node.poll_event()) is not None:
            if isinstance(event, MemberEvent):
                events.append((event.change.value, event.member.id))
        assert events == model.events
        model.events.clear()
        counters = node.counters()
        assert counters["dropped_malformed"] == model.counts["malformed"]
        assert counters["refuted"] == model.counts["refuted"]
        assert counters["declared_dead"] == model.counts["declared"]
        assert counters["evidence_refused"] == model.counts["evidence_refused"]
        assert counters["news_members"] == len(model.news.members.items)
        assert counters["news_rumors"] == len(model.news.rumors.items)
        assert counters["rto_us"] == model.trip.timeout()
        assert node.local_health() == model.health.score


PEERS = st.integers(0, 5)
# Most is said of few, so that one thing said meets another.
SUBJECT = st.sampled_from([0, 1, 1, 1, 2, 2, 3])
NUMBER = st.one_of(st.integers(0, 3), st.sampled_from([5, 1025, 1030, 2**32 - 1]))
EPOCH = st.sampled_from([0, 1, 1, 1, 1, 2, 3, 70_000])
STATE = st.integers(0, 3)
STATUS = st.builds(
    lambda who, state, epoch, number, by: [
        wire.STATUS,
        short(who),
        state,
        epoch,
        number,
        short(by),
    ],
    SUBJECT,
    STATE,
    EPOCH,
    NUMBER,
    PEERS,
)
MEMBER = st.builds(card, st.integers(0, 7), STATE, EPOCH, NUMBER, st.integers(0, 1))
VALUE = st.sampled_from(
    [None, b"", bytes(8), b"\1" * 8, b"\2" * 16, b"\x80" + bytes(7), bytes(300)]
)
RUMOR = st.builds(
    lambda kind, key, origin, a, b, value: [
        *(wire.RUMOR, kind, key, member_id(origin), a, b, value, 0)
    ],
    st.sampled_from([1, 2, 63, 64, 100, 127, 128, 159, 160, 191, 192, 0, 300]),
    st.sampled_from([b"a", b"b"]),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 2),
    VALUE,
)
# Versions of one rumor that differ in little.
CLOSE = st.builds(
    lambda kind, b, value: [wire.RUMOR, kind, b"a", member_id(1), 1, b, value, 0],
    st.sampled_from([1, 64]),
    st.integers(0, 1),
    VALUE,
)
PING = st.builds(lambda seq, digest: [wire.PING, seq, digest], NUMBER, st.integers(0, 2**64 - 1))
PING_REQ = st.builds(
    lambda seq, who, budget: [wire.PING_REQ, seq, short(who), budget],
    st.integers(1, 9),
    st.integers(0, 7),
    st.sampled_from([50_000, 400_000]),
)
OTHER = st.one_of(
    st.just([wire.JOIN]),
    st.builds(lambda seq, d: [wire.ACK, seq, d], NUMBER, st.integers(0, 9)),
    st.builds(lambda seq, who: [wire.NACK, seq, short(who)], NUMBER, PEERS),
    st.builds(
        lambda seq, who, number: [wire.RELAYED, seq, short(who), 1, number],
        NUMBER,
        PEERS,
        NUMBER,
    ),
    st.sampled_from(
        [
            [99, {"a": [1, None]}],
            [wire.PING, 1, 2, "more", [3]],
            [wire.PING, 1],
            [wire.PING, -1, 0],
            [wire.STATUS, 1, 4, 1, 1, 1],
            [wire.PING_REQ, 1, 2, 60_000_001],
            [wire.RUMOR, 1, b"k" * 256, bytes(16), 0, 0, b"", 0],
            [wire.PING, 1.5, 0],
            ["x"],
            [],
            7,
            [99, [[[[[[[[1]]]]]]]]],
            [99, [[[[[[[]]]]]]]],
        ]
    ),
)
SAY = st.tuples(
    st.just("say"),
    st.integers(1, 7),
    st.lists(st.one_of(STATUS, STATUS, MEMBER, RUMOR, CLOSE, PING, PING_REQ, OTHER), max_size=7),
    st.booleans(),
    st.sampled_from([0, 0, 0, 0, 1, 7]),
)
RUN = st.tuples(st.just("run"), st.sampled_from([1_000, 250_000, 1_100_000, 3_300_000, 7_000_000]))
SILENCE = st.tuples(st.just("silence"), st.sets(st.integers(1, 5)))
SCRIPT = st.lists(st.one_of(SAY, SAY, RUN, SILENCE), min_size=1, max_size=14)


def play(pair: Pair, script: list[Any]) -> None:
    """Run a script."""
    for step in script:
        if step[0] == "say":
            source = 50 if step[3] and step[1] % 2 else None
            pair.hear(step[1], step[2], source=source, cut=step[4])
        elif step[0] == "run":
            pair.run(step[1])
        else:
            pair.silent = step[1]


@settings(
    max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(peers=st.integers(0, 5), seed=st.integers(0, 2**16), script=SCRIPT)
def test_node_agrees_with_the_model_on_whatever_peers_say(
    peers: int, seed: int, script: list[Any]
) -> None:
    """Merge, refutation, probes, suspicions, last checks, gossip and digests on random scripts."""
    pair = Pair(peers, seed)
    play(pair, script)
    pair.silent = set()
    pair.run(2 * SECOND)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(
    peers=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    silences=st.lists(
        st.tuples(st.sets(st.integers(1, 6)), st.integers(100_000, 8 * SECOND)), max_size=4
    ),
)
def test_node_agrees_with_the_model_on_who_answers(
    peers: int, seed: int, silences: list[tuple[set[int], int]]
) -> None:
    """The detector's whole way, from the first failed probe to the verdict and back."""
    pair = Pair(peers, seed)
    for silent, duration in silences:
        pair.silent = silent
        pair.run(duration)
    pair.silent = set()
    pair.run(12 * SECOND)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(
    peers=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    silent=st.sets(st.integers(1, 6), max_size=4),
    grain=st.sampled_from([5_000, 20_000, 25_000, 50_000, 70_000, 100_000, 700_000]),
)
def test_node_agrees_with_the_model_on_timers_that_fire_late(
    peers: int, seed: int, silent: set[int], grain: int
) -> None:
    """Deadlines are rounded up, so that a peer's nack may leave when its prober gives up: up to the
    first verdict, after which chance orders what happens in one moment."""
    pair = Pair(peers, seed)
    pair.run(2 * SECOND)
    pair.silent, pair.grain = silent, grain
    for _ in range(150):
        pair.run(100_000)
        if pair.model.health.cut_off or pair.model.counts["declared"]:
            break


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    changes=st.lists(
        st.tuples(
            st.one_of(
                st.none(), MEMBER, RUMOR, st.builds(card, st.just(2), epoch=st.integers(2, 9))
            ),
            st.sampled_from([50_000, 300_000, 300_000, 590_000, 600_000, 1_500_000]),
            st.sampled_from([1, 1, 1, 0]),
        ),
        min_size=4,
        max_size=25,
    ),
)
def test_node_agrees_with_the_model_on_digests_that_differ(
    seed: int, changes: list[tuple[list[Any] | None, int, int]]
) -> None:
    """Quiet time, patience, and whether the last changes or the buckets are compared."""
    pair = Pair(3, seed)
    pair.run(SECOND)
    for said, wait, other in changes:
        pair.other = other
        digest = pair.model.digest() ^ other
        pair.hear(1, [said] if said else [])
        pair.hear(3, [[wire.PING, 1, digest]])
        pair.run(wait)


ABOUT = st.builds(
    lambda who, state, epoch, number: [wire.STATUS, short(who), state, epoch, number, short(2)],
    st.sampled_from([0, 1, 1]),
    STATE,
    st.sampled_from([1, 1, 1, 1, 2]),
    st.integers(0, 5),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(said=st.lists(st.one_of(ABOUT, ABOUT, CLOSE), min_size=3, max_size=12))
def test_node_agrees_with_the_model_on_much_said_of_one(said: list[Any]) -> None:
    """Precedence, refutation and versions, where each message meets those before it."""
    pair = Pair(2, 1)
    for message in said:
        pair.hear(2, [message])


@given(st.binary(max_size=40), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_hash_is_sip_hash_with_one_and_three_rounds(data: bytes, key0: int, key1: int) -> None:
    """The hash that members have to agree on, against one written from its paper."""
    assert hash_bytes(data, key0, key1) == digest.sip_hash(key0, key1, data)


EVIDENCE = st.builds(Evidence, st.integers(0, 3), st.integers(0, 4), st.sampled_from(State))


@given(EVIDENCE, EVIDENCE)
def test_precedence_is_the_models(one: Evidence, other: Evidence) -> None:
    """One definition in the core, one in the model."""
    assert outranks(tuple(one), tuple(other)) == (merge(one, other) == one != other)
