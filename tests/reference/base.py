"""What all rules of the model stand on: state, digest, and the packets that have to be explained.

Every packet that the real node sent is taken in order: what the model sends has to be the next one,
and what is behind it has to be the next news.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reference import digest, wire
from tests.reference.detector import (
    RECENT,
    Health,
    Probe,
    Relay,
    RoundTrip,
    Suspicion,
)
from tests.reference.members import Member, State
from tests.reference.news import Lane, News
from tests.reference.rumors import Held, Rumor, Rumors, key_of

from sup_core.config import Config

SECOND = 1_000_000
RETRY_CHECK_US = 500_000
DATAGRAM_BYTES_MAX = 1392
JOIN_BYTES_MIN = 272
AMPLIFICATION_MAX = 3
TICK_US = 1 << 14
"""Times of members are kept in ticks."""
Parcel = tuple[bytes, list[list[Any]]]


class Base:
    """State and packets of one node."""

    def __init__(
        self, config: Config, *, member_id: bytes, name: str, ring: int, address: bytes, epoch: int
    ) -> None:
        self.config = config
        self.ring = ring
        self.me = Member(member_id, epoch, 0, shown=True, version=epoch << 16, address=address)
        self.me.card = [name, {}]
        self.members = {self.me.short: self.me}
        self.rumors = Rumors(ring)
        self.news = News()
        self.trip, self.health = RoundTrip(config), Health()
        self.probes: list[Probe] = []
        self.late_probe: Probe | None = None
        self.relays: list[Relay] = []
        self.suspicions: dict[int, Suspicion] = {}
        self.recent: list[int | None] = [None] * RECENT
        self.round: set[int] = set()
        self.skipped: set[int] = set()
        self.doubted: set[int] = set()
        self.events: list[tuple[str, bytes]] = []
        self.now = self.wary_until = self.read_at = 0
        self.timers: list[tuple[int, int, Callable[[], None]]] = []
        self.timer_count = 0
        self.effects: list[Callable[[], None]] = []
        self.observed: list[Parcel] = []
        self.requested: list[Parcel] = []
        self.seq_base: int | None = None
        self.seqs = 0
        self.in_order = self.behind = False
        self.last_tick = -(1 << 62)
        self.tick_armed = False
        self.question_window = self.questions = 0
        self.exchange_window = self.exchanges = 0
        self.differs_since: int | None = None
        self.changed = self.agreed = self.recent_comparisons = 0
        self.entered = self.stale = self.waiting = False
        self.recounted = 0
        self.counts = dict.fromkeys(("malformed", "refuted", "declared", "evidence_refused"), 0)

    # -------------------------------------------------------------- questions

    def live(self) -> list[Member]:
        """Everybody else who takes part."""
        return [one for one in self.members.values() if one.live and one is not self.me]

    def alive(self) -> list[Member]:
        """The live ones that are not suspected."""
        return [one for one in self.live() if one.state == State.ALIVE]

    def in_id_order(self) -> list[Member]:
        """The alive ones around the ring, from this member's id on."""
        return sorted(self.alive(), key=lambda one: (one.short - self.me.short) & digest.MASK)

    def buckets(self) -> list[int]:
        """The hash of each bucket."""
        sums = [0] * digest.BUCKETS
        for one in self.members.values():
            if one.shown:
                sums[digest.bucket_of(one.short)] += self.member_hash(one)
        for key, held in self.rumors.held.items():
            if held.counted:
                name = digest.rumor_name(self.ring, *key)
                sums[digest.bucket_of(name)] += self.rumor_hash(name, held)
        return [one & digest.MASK for one in sums]

    def member_hash(self, one: Member) -> int:
        """What a member adds to its bucket."""
        state = one.state if one.state >= State.DEAD else State.ALIVE
        return digest.member_hash(self.ring, one.id, one.epoch, one.version, state)

    def rumor_hash(self, name: int, held: Held) -> int:
        """What a rumor adds to its bucket."""
        rumor = held.rumor
        content = self.rumors.content_hash(rumor.value)
        return digest.rumor_hash(self.ring, name, rumor.a, rumor.b, content, rumor.value is None)

    def digest(self) -> int:
        """Eight bytes for all that counts."""
        return sum(self.buckets()) & digest.MASK

    def question(self) -> bool:
        """Whether this second has a question left."""
        if self.now - self.question_window >= SECOND:
            self.question_window, self.questions = self.now, 0
        self.questions += self.questions < self.config.questions_per_second + 1
        return self.questions <= self.config.questions_per_second

    def exchange(self) -> bool:
        """Whether this second has an exchange left."""
        if self.now - self.exchange_window >= SECOND:
            self.exchange_window, self.exchanges = self.now, 0
        if self.exchanges >= self.config.exchanges_per_second:
            return False
        self.exchanges += 1
        return True

    # ----------------------------------------------------------------- packets

    def next_observed(self) -> Parcel | None:
        """The next packet that is still to be explained."""
        return self.observed[0] if self.observed else None

    def send(self, address: bytes, messages: list[list[Any]], *, news: bool) -> None:
        """Send a packet: the real node must have sent the same, with news behind if so allowed."""
        assert self.observed, f"not sent: {messages}"
        to, sent = self.observed.pop(0)
        assert to == address, f"{messages} went to {to!r}, not {address!r}"
        assert sent[: len(messages)] == messages, f"sent {sent}, expected {messages}"
        more = sent[len(messages) :]
        if not news:
            assert not more, f"news behind {messages}: {more}"
            return
        self.told(more, sent)
        self.told_to(1)

    def told(self, more: list[list[Any]], packet: list[list[Any]]) -> None:
        """News in a packet: each is the next of its lane, says what is held, and none is left that
        would still have fitted."""
        for message in more:
            lane: Lane
            if message[0] in (wire.STATUS, wire.MEMBER):
                lane = self.news.members
                who = self.members[
                    message[1] if message[0] == wire.STATUS else int.from_bytes(message[1][:8])
                ]
                assert message == self.member_news(who)
                self.news.take(lane, who.short)
            else:
                rumor = Rumor(*message[1:7])
                self.news.take(self.news.rumors, key_of(rumor))
                assert message == self.rumor_news(key_of(rumor))
        size = wire.size(packet, self.head())
        assert size <= DATAGRAM_BYTES_MAX
        for lane, content in (
            (self.news.members, lambda item: self.member_news(self.members[item])),
            (self.news.rumors, self.rumor_news),
        ):
            if lane.items:
                following = wire.encode(content(lane.in_line()[0]))  # type: ignore[operator]
                assert size + len(following) > DATAGRAM_BYTES_MAX, "room left and news held back"

    def told_to(self, copies: int) -> None:
        """The batch went out."""
        for lane, item in self.news.close(copies, self.config.gossip_fanout):
            if lane is self.news.members:
                self.members[item].news_card = False

    def head(self) -> list[int]:
        """What opens each packet."""
        return [1, self.ring, self.me.short, self.me.epoch, self.me.incarnation]

    def status(self, who: Member) -> list[Any]:
        """What is held of a member, and who accused it first, or declared it dead."""
        against = self.suspicions.get(who.short)
        accuser = against.accuser if against else 0
        if who.state == State.DEAD:
            accuser = who.declarer
        return [wire.STATUS, who.short, int(who.state), who.epoch, who.incarnation, accuser]

    def member_news(self, who: Member) -> list[Any]:
        """A member with its card while that is news, its status later and for suspects."""
        if not who.news_card or who.state == State.SUSPECT:
            return self.status(who)
        return self.card_of(who)

    def card_of(self, who: Member) -> list[Any]:
        """A member with its card; a suspicion is not told that way."""
        state = who.state if who.state >= State.DEAD else State.ALIVE
        since = who.since // TICK_US * TICK_US
        age = (self.now - since) // SECOND if state != State.ALIVE else 0
        numbers = [who.epoch, who.incarnation, who.version]
        return [wire.MEMBER, who.id, int(state), *numbers, who.address, who.card, age]

    def rumor_news(self, key: Any) -> list[Any]:
        """A rumor as it is held now."""
        held = self.rumors.held[key]
        age = (self.now - held.changed) // SECOND if held.rumor.value is None else 0
        return [wire.RUMOR, *held.rumor, max(0, age)]

    def arm(self, when: int, what: Callable[[], None]) -> None:
        """Do something later; equal times in the order they were armed."""
        self.timer_count += 1
        self.timers.append((when, self.timer_count, what))
