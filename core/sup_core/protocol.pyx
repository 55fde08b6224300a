"""What a message, an effect and a deadline mean: the protocol, wired from its mechanisms.

Theory of operation. The rules live in the mechanisms, each of which sees the stores and leaves
effects; this file decides what a message means for them, and is the only one that knows them all:

- evidence about a member -> ``Membership.evidence``: weighed by the table's precedence, entered,
  told, remembered;
- a rumor -> ``Rumors.take``: merged by the store, told, digested;
- effects of the mechanisms -> ``_perform``, after every input, in order;
- deadlines -> ``_fire``; a stale one finds another generation and does nothing.

Nothing here is Python's: `sup_core.node` puts the surface on it that callers see. Remote bytes
never raise: what cannot be read or believed is counted and dropped. Sources: SWIM, Das et al. 2002;
Lifeguard, Dadgar et al. 2017; what differs from them is said in the mechanisms.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.card_pool cimport CardPool
from sup_core.codec cimport (
    MSG_ACK,
    MSG_BUCKETS,
    MSG_CLOCK,
    MSG_HEADER,
    MSG_JOIN,
    MSG_MEMBER,
    MSG_NACK,
    MSG_PING,
    MSG_PING_REQ,
    MSG_RELAYED,
    MSG_RUMOR,
    MSG_STATUS,
    MSG_SYNCED,
    MSG_WELCOME,
    Header,
    Message,
    Tag,
    read_header,
    read_message,
    write_ack,
    write_buckets,
    write_join,
    write_nack,
    write_ping,
    write_ping_req,
    write_relayed,
    write_status,
    write_welcome,
)
from sup_core.comparisons cimport Comparisons
from sup_core.counters cimport *
from sup_core.cursor cimport Reader, reader_init
from sup_core.dissemination cimport Dissemination
from sup_core.doubts cimport Doubts
from sup_core.effects cimport *
from sup_core.event_queue cimport *
from sup_core.exchanges cimport Exchanges
from sup_core.failure_detector cimport ANSWER_PROBE, FailureDetector
from sup_core.flaps cimport Flaps
from sup_core.identity cimport ADDRESS_BYTES, Address, address_equal, short_of
from sup_core.limits cimport *
from sup_core.local_health cimport LocalHealth
from sup_core.member_table cimport *
from sup_core.newcomer cimport Newcomer
from sup_core.outbox cimport Outbox
from sup_core.packets cimport Packets
from sup_core.prng cimport Prng
from sup_core.pulls cimport Pulls
from sup_core.rumor_store cimport RumorStore
from sup_core.seeds cimport Seeds
from sup_core.stamps cimport Stamps
from sup_core.suspicion cimport Suspicion
from sup_core.timers cimport *

cdef enum:
    _TIMERS_PER_CALL_MAX = 100000
    _RETRY_CHECK_US = 500000
    # Who has just started has no view of the ring yet.
    _SETTLED_US = 1000000
    # Who runs in the ring is found within this, whatever is lost.
    _ALONE_US = 60000000
    # Below what a body is cut at, so one of this size is complete.
    _BODY_WHOLE_BYTES = 3000000


cdef class Protocol:
    """The stores and mechanisms of one node, and what moves them."""

    cdef int _assemble(self, object seed, CardPool cards) except -1:
        # Stores first, then the mechanisms on them, then the rules that wire those.
        self.tally = Tally()
        self.prng = Prng(seed)
        self.timers = Timers()
        self.outbox = Outbox()
        self.events = EventQueue()
        self.effects = Effects()
        self.notices = Notices(self.events)
        salt = self.prng.draw()
        self.table = MemberTable(salt, CardPool(salt) if cards is None else cards)
        self.store = RumorStore(self.prng.draw(), self.ring, ~self.ring)
        self.detector = FailureDetector(self.table, self.timers, self.prng, self.effects)
        self.suspicion = Suspicion(self.timers, self.prng, self.effects)
        self.flaps = Flaps(self.table, self.timers, self.prng, self.effects)
        self.health = LocalHealth()
        self.dissemination = Dissemination(self.table, self.prng)
        self.anti_entropy = AntiEntropy()
        self.pulls = Pulls(self.prng)
        self.stamps = Stamps()
        self.seeds = Seeds(self.table, self.timers, self.prng, self.effects)
        self.doubts = Doubts(self.table, self.timers, self.prng, self.effects)
        self.newcomer = Newcomer(self.table, self.timers, self.prng)
        self.packets = Packets(
            self.table, self.store, self.dissemination, self.suspicion, self.outbox, self.ring
        )
        self.membership = Membership(
            self.table, self.detector, self.suspicion, self.flaps, self.health,
            self.dissemination, self.anti_entropy, self.notices, self.tally, self.ring
        )
        self.packets.membership = self.membership
        self.rumor_rules = Rumors(
            self.table, self.store, self.stamps, self.pulls, self.dissemination,
            self.anti_entropy, self.notices, self.tally
        )
        self.exchanges = Exchanges(
            self.table, self.store, self.packets, self.pulls, self.timers, self.tally
        )
        self.comparisons = Comparisons(
            self.table, self.store, self.packets, self.membership, self.exchanges, self.doubts
        )
        # The settings live in this object, which outlives its parts.
        self.detector.settings = &self.settings
        self.suspicion.settings = &self.settings
        self.flaps.settings = &self.settings
        self.dissemination.settings = &self.settings
        self.anti_entropy.settings = &self.settings
        self.membership.settings = &self.settings
        self.seeds.settings = &self.settings
        self.doubts.settings = &self.settings
        self.rumor_rules.settings = &self.settings
        return 0

    cdef void _at(self, int64_t now) noexcept:
        # One clock for all parts; it never runs backwards within the node.
        if now > self.now:
            self.now = now
        self.table.at(self.now)
        self.membership.now = self.now
        self.rumor_rules.now = self.now
        self.exchanges.now = self.now
        self.comparisons.now = self.now
        self.packets.now = self.now
        if now - self.timers.next_due() >= self.settings.pause_tolerance_us // 2:
            self.membership.woke()
        if self.now >= self.rumor_rules.expiry:
            self.rumor_rules.expire()

    cdef void receive(
            self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now
    ) noexcept:
        """One datagram. Never raises, whatever the bytes are."""
        cdef Reader r
        cdef Header header
        cdef int32_t row
        self._at(now)
        if now - self.read_at >= self.settings.pause_tolerance_us:
            # It did not read, though it ran.
            self.membership.woke()
            self.suspicion.all_anew(self.detector.rto(), self.now)
        self.read_at = now
        self.tally.counts[COUNT_PACKETS_IN] += 1
        if size < 0 or size > DATAGRAM_BYTES_MAX:
            self.tally.counts[COUNT_OVERSIZE] += 1
            return
        self.tally.counts[COUNT_BYTES_IN] += <uint64_t> size
        self.received = <size_t> size
        reader_init(&r, data, <size_t> size)
        if not self._header(&r, &header, source):
            return
        row = self.table.find(header.sender)
        if row < 0:
            self.tally.counts[COUNT_UNKNOWN_SENDER] += 1
        else:
            self.table.hear(row, now)
            self.detector.heard(row)
            self.membership.evidence(
                row, header.epoch, header.incarnation, STATE_ALIVE, 0, REASON_ANSWERED
            )
        self._messages(&r, header.count, row, source, SOURCE_GOSSIP)
        self._settle()

    cdef bint _header(self, Reader* r, Header* header, const Address* source) noexcept:
        # The checks that every packet passes first; what fails is counted.
        if not read_header(r, header):
            self.tally.counts[COUNT_MALFORMED] += 1
            return False
        if header.version < PROTOCOL_VERSION_MIN or header.version > PROTOCOL_VERSION + 1:
            self.tally.counts[COUNT_VERSION] += 1
            return False
        if header.ring != self.ring:
            self.tally.counts[COUNT_FOREIGN_RING] += 1
            self.notices.tell(SELF_FOREIGN_RING, header.ring, source, self.now)
            return False
        if header.sender == self.table.short_id(0):
            self.tally.counts[COUNT_OWN_ECHO] += 1
            if not address_equal(source, self.table.address(0)):
                self.notices.tell(SELF_DUPLICATE_ID, header.epoch, source, self.now)
            return False
        return True

    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept:
        """The next datagram to send; 0 when there is none. ``buffer`` holds DATAGRAM_BYTES_MAX."""
        return self.outbox.pop(buffer, target)

    cdef int64_t next_due(self) noexcept:
        return self.timers.next_due()

    cdef bint has_news(self) noexcept:
        """Whether ``poll_event``, ``poll_request`` or ``has_left`` may have something to say."""
        return (
            self.events.count != 0 or self.membership.leaving or len(self.exchanges.queue) != 0
            or (self.events.dropped != 0 and not self.events.told)
        )

    cdef void timeout(self, int64_t now) noexcept:
        """Fire what is due."""
        cdef Timer timer
        cdef int _i
        self._at(now)
        # The bound keeps a clock that jumps from looping for ever on timers that re-arm in the
        # past.
        for _i in range(_TIMERS_PER_CALL_MAX):
            if not self.timers.pop_due(now, &timer):
                break
            self._fire(&timer)
            self._settle()
        self._settle()

    cdef int64_t _away(self, bytes raw) noexcept:
        # How long ago a snapshot was written, 0 when either clock is not known.
        cdef Reader r
        cdef Header header
        cdef Message m
        cdef uint32_t _i
        cdef uint64_t wall = self.stamps.wall_now(self.now)
        cdef uint64_t written = wall
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if wall == 0 or not read_header(&r, &header):
            return 0
        for _i in range(header.count):
            if not read_message(&r, &m):
                break
            if m.tag == MSG_CLOCK:
                written = m.a
        return <int64_t> (wall - written) if 0 < written < wall else 0

    cdef void _take_aside(self) noexcept:
        # Nobody has been running: the whole ring was down, and what it knew is all there is.
        cdef int64_t away = self.aside_away + self.now - self.aside_at
        self.aside_at = 0
        self._restore(self.aside, away, False)

    cdef void _restore(self, bytes raw, int64_t away, bint own_only) noexcept:
        cdef Reader r
        cdef Header header
        cdef Address nowhere
        memset(&nowhere, 0, sizeof(nowhere))
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if read_header(&r, &header):
            self.rumor_rules.away = away
            self.membership.away = away
            self.rumor_rules.own_only = own_only
            self._messages(&r, header.count, -1, &nowhere, SOURCE_DISK)

    cdef void _messages(
            self, Reader* r, uint32_t count, int32_t row, const Address* source, int how
    ) noexcept:
        # ``row`` is the sender's, -1 while it is unknown; its own card may come first and change
        # that.
        cdef Message m
        cdef uint32_t _i
        cdef int greeting = 0
        cdef int32_t sender
        cdef bint datagram = how == SOURCE_GOSSIP
        cdef bint known = row > 0
        cdef bint bare = True
        if datagram and count > MESSAGES_PER_DATAGRAM_MAX:
            self.tally.counts[COUNT_MALFORMED] += 1
            return
        for _i in range(count):
            if not read_message(r, &m):
                self.tally.counts[COUNT_MALFORMED] += 1
                break
            if m.tag == MSG_STATUS:
                self._status_message(&m)
            elif m.tag == MSG_MEMBER:
                bare = False
                if row < 0 and (greeting or (self.asker and short_of(m.id) == self.asker)):
                    sender = self.membership.member_message(&m, SOURCE_SELF)
                    if sender > 0:
                        row = sender
                        self.table.hear(row, self.now)
                else:
                    sender = self.membership.member_message(&m, how)
                    if sender > 0:
                        self.table.flags[sender] &= ~FLAG_UNMENTIONED
            elif m.tag == MSG_RUMOR:
                self.rumor_rules.rumor_message(&m, row, how)
            elif m.tag == MSG_HEADER:
                self.rumor_rules.header_message(&m, row)
            elif m.tag == MSG_CLOCK and not datagram:
                if how != SOURCE_DISK:
                    # The ring has gone on: what it has not kept of an old snapshot is no more.
                    self.aside_at = 0
            elif not datagram:
                if m.tag == MSG_SYNCED and m.list != NULL:
                    self.comparisons.answered(&m, how == SOURCE_SYNC)
                elif m.tag == MSG_SYNCED and how == SOURCE_SYNC and row > 0:
                    self.doubts.expect(m.bits, self.now)
                elif m.tag != MSG_SYNCED:
                    self.tally.counts[COUNT_UNKNOWN_MESSAGE] += 1
            elif m.tag == MSG_PING:
                self._ping_message(&m, row, source)
            elif m.tag == MSG_ACK:
                self._ack_message(&m, row)
            elif m.tag == MSG_PING_REQ:
                self._ping_req_message(&m, row, source)
            elif m.tag == MSG_NACK:
                if row > 0:
                    self.detector.nacked(m.seq, row)
            elif m.tag == MSG_RELAYED:
                self._relayed_message(&m, row)
            elif m.tag == MSG_BUCKETS:
                self._buckets_message(&m, row)
            elif m.tag == MSG_JOIN or m.tag == MSG_WELCOME:
                greeting = m.tag
                if greeting == MSG_WELCOME and not self.newcomer.settled:
                    self.newcomer.offered(source, m.list, m.list_size)
            else:
                self.tally.counts[COUNT_UNKNOWN_MESSAGE] += 1
        if greeting and row > 0:
            self._greeted(greeting, row, source, known)
        elif greeting == MSG_JOIN and row < 0 and bare:
            self._greet_successor(source)

    cdef void _unmentioned(self, Py_ssize_t size, uint32_t count) noexcept:
        # A member that is not in an exchange of its bucket is doubted; not so when the exchange did
        # not hold all there is, or nothing: an empty answer is of somebody who has just started.
        if self.comparisons.wanted != NULL and self.comparisons.wants_most():
            self.doubts.mentioned()
        elif size < _BODY_WHOLE_BYTES and count > 1:
            self.doubts.unmentioned(self.now)
        else:
            self.doubts.mentioned()

    cdef void _greeted(
            self, int greeting, int32_t row, const Address* source, bint known
    ) noexcept:
        # A seed answers with its own card and what it holds against the sender, about as much as it
        # got.
        self.seeds.answered(source, row)
        if greeting == MSG_JOIN:
            if self._send_join(source, MSG_WELCOME, AMPLIFICATION_MAX * self.received):
                return
            # Too short for the answer: the card goes only to where a member is already known to
            # be, at the rate of questions.
            if known and self.membership.question():
                self._send_join(self.table.address(row), MSG_WELCOME, DATAGRAM_BYTES_MAX)
        elif not self.newcomer.waiting:
            self._take_snapshot()

    cdef void _greet_successor(self, const Address* source) noexcept:
        # A stranger asks for this member's card, without its own: it was pinged, and a ping is too
        # short for that. It lives where a member is held that it has taken the place of, and which
        # counts as a seed that is known. Greet it, else they never meet; only where a member is
        # known to be, at the rate of questions.
        if self.membership.leaving or not self.membership.question():
            return
        if self.table.find_address(source) > 0:
            self._send_join(source, MSG_JOIN, DATAGRAM_BYTES_MAX)

    cdef void _take_snapshot(self) noexcept:
        # Of somebody the welcomes named, of anybody known when those are used up.
        cdef Address contact
        cdef int32_t row
        self.newcomer.waiting = False
        if self.newcomer.settled or self.membership.leaving or self.exchanges.joining():
            return
        if self.newcomer.choose(&contact):
            self.comparisons.ask(&contact, NULL, True, 0)
            return
        row = self.table.random_live(self.prng)
        if row > 0:
            self.comparisons.ask(self.table.address(row), NULL, True, 0)

    cdef bytes _compared(
            self, Reader* r, Message* m, Header* header, int32_t row, const Address* source
    ):
        # A comparison of all buckets is a newcomer's: it gets its snapshot from who has one and has
        # not given too many.
        cdef Message asked = m[0]
        cdef int i
        cdef bint joins = True
        for i in range(BUCKET_MAP_BYTES):
            joins = joins and asked.bits[i] == 0xFF and asked.window_ms == 0
        if joins and not self.newcomer.may_give(self.now):
            self.tally.counts[COUNT_REQUESTS_REFUSED] += 1
            return b""
        self.asker = header.sender
        self._messages(r, header.count - 1, row, source, SOURCE_SYNC)
        self.asker = 0
        body = self.comparisons.answer(&asked, joins)
        if joins:
            self.newcomer.gave(len(body))
        return body

    cdef void _status_message(self, Message* m) noexcept:
        cdef int32_t row = self.table.find(m.subject)
        if row < 0:
            self.tally.counts[COUNT_UNKNOWN_MEMBER] += 1
        elif row == 0:
            self.membership.about_me(m.epoch, m.incarnation, m.state)
        elif not (
            m.state == STATE_DEAD and self.membership.wary()
            and self.membership.ask_instead(row, m.epoch, m.incarnation)
        ):
            self.membership.evidence(row, m.epoch, m.incarnation, m.state, m.other, REASON_NEWS)

    cdef void _ping_message(self, Message* m, int32_t row, const Address* source) noexcept:
        cdef size_t answered
        cdef size_t limit
        self.packets.open(self.now)
        write_ack(&self.packets.w, m.seq, self.anti_entropy.digest)
        self.packets.messages += 1
        if row > 0:
            if self.table.states[row] == STATE_SUSPECT or self.table.states[row] == STATE_DEAD:
                self.packets.status(row)
            if address_equal(source, self.table.address(row)):
                # News make an answer long: not for an address that somebody only claims.
                self._piggyback()
                self.packets.send(source)
                self._compare(m.digest, row)
                return
            answered = self.packets.w.size
            self.packets.send(source)
            if m.digest == self.anti_entropy.digest:
                return
            # It has moved, and the news of that was lost: no exchange would reach it.
        else:
            answered = self.packets.w.size
            self.packets.send(source)
            # Somebody knows this member that this member does not know.
        # Ask for its card.
        if self.membership.question():
            limit = AMPLIFICATION_MAX * self.received
            self._send_join(source, MSG_JOIN, limit - answered if limit > answered else 0)

    cdef void _ack_message(self, Message* m, int32_t row) noexcept:
        if row <= 0:
            return
        self.flaps.answered(row, m.seq)
        if self.detector.acked(m.seq, row, self.now) == ANSWER_PROBE:
            self._somebody_answered()
            if self.table.states[row] == STATE_SUSPECT:
                # It answered without having seen the suspicion; the next ping carries it again.
                self.suspicion.again(row, self.now + _RETRY_CHECK_US)
        self._compare(m.digest, row)

    cdef void _ping_req_message(self, Message* m, int32_t row, const Address* source) noexcept:
        cdef int32_t subject
        if row <= 0 or self.table.told(row) > STATE_SUSPECT:
            return
        if not address_equal(source, self.table.address(row)) and self.membership.question():
            # It has moved: no answer would reach it. Who only asks others is found by this alone.
            self._send_join(source, MSG_JOIN, AMPLIFICATION_MAX * self.received)
        subject = self.table.find(m.subject)
        if subject > 0:
            self.detector.ping_req(row, m.seq, subject, m.budget_us, self.now)
            return
        self.packets.open(self.now)
        if subject == 0:
            write_relayed(
                &self.packets.w, m.seq, m.subject, self.table.epochs[0], self.table.incarnations[0]
            )
        elif self.now - self.table.since(0) < _SETTLED_US:
            return      # a newcomer cannot tell a stranger from a member that it has not heard of
        else:
            write_nack(&self.packets.w, m.seq, m.subject)
        self.packets.messages += 1
        self.packets.send(self.table.address(row))

    cdef void _relayed_message(self, Message* m, int32_t row) noexcept:
        cdef int32_t subject = self.table.find(m.subject)
        if row <= 0 or subject <= 0:
            return
        self.membership.evidence(subject, m.epoch, m.incarnation, STATE_ALIVE, 0, REASON_ANSWERED)
        if self.detector.relayed(m.seq, row, subject):
            self._somebody_answered()
            if self.table.states[subject] == STATE_SUSPECT:
                self.suspicion.again(subject, self.now + _RETRY_CHECK_US)

    cdef void _compare(self, uint64_t digest, int32_t row) noexcept:
        # Digests differ for long enough: compare the latest changes, or say in one datagram where.
        cdef int64_t window
        if self.membership.leaving or self.table.told(row) > STATE_SUSPECT:
            return
        if not self.anti_entropy.should_exchange(digest, self.now):
            return
        window = self.anti_entropy.recent_window(self.now)
        if window:
            self.comparisons.ask(self.table.address(row), NULL, False, window)
            return
        self.packets.open(self.now)
        write_buckets(&self.packets.w, self.anti_entropy.hashes)
        self.packets.messages += 1
        self.packets.send(self.table.address(row))

    cdef void _buckets_message(self, Message* m, int32_t row) noexcept:
        cdef uint8_t bits[BUCKET_MAP_BYTES]
        if row <= 0 or self.table.told(row) > STATE_SUSPECT or self.membership.leaving:
            return
        if self.anti_entropy.differing(m.bits, bits) and self.anti_entropy.take_turn(self.now):
            self.comparisons.ask(self.table.address(row), bits, False, 0)

    cdef void _settle(self) noexcept:
        """Perform what the mechanisms left, then tell news at once if it was quiet, else at the
        next tick.
        """
        cdef Effect effect
        while self.effects.take(&effect):
            self._perform(&effect)
        if self.dissemination.pending() and self.table.live_count:
            if self.now - self.dissemination.last_tick >= self.settings.gossip_interval_us:
                self._gossip()
            if self.dissemination.pending() and not self.dissemination.armed:
                self.dissemination.armed = True
                self.timers.arm(
                    self.dissemination.last_tick + self.settings.gossip_interval_us, TIMER_GOSSIP,
                    0, 0
                )
        if self.pulls.count:
            self.exchanges.start_pulls()
        if self.aside_at and self.now - self.aside_at >= _ALONE_US:
            self._take_aside()
        if self.rumor_rules.expiry < self.expiry_armed:
            self.expiry_armed = self.rumor_rules.expiry
            self.timers.arm(self.expiry_armed, TIMER_EXPIRY, 0, 0)
        if self.membership.entered or self.rumor_rules.stale_count:
            self.membership.entered = False
            self.rumor_rules.owners_changed()

    cdef void _perform(self, Effect* effect) noexcept:
        cdef int32_t row = effect.row
        cdef int32_t helper
        cdef Packets p = self.packets
        if effect.what == EFFECT_PING:
            self._ping(row, effect.seq)
        elif effect.what == EFFECT_PING_REQ:
            self._ping_req(row, effect.seq, effect.other, <uint32_t> effect.number)
        elif effect.what == EFFECT_REMIND:
            self._ping(row, 0)
            helper = self.detector.some_helper(row)
            if helper > 0:
                self._ping_req(helper, 0, row, <uint32_t> self.detector.budget_of(row, helper))
        elif effect.what == EFFECT_NACK:
            p.open(self.now)
            write_nack(&p.w, effect.seq, self.table.short_id(effect.other))
            p.messages += 1
            p.send(self.table.address(row))
        elif effect.what == EFFECT_RELAYED:
            p.open(self.now)
            write_relayed(&p.w, effect.seq, self.table.short_id(effect.other),
                          self.table.epochs[effect.other], self.table.incarnations[effect.other])
            p.messages += 1
            p.send(self.table.address(row))
        elif effect.what == EFFECT_GREET:
            if not self.membership.leaving:
                self._send_join(&self.seeds.seeds[row].address, MSG_JOIN, DATAGRAM_BYTES_MAX)
        elif effect.what == EFFECT_PROBE:
            if not self.membership.leaving:
                self.detector.start(row, self.now)
        elif effect.what == EFFECT_ACCEPT:
            self.membership.accept(row)
        elif effect.what == EFFECT_ASK:
            self._ask(row, STATE_DEAD, <uint32_t> (effect.number >> 32), <uint32_t> effect.number)
        elif effect.what == EFFECT_FAILED:
            if effect.number:
                # Helpers answered: this node is reachable, whatever the target is.
                self._somebody_answered()
            if self.table.states[row] == STATE_ALIVE:
                self.membership.evidence(
                    row, self.table.epochs[row], self.table.incarnations[row], STATE_SUSPECT,
                    self.table.short_id(0), REASON_PROBE_FAILED
                )
            if self.table.states[row] == STATE_SUSPECT:
                self.suspicion.begin_first_hand(
                    row, effect.at, self.detector.rto(), self.table.short_id(0), self.now
                )
        elif effect.what == EFFECT_SILENT:
            self._nobody_answered()
        elif effect.what == EFFECT_EXPIRED:
            if self.table.states[row] != STATE_SUSPECT:
                return
            if not effect.number and not self.membership.question():
                self.suspicion.again(row, self.now + _RETRY_CHECK_US)
            elif not self.detector.start_last_check(row, <int> effect.seq, self.now):
                self.suspicion.again(row, self.now + _RETRY_CHECK_US)
        elif effect.what == EFFECT_CHECKED:
            if self.table.states[row] == STATE_SUSPECT and self.suspicion.over(row, self.now):
                self.tally.counts[COUNT_DECLARED] += 1
                self.membership.evidence(
                    row, self.table.epochs[row], self.table.incarnations[row], STATE_DEAD,
                    self.table.short_id(0), REASON_LAST_CHECK
                )
                self.membership.note_helpers(row, <uint32_t> effect.other, effect.number)
        elif effect.what == EFFECT_UNCHECKED:
            if effect.number == 0 and effect.other:
                self._nobody_answered()
            self.suspicion.again(row, self.now + 2 * _RETRY_CHECK_US)

    cdef void _nobody_answered(self) noexcept:
        if self.health.nobody_answered():
            self.notices.tell(SELF_CUT_OFF, 0, NULL, self.now)

    cdef void _somebody_answered(self) noexcept:
        if self.health.answered():
            self.notices.tell(SELF_REACHABLE, 0, NULL, self.now)
            self.doubts.everybody(self.now)

    cdef void _piggyback(self) noexcept:
        self.dissemination.open_batch()
        self.packets.fill()
        self.dissemination.close_batch(1)

    cdef void _ping(self, int32_t row, uint32_t seq) noexcept:
        """Ping, with what is held against the member so that its answer refutes it."""
        self.tally.counts[COUNT_PINGS] += 1
        self.packets.open(self.now)
        if self.table.states[row] == STATE_SUSPECT or self.table.states[row] == STATE_DEAD:
            self.packets.status(row)
        write_ping(&self.packets.w, seq, self.anti_entropy.digest)
        self.packets.messages += 1
        if self.table.states[row] <= STATE_SUSPECT:
            self._piggyback()
        self.packets.send(self.table.address(row))

    cdef void _ping_req(
            self, int32_t helper, uint32_t seq, int32_t subject, uint32_t budget
    ) noexcept:
        self.packets.open(self.now)
        if self.table.states[subject] == STATE_SUSPECT:
            # The helper's ping has to carry the suspicion, so it must know of it.
            self.packets.status(subject)
        write_ping_req(&self.packets.w, seq, self.table.short_id(subject), budget)
        self.packets.messages += 1
        self._piggyback()
        self.packets.send(self.table.address(helper))

    cdef void _gossip(self) noexcept:
        """One tick: the same packets to all targets, more than one packet while there is a backlog.
        """
        cdef int32_t targets[16]
        cdef int count
        cdef int i
        cdef int _packet
        self.dissemination.last_tick = self.now
        self.tally.counts[COUNT_GOSSIP_TICKS] += 1
        count = self.dissemination.choose_targets(targets)
        if count == 0:
            return
        self.dissemination.open_batch()
        for _packet in range(self.settings.packets_per_tick_max):
            self.packets.open(self.now)
            if self.packets.fill() == 0:
                break
            for i in range(count):
                self.packets.send(self.table.address(targets[i]))
        self.dissemination.close_batch(self.dissemination.copies)

    cdef void _fire(self, Timer* timer) noexcept:
        cdef int32_t row = timer.row
        # A timer that fires later than an answer may take was not waited for: the node stood still.
        cdef int64_t late = self.now - timer.when
        if late < self.detector.rto():
            late = 0
        if timer.kind == TIMER_PERIOD:
            if not self.membership.leaving:
                self.detector.period(self.now)
            self.timers.arm(
                self.now + self.settings.probe_interval_us * self.health.stretch(), TIMER_PERIOD, 0,
                0
            )
        elif timer.kind == TIMER_GOSSIP:
            self.dissemination.armed = False
        elif timer.kind == TIMER_PROBE:
            self.detector.probe_due(row, timer.generation, late, self.now)
        elif timer.kind == TIMER_RELAY:
            self.detector.relay_due(row, timer.generation, self.now)
        elif timer.kind == TIMER_SUSPICION:
            self.suspicion.due(row, timer.generation, late, self.now)
        elif timer.kind == TIMER_FLAP:
            self.flaps.due(row, timer.generation, late, self.now)
        elif timer.kind == TIMER_CONTACT:
            if self.table.generations[row] == timer.generation:
                self.table.flags[row] &= ~FLAG_CONTACT_ARMED
                self._contact(row)
        elif timer.kind == TIMER_SEEDS:
            self.seeds.due(self.now)
        elif timer.kind == TIMER_NEWCOMER:
            self._take_snapshot()
        elif timer.kind == TIMER_DOUBTS:
            self.doubts.due(self.now)
        elif timer.kind == TIMER_PULLS:
            self.exchanges.pulls_armed = 0x7FFFFFFFFFFFFFFF
        elif timer.kind == TIMER_EXPIRY:
            # What is due went as the clock was set; an older timer than the last is stale.
            if timer.when == self.expiry_armed:
                self.expiry_armed = 0x7FFFFFFFFFFFFFFF
        elif timer.kind == TIMER_SWEEP:
            self._sweep()
            self.timers.arm(self.now + self._sweep_interval(), TIMER_SWEEP, 0, 0)

    cdef void _contact(self, int32_t row) noexcept:
        if self.table.states[row] != STATE_DEAD and self.table.states[row] != STATE_UNSEEN:
            return
        if not self.membership.leaving:
            self._ping(row, 0)
        self.membership.arm_contact(row)

    cdef void _ask(self, int32_t row, uint8_t state, uint32_t epoch, uint32_t incarnation) noexcept:
        """Somebody holds a live member for dead: tell the member, and probe it; silence is what
        counts.
        """
        cdef Packets p = self.packets
        if self.detector.probing(row) or not self.membership.question():
            return
        p.open(self.now)
        write_status(
            &p.w, self.table.short_id(row), state, epoch, incarnation, self.table.short_id(0)
        )
        p.messages += 1
        p.send(self.table.address(row))
        self.detector.start(row, self.now)

    cdef bint _send_join(self, const Address* target, int tag, size_t limit) noexcept:
        """Greet with this member's card, in at most ``limit`` bytes; False if that is too few.

        A request is long enough for the welcome. If that is over the limit it is sent without card:
        who pinged knows this member. A welcome names as many members as there is room for.
        """
        cdef uint8_t contacts[CONTACTS_MAX * ADDRESS_BYTES]
        cdef uint32_t size = 0
        cdef uint32_t padding = 0
        if tag == MSG_JOIN and self.table.cards[0].size < JOIN_BYTES_MIN:
            padding = JOIN_BYTES_MIN - self.table.cards[0].size
        elif tag == MSG_WELCOME:
            size = self.newcomer.name_contacts(contacts, self.now)
        while True:
            self.packets.open(self.now)
            if tag == MSG_JOIN:
                write_join(&self.packets.w, MSG_JOIN, padding)
            else:
                write_welcome(&self.packets.w, contacts, size)
            self.packets.messages += 1
            self.packets.member(0)
            if self.packets.w.size <= limit:
                break
            if size < ADDRESS_BYTES:
                if tag != MSG_JOIN:
                    return False
                self.packets.open(self.now)
                write_join(&self.packets.w, <Tag> tag, 0)
                self.packets.messages += 1
                if self.packets.w.size > limit:
                    return False
                break
            size -= ADDRESS_BYTES
        self.packets.send(target)
        return True

    cdef int64_t _sweep_interval(self) noexcept:
        cdef int64_t interval = self.settings.tombstone_floor_us // 16
        return interval if interval < 60000000 else 60000000

    cdef void _sweep(self) noexcept:
        """Take tombstones past half the floor out of the digest, and forget what is past it."""
        cdef int64_t floor = self.settings.tombstone_floor_us
        cdef int32_t i
        cdef int64_t age
        for i in range(1, self.table.rows):
            if self.table.told(i) < STATE_DEAD or self.table.states[i] == STATE_FREE:
                continue
            age = self.now - self.table.since(i)
            if age > floor // 2:
                self.membership.digest_out(i)
            if age > floor:
                self.rumor_rules.drop_of(self.table.id_of(i))
                self.membership.forget(i)
        self.rumor_rules.sweep()
        self.exchanges.expire()
        self.flaps.sweep(self.now)
