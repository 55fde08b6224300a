"""One member as the papers and the design describe it, checked against what a real one sends.

The model decides everything that is not left to chance, and computes the bytes of it. Where the
real node draws lots (whom to probe, to ask for help or to gossip to, jitter), the model reads the
choice off the packets that were sent and checks it against who may be chosen. Every packet has
to be explained, in order; every deadline has to be met to the microsecond.

Not modelled: seeds, large rumors, lives of rumors, stream responses, leaving, what is forgotten
past the floor.
"""

from __future__ import annotations

from typing import Any

from tests.reference import digest, wire
from tests.reference.base import Parcel
from tests.reference.detector import (
    LATE_TIMEOUTS,
    Probe,
    Relay,
    Stage,
)
from tests.reference.members import Admission, Evidence, Member, State, weigh
from tests.reference.probing import Probing
from tests.reference.rumors import Held, Rumor, key_of, rule_of

SECOND = 1_000_000
RETRY_CHECK_US = 500_000
SETTLED_US = SECOND
LATE_US = 400_000
QUIET_US, PATIENCE_US = 600_000, 1_500_000
COMPARE_MARGIN_US = 2 * SECOND
DATAGRAM_BYTES_MAX = 1392
JOIN_BYTES_MIN = 272
AMPLIFICATION_MAX = 3
TICK_US = 1 << 14
"""Times of members are kept in ticks."""


class ReferenceNode(Probing):
    """The model of one node."""

    # ------------------------------------------------------------------ inputs

    def handle_datagram(self, data: bytes, source: bytes, now: int, observed: list[Parcel]) -> None:
        """A datagram came, and these packets were sent upon it."""
        self.look_at_the_clock(now)
        if self.now - self.read_at >= self.config.pause_tolerance_us:
            self.woke()  # it did not read, though it ran
            for short in self.suspicions:
                self.anew(self.members[short])
        self.read_at = self.now
        self.observed = observed
        if len(data) > DATAGRAM_BYTES_MAX:
            return
        try:
            packet = wire.decode(data)
        except wire.MalformedError:
            self.counts["malformed"] += 1
            return
        if not 1 <= packet.version <= 2 or packet.ring != self.ring:
            return
        if packet.sender == self.me.short:
            return
        sender = self.members.get(packet.sender)
        if sender is not None:
            self.hear(sender)
            said = Evidence(packet.epoch, packet.incarnation, State.ALIVE)
            self.evidence(sender, said, 0, answered=True)
        self.messages(packet, sender, source, len(data))
        self.settle()

    def hear(self, sender: Member) -> None:
        """Who was heard from lately is the first choice as a helper."""
        sender.heard = self.now
        if self.recent[-1] == sender.short:
            return
        self.recent = [*self.recent[1:], sender.short]

    def messages(
        self, packet: wire.Packet, sender: Member | None, source: bytes, size: int
    ) -> None:
        """All messages of a packet, up to the first that is malformed."""
        if packet.announced > wire.DATAGRAM_MESSAGES_MAX:
            self.counts["malformed"] += 1
            return
        greeting, known = 0, sender is not None
        for message in packet.messages:
            tag = message[0]
            if tag == wire.STATUS:
                self.status_message(*message[1:6])
            elif tag == wire.MEMBER:
                introduced = self.member_message(message, himself=bool(greeting and not sender))
                if greeting and sender is None and introduced not in (None, self.me):
                    sender = introduced
                    sender.heard = self.now
            elif tag == wire.RUMOR:
                self.rumor_message(Rumor(*message[1:7]), message[7])
            elif tag == wire.PING:
                self.ping_message(message[1], message[2], sender, source, size)
            elif tag == wire.ACK and sender:
                self.ack_message(message[1], message[2], sender)
            elif tag == wire.PING_REQ and sender:
                self.ping_req_message(*message[1:4], sender, source, size)
            elif tag == wire.NACK and sender:
                self.answered_by_helper(message[1], sender)
            elif tag == wire.RELAYED and sender:
                self.relayed_message(*message[1:5], sender)
            elif tag in (wire.JOIN, wire.WELCOME):
                greeting = tag
        self.counts["malformed"] += packet.malformed
        if greeting != wire.JOIN:
            return
        if sender is None:
            bare = all(message[0] != wire.MEMBER for message in packet.messages)
            if bare and self.question() and source in self.places():
                # Whoever lives now where somebody is held; its own card found no room.
                self.greet(wire.JOIN, source, DATAGRAM_BYTES_MAX)
            return
        answered = self.greet(wire.WELCOME, source, AMPLIFICATION_MAX * size)
        if not answered and known and self.question():
            # Too short for an answer to where anybody may claim to be: to where it is known to be.
            self.greet(wire.WELCOME, sender.address, DATAGRAM_BYTES_MAX)

    def places(self) -> set[bytes]:
        """Where the others are held to be, whatever their state."""
        return {one.address for one in self.members.values() if one is not self.me}

    def greet(self, tag: int, address: bytes, limit: int) -> bool:
        """Send one's card, padded when it asks for an answer; nothing that is over the limit."""
        own = self.card_of(self.me)
        missing = JOIN_BYTES_MIN - len(wire.encode(self.me.card))
        opening: list[Any] = [tag]
        if tag == wire.WELCOME and self.observed and self.observed[0][1][0][:1] == [tag]:
            # Which others a welcome names is left to chance; they have to be live.
            opening = self.observed[0][1][0]
            named = b"".join(opening[1:])
            places = {named[at : at + 18] for at in range(0, len(named), 18)}
            assert places <= {one.address for one in self.live()}
        if tag == wire.JOIN and missing > 0:
            opening.append(bytes(missing))
        for messages in ([opening, own], [[tag]] if tag == wire.JOIN else None):
            if messages and wire.size(messages, self.head()) <= limit:
                self.send(address, messages, news=False)
                return True
        return False

    # ----------------------------------------------------------------- members

    def status_message(
        self, short: int, state: int, epoch: int, incarnation: int, accuser: int
    ) -> None:
        """News of a member."""
        who = self.members.get(short)
        said = Evidence(epoch, incarnation, State(state))
        if who is self.me:
            self.about_me(said)
        elif who is not None and not self.asked_instead(who, said):
            self.evidence(who, said, accuser)

    def member_message(self, message: list[Any], *, himself: bool) -> Member | None:
        """News of a member with its card."""
        _, id, state, epoch, incarnation, version, address, card, *_ = message
        said = Evidence(epoch, incarnation, State(state))
        short = int.from_bytes(id[:8])
        who = self.members.get(short)
        if who is not None and who.id != id:
            return None
        if who is self.me:
            self.about_me(said)
            return who
        if who is None:
            if said.state >= State.DEAD and not himself:
                # The end of somebody who was never known is no news.
                return None
            who = Member(id, epoch, incarnation, version=version, address=address, card=card)
            self.members[short] = who
            if said.state >= State.DEAD:
                who.shown = True
                self.enter(who, said.state)
                self.event("died" if said.state == State.DEAD else "left", who)
            elif said.state == State.SUSPECT:
                self.ask_later(who)
                if self.question():
                    self.effects.append(lambda: self.ping(who, 0))
            else:
                self.show(who)
            return who
        if version > who.version:
            if address != who.address:
                # What was asked where it is not says nothing about it.
                self.probes = [one for one in self.probes if one.target is not who]
                if who.short in self.suspicions:
                    self.anew(who)
            who.version, who.address, who.card = version, address, card
            if who.shown:
                self.changed = self.now
                who.news_card = True
                if who.live:
                    # As news, the card of somebody gone would carry an old verdict to those who
                    # hear it.
                    self.news.members.put(short)
                    self.event("updated", who)
        if himself and not who.shown:
            self.show(who)
        if not self.asked_instead(who, said):
            self.evidence(who, said, 0)
        return who

    def asked_instead(self, who: Member, said: Evidence) -> bool:
        """Who stood still reads old news: a death of the living is a question to them."""
        if said.state != State.DEAD or not self.wary() or not who.live:
            return False
        if said.rank() > who.held._replace(state=State.ALIVE).rank():
            self.effects.append(lambda: self.ask(who, said))
        return True

    def wary(self) -> bool:
        """Whether what comes may have waited while this node stood still."""
        return self.now < self.wary_until

    def look_at_the_clock(self, now: int) -> None:
        """Who finds its timers long overdue stood still: its own verdicts are no news any more."""
        self.now = max(self.now, now)
        if self.now - self.next_due() >= self.config.pause_tolerance_us // 2:
            self.woke()

    def woke(self) -> None:
        """What is read from now on may be old, and so are the verdicts that wait to be told."""
        if not self.wary():
            self.keep_verdicts()
        self.wary_until = self.now + SECOND

    def keep_verdicts(self) -> None:
        """Old verdicts are no news for who comes back."""
        for one in self.members.values():
            if one is not self.me and one.shown and one.state == State.DEAD:
                self.news.members.items.pop(one.short, None)

    def ask(self, who: Member, said: Evidence) -> None:
        """Tell somebody that it is said to be dead, and see whether it answers."""
        if any(probe.target is who for probe in self.probes) or not self.question():
            return
        numbers = [int(said.state), said.epoch, said.incarnation]
        self.send(who.address, [[wire.STATUS, who.short, *numbers, self.me.short]], news=False)
        self.probe(who)

    def asked_in_vain(self, who: Member) -> bool:
        """Whether somebody hidden did not answer after it was said to be gone."""
        if who.backoff <= 1:
            return False
        if who.asked:
            return self.now - who.since // TICK_US * TICK_US >= 3 * self.trip.timeout()
        if self.question():
            who.asked, who.since = True, self.now
            self.effects.append(lambda: self.ping(who, 0))
        return False

    def evidence(
        self,
        who: Member,
        said: Evidence,
        accuser: int,
        *,
        answered: bool = False,
        own: bool = False,
    ) -> None:
        """Weigh evidence about another member, and let follow what it changes."""
        held, hidden = who.held, not who.shown
        worth = weigh(held, said)
        if hidden and answered and said.state == State.ALIVE:
            if worth in (Admission.RAISED, Admission.CHANGED):
                who.epoch, who.incarnation = said.epoch, said.incarnation
            self.show(who)
            return
        if worth == Admission.REFUSED:
            self.counts["evidence_refused"] += 1
        stale = worth == Admission.STALE and hidden and said.state != State.ALIVE
        if stale and self.asked_in_vain(who):
            # Nobody but old hearsay knows it, it did not answer, and others have buried it: dead
            # at the number that is held. Having left an earlier start says nothing final of it.
            said = held._replace(state=min(said.state, State.DEAD))
            worth = Admission.CHANGED
        if worth not in (Admission.RAISED, Admission.CHANGED):
            return
        who.epoch, who.incarnation = said.epoch, said.incarnation
        if hidden:
            if said.state >= State.DEAD:
                who.shown = True
                self.enter(who, said.state)
                self.event("died" if said.state == State.DEAD else "left", who)
            return
        if said.epoch != held.epoch:
            self.changed = self.now
        if worth == Admission.RAISED:
            if said.state == State.SUSPECT:
                self.suspicions.pop(who.short, None)
                self.suspect_by_hearsay(who, accuser)
        else:
            self.changed_state(who, held, said, accuser, own=own)
        self.news.members.put(who.short)
        if not self.live():
            self.keep_verdicts()  # nobody is left to tell

    def changed_state(
        self, who: Member, held: Evidence, said: Evidence, accuser: int, *, own: bool
    ) -> None:
        """Another state, or another start."""
        if said.state == State.SUSPECT and held.state >= State.DEAD:
            self.enter(who, State.ALIVE)
            self.event("returned", who)
        self.enter(who, said.state)
        if said.state == State.ALIVE:
            # What began before it showed that it lives says nothing about it now.
            self.probes = [one for one in self.probes if one.target is not who]
            if said.epoch > held.epoch and who.version >> 16 == said.epoch:
                who.news_card = True
            change = {State.SUSPECT: "refuted", State.ALIVE: "updated"}.get(held.state, "returned")
            self.event(change, who)
        elif said.state == State.SUSPECT:
            if not own:
                self.suspect_by_hearsay(who, accuser)
            self.event("suspected", who)
        else:
            who.declarer = accuser
            self.event("died" if said.state == State.DEAD else "left", who)

    def enter(self, who: Member, state: State) -> None:
        """Enter a state; the suspicion that was is over."""
        self.suspicions.pop(who.short, None)
        self.entered |= State.SUSPECT not in (state, who.state)
        if max(state, who.state) >= State.DEAD:
            self.changed = self.now
        who.state, who.since = state, self.now
        if state == State.DEAD:
            who.backoff = 0
            self.ask_later(who)

    def show(self, who: Member) -> None:
        """Show who was not shown, and tell others of it."""
        who.shown, who.asked = True, False
        self.changed = self.now
        self.enter(who, State.ALIVE)
        who.news_card = True
        self.news.members.put(who.short)
        self.event("joined", who)

    def about_me(self, said: Evidence) -> None:
        """SWIM 4.2: only a member itself raises its incarnation, above what is said of it."""
        me = self.me
        if said.epoch != me.epoch:
            return
        if said.incarnation > me.incarnation + 1024:
            self.counts["evidence_refused"] += 1
        elif said.state == State.ALIVE:
            me.incarnation = max(me.incarnation, said.incarnation)
        elif said.incarnation < me.incarnation:
            self.news.members.put(me.short)
        elif said.state == State.LEFT:
            self.counts["evidence_refused"] += 1
        else:
            me.incarnation = said.incarnation + 1
            me.news_card = True
            self.counts["refuted"] += 1
            self.health.worse()
            self.news.members.put(me.short)

    def ask_later(self, who: Member) -> None:
        """Contact a dead or hidden member after its wait, which doubles, jitter included."""
        if who.contacts and who.contacts[-1][1] >= self.now and not self.passed(who):
            return
        wait = self.config.contact_min_us << who.backoff
        if wait > self.config.contact_max_us:
            wait = self.config.contact_max_us
        elif who.backoff < 8:
            who.backoff += 1
        if not who.shown and who.backoff == 1:
            wait //= 16
        least = self.now + wait - wait // 4
        who.contacts.append((least, least + wait // 2))

    def passed(self, who: Member) -> bool:
        """Whether a contact may have come up unseen, its member being neither dead nor hidden."""
        return who.contacts[-1][0] <= self.now

    def event(self, change: str, who: Member) -> None:
        """Something for the layers above."""
        self.events.append((change, who.id))

    # ------------------------------------------------------------------ rumors

    def rumor_message(self, rumor: Rumor, age: int) -> None:
        """A rumor of somebody; owners here are known members other than this one."""
        held = self.rumors.held.get(key_of(rumor))
        merged = self.rumors.merge(rumor)
        if (
            rumor.value is None
            and held is None
            and 2 * age * SECOND > self.config.tombstone_floor_us
        ):
            return
        if merged is None:
            return
        key, counted = key_of(merged), self.counts_now(rumor)
        self.rumors.held[key] = Held(merged, self.now - age * SECOND, counted)
        self.waiting |= not counted
        if counted or (held is not None and held.counted):
            self.changed = self.now
        self.news.rumors.put(key)

    def counts_now(self, rumor: Rumor) -> bool:
        """What only its owner may write counts while its owner is shown."""
        owner = self.members.get(int.from_bytes(rumor.origin[:8]))
        return rule_of(rumor.kind) != "owner" or (owner is not None and owner.shown)

    def recount(self) -> None:
        """Somebody came or went: so may what waited for it. Not ten times a second."""
        if not self.entered and not self.stale:
            return
        self.entered = False
        if not self.waiting or self.now - self.recounted < SECOND // 10:
            self.stale = self.waiting
            return
        self.recounted, self.stale = self.now, False
        for held in self.rumors.held.values():
            held.counted = self.counts_now(held.rumor)
        self.waiting = not all(held.counted for held in self.rumors.held.values())

    # ---------------------------------------------------------------- messages

    def ping_message(
        self, seq: int, theirs: int, sender: Member | None, source: bytes, size: int
    ) -> None:
        """Answer; with what is held against the sender, so that it can refute."""
        answer = [[wire.ACK, seq, self.digest()]]
        if sender is not None and sender is not self.me:
            if sender.shown and sender.state in (State.SUSPECT, State.DEAD):
                answer.append(self.status(sender))
            if source == sender.address:
                self.send(source, answer, news=True)
                self.compare(theirs, sender)
                return
            moved = theirs != self.digest()
        else:
            moved = True
        # Who is not known, or has moved, is asked for its card.
        self.send(source, answer, news=False)
        if moved and self.question():
            answered = wire.size(answer, self.head())
            self.greet(wire.JOIN, source, max(0, AMPLIFICATION_MAX * size - answered))

    def ack_message(self, seq: int, theirs: int, sender: Member) -> None:
        """The end of a probe, or of a relay."""
        probe = next((p for p in self.probes if p.seq == seq and p.target is sender), None)
        if probe is not None:
            # Karn: only a ping that was sent once gives a sample.
            once = probe.stage == Stage.DIRECT
            once = once or (probe.stage == Stage.INDIRECT and bool(probe.helpers))
            if once and not probe.repeated:
                self.trip.sample(self.now - probe.started)
            self.probes.remove(probe)
            self.somebody_answered(sender)
        else:
            if self.late_probe and (seq, sender) == (self.late_probe.seq, self.late_probe.target):
                # Too late for its probe, but sent once: a path that grew longer is measured again.
                took, self.late_probe = self.now - self.late_probe.started, None
                if took <= LATE_TIMEOUTS * self.config.rto_max_us:
                    self.trip.sample(took)
            for relay in self.relays:
                if relay.seq == seq and relay.subject is sender:
                    self.relays.remove(relay)
                    self.effects.append(lambda relay=relay: self.pass_on(relay))
                    break
        self.compare(theirs, sender)

    def pass_on(self, relay: Relay) -> None:
        """Tell who asked that the subject answered."""
        who = relay.subject
        message = [wire.RELAYED, relay.requester_seq, who.short, who.epoch, who.incarnation]
        self.send(relay.requester.address, [message], news=False)

    def nack(self, relay: Relay) -> None:
        """Tell who asked that the subject did not answer."""
        message = [wire.NACK, relay.requester_seq, relay.subject.short]
        self.send(relay.requester.address, [message], news=False)

    def ping_req_message(
        self, seq: int, short: int, budget: int, sender: Member, source: bytes, size: int
    ) -> None:
        """SWIM 3.1: ping on behalf of somebody; Lifeguard: nack before its patience ends."""
        if not sender.live:
            return
        if source != sender.address and self.question():
            # It has moved: no answer would reach it.
            self.greet(wire.JOIN, source, AMPLIFICATION_MAX * size)
        subject = self.members.get(short)
        if subject is self.me:
            message = [wire.RELAYED, seq, short, self.me.epoch, self.me.incarnation]
            self.send(sender.address, [message], news=False)
        elif subject is None:
            if self.now >= SETTLED_US:
                self.send(sender.address, [[wire.NACK, seq, short]], news=False)
        else:
            relay = Relay(sender, seq, subject, self.next_seq(), budget)
            self.relays.append(relay)
            self.effects.append(lambda: self.ping(subject, relay.seq))
            self.arm(self.now + budget * 4 // 5, lambda: self.relay_due(relay))

    def relay_due(self, relay: Relay) -> None:
        """Nack first, give up later: a late answer is still worth passing on."""
        if relay not in self.relays:
            return
        if relay.nacked:
            self.relays.remove(relay)
            return
        relay.nacked = True
        self.effects.append(lambda: self.nack(relay))
        self.arm(self.now + max(relay.budget, LATE_US), lambda: self.relay_due(relay))

    def relayed_message(
        self, seq: int, short: int, epoch: int, incarnation: int, sender: Member
    ) -> None:
        """A helper passes on an answer."""
        subject = self.members.get(short)
        if subject is None or subject is self.me:
            return
        self.evidence(subject, Evidence(epoch, incarnation, State.ALIVE), 0, answered=True)
        probe = self.asked_of(seq, sender)
        if probe is not None and probe.target is subject:
            self.probes.remove(probe)
            self.somebody_answered(subject)

    def asked_of(self, seq: int, helper: Member) -> Probe | None:
        """The probe that a helper was asked for."""
        for probe in self.probes:
            if probe.seq == seq and helper in probe.helpers:
                return probe
        return None

    def answered_by_helper(self, seq: int, helper: Member) -> None:
        """A nack in time; it counts once."""
        probe = self.asked_of(seq, helper)
        if probe is None or helper not in probe.silent:
            return
        probe.silent.remove(helper)
        if probe.stage in (Stage.INDIRECT, Stage.LAST_CHECK):
            probe.answers += 1

    def somebody_answered(self, who: Member | None = None) -> None:
        """This node is reachable; a suspect that answers is given time to refute."""
        if self.health.answered():
            self.doubted = {one.short for one in self.live()}
        if who is not None and who.short in self.suspicions:
            self.again(who, RETRY_CHECK_US)

    def compare(self, theirs: int, sender: Member) -> None:
        """Say where two members differ, once news had time to arrive."""
        if not sender.live:
            return
        if theirs == self.digest():
            self.differs_since, self.agreed, self.recent_comparisons = None, self.now, 0
            return
        if self.differs_since is None:
            self.differs_since = self.now
        quiet = self.now - self.changed >= QUIET_US
        if not quiet and self.now - self.differs_since < PATIENCE_US:
            return
        if not self.exchange():
            return
        self.differs_since = self.now
        window = self.now - self.agreed + COMPARE_MARGIN_US
        if not quiet and self.recent_comparisons < 10 and window <= 60 * SECOND:
            # Changes come all the time: compare what changed since the last comparison.
            self.recent_comparisons, self.agreed = self.recent_comparisons + 1, self.now
            self.ask_recent(sender, window)
            return
        self.recent_comparisons = 0
        raw = b"".join(one.to_bytes(8) for one in self.buckets())
        self.send(sender.address, [[wire.BUCKETS, raw]], news=False)

    def ask_recent(self, sender: Member, window: int) -> None:
        """A request must have been queued that lists what changed lately, in any bucket."""
        assert self.requested, f"no comparison of the last {window} us"
        to, (message, *more) = self.requested.pop(0)
        shift = message[2]
        listed: set[bytes] = set()
        since = self.now - window
        for one in self.members.values():
            if one.shown and one.since // TICK_US * TICK_US >= since:
                listed.add(self.listing(one.short, self.member_hash(one), shift))
        for key, held in self.rumors.held.items():
            if held.counted and held.changed >= since:
                name = digest.rumor_name(self.ring, *key)
                listed.add(self.listing(name, self.rumor_hash(name, held), shift))
        assert (to, more, message[:2]) == (sender.address, [], [wire.COMPARE, b"\xff" * 16])
        assert {message[3][at : at + 12] for at in range(0, len(message[3]), 12)} == listed
        assert len(message[3]) == 12 * len(listed)
        assert message[4:] == [window // 1000]

    @staticmethod
    def listing(name: int, hashed: int, shift: int) -> bytes:
        """An entry of a comparison: its name and four bytes of its hash."""
        return name.to_bytes(8) + (hashed >> shift & 0xFFFFFFFF).to_bytes(4)

    # -------------------------------------------------------------------- time

    def next_due(self) -> int:
        """The next moment that is not a matter of chance."""
        return min((when for when, _, _ in self.timers), default=1 << 62)

    def handle_timeout(self, now: int, observed: list[Parcel]) -> None:
        """Time came, and these packets were sent."""
        self.look_at_the_clock(now)
        self.observed = observed
        while self.next_due() <= self.now:
            timer = min(self.timers, key=lambda one: one[:2])
            self.timers.remove(timer)
            timer[2]()
            self.settle()
        while self.observed and self.by_chance():
            self.settle()
        self.settle()

    def by_chance(self) -> bool:
        """Explain a packet by a wait with jitter: a contact with somebody dead or hidden, or a
        question to somebody doubted."""
        address, sent = self.observed[0]
        ping = next((m for m in sent if m[0] == wire.PING), None)
        assert ping, f"unexplained: {sent} to {address!r}"
        who = next(one for one in self.members.values() if one.address == address)
        if ping[1]:
            assert who.short in self.doubted, f"probed out of turn: {sent}"
            self.doubted.discard(who.short)
            self.probe(who)
            return True
        assert not who.shown or who.state == State.DEAD, f"contact with the living: {sent}"
        assert any(low <= self.now <= high for low, high in who.contacts), (
            f"contact at {self.now}, not within {who.contacts}"
        )
        who.contacts = []
        self.ping(who, 0)
        self.ask_later(who)
        return True

    def settle(self) -> None:
        """Let follow what was left to do; then tell news at once if it was quiet, else at the next
        tick."""
        while self.effects:
            self.effects.pop(0)()
        interval = self.config.gossip_interval_us
        if self.news.pending() and self.live():
            if self.now - self.last_tick >= interval:
                self.gossip()
            if self.news.pending() and not self.tick_armed:
                self.tick_armed = True
                self.arm(self.last_tick + interval, self.tick_over)
        self.recount()

    def tick_over(self) -> None:
        """The next news may go."""
        self.tick_armed = False

    def gossip(self) -> None:
        """One batch to all targets of a tick; more than one packet while there is a backlog."""
        self.last_tick = self.now
        live = self.live()
        count = min(self.config.gossip_fanout, len(live))
        targets: list[bytes] = []
        for number in range(self.config.packets_per_tick_max):
            if not self.news.pending():
                break
            copies, self.observed = self.observed[:count], self.observed[count:]
            assert len(copies) == count, f"gossip to {len(copies)} of {count}"
            assert all(sent == copies[0][1] for _, sent in copies), "targets were told differently"
            if number == 0:
                targets = [to for to, _ in copies]
                assert len(set(targets)) == count, "one target twice"
                assert set(targets) <= {one.address for one in live}
                if count > 1:
                    self.behind = not self.behind
                    ring = self.in_id_order()
                    neighbour = ring[-1 if self.behind else 0] if ring else None
                    assert neighbour is None or neighbour.address == targets[0]
            assert [to for to, _ in copies] == targets
            self.told(copies[0][1], copies[0][1])
        # A copy to a suspect is probably lost; one counts in any case.
        alive = {one.address for one in self.alive()}
        self.told_to(max(1, sum(target in alive for target in targets)))
