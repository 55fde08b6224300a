"""The gossip node: wires the stores and mechanisms into one state machine without I/O.

Bytes, integers and ``now`` come in through ``handle_*``; datagrams, requests, events and the next deadline
go out through ``poll_*`` and ``next_timeout``, drained after every input. Same seed and same inputs, same
outputs byte for byte.

Theory of operation. The rules live in the mechanisms, each of which sees the stores and leaves effects;
this file decides what a message means for them, and is the only one that knows them all:

- evidence about a member -> ``_evidence``: weighed by the table's precedence, entered, told, remembered;
- a rumor -> ``_take``: merged by the store, told, digested;
- effects of the mechanisms -> ``_perform``, after every input, in order;
- deadlines -> ``_fire``; a stale one finds another generation and does nothing.

Remote bytes never raise: what cannot be read or believed is counted and dropped. Sources: SWIM, Das et al.
2002; Lifeguard, Dadgar et al. 2017; what differs from them is said in the mechanisms.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.blobs cimport RumorBlob, card_drop, card_new, card_share, rumor_drop, rumor_new, rumor_share
from sup_core.codec cimport (
    MSG_ACK,
    MSG_BUCKETS,
    MSG_HEADER,
    MSG_JOIN,
    MSG_MEMBER,
    MSG_NACK,
    MSG_PING,
    MSG_PING_REQ,
    MSG_PULL,
    MSG_RELAYED,
    MSG_RUMOR,
    MSG_STATUS,
    MSG_SYNC,
    MSG_SYNCED,
    MSG_WELCOME,
    Header,
    Message,
    Tag,
    finish_packet,
    read_header,
    read_message,
    write_ack,
    write_buckets,
    write_join,
    write_nack,
    write_ping,
    write_ping_req,
    write_pull,
    write_relayed,
    write_status,
    write_sync,
    write_wide_header,
)
from sup_core.counters cimport *
from sup_core.cursor cimport Reader, Writer, reader_init, writer_free, writer_init_growing
from sup_core.dissemination cimport NEWS_MEMBERS, NEWS_RUMORS, Dissemination
from sup_core.effects cimport *
from sup_core.event_queue cimport *
from sup_core.failure_detector cimport ANSWER_PROBE, FailureDetector
from sup_core.identity cimport ADDRESS_BYTES, Address, address_bytes, address_equal, address_read, address_write, short_of, sip_hash
from sup_core.kinds cimport RULE_NONE, RULE_OWNER, RULE_WRITER, Rule, rule_of
from sup_core.limits cimport *
from sup_core.local_health cimport LocalHealth
from sup_core.member_table cimport *
from sup_core.outbox cimport Outbox
from sup_core.packets cimport Packets
from sup_core.prng cimport Prng
from sup_core.pulls cimport Pull, Pulls
from sup_core.rumor_store cimport OFFER_FULL, OFFER_KIND, OFFER_QUOTA, OFFER_TAKEN, Offer, RumorStore
from sup_core.settings cimport settings_read
from sup_core.stamps cimport Stamps
from sup_core.suspicion cimport Suspicion
from sup_core.timers cimport *
from sup_core.views cimport card_bytes, event_view, member_view, rumor_view, short_text, version_view

from collections import deque

from sup_core.counters import NAMES as _COUNT_NAMES
from sup_core.errors import LimitError, SnapshotError
from sup_core.event_queue import REASONS
from sup_core.events import MemberState, SelfEvent
from sup_core.identity import ring_hash

cdef enum:
    _TIMERS_PER_CALL_MAX = 100000
    _SELF_EVENT_INTERVAL_US = 10000000
    _SEED_WAIT_FIRST_US = 500000
    _RETRY_CHECK_US = 500000
    _BOUNDED_CONTACT_SHIFT = 8
    _SNAPSHOT_BYTES_MAX = 134217728
    _REQUEST_SYNC = 1
    _REQUEST_JOIN = 2
    _REQUEST_PULL = 3

cdef int64_t _REQUEST_LIFETIME_US = 20000000


cdef bint _address_of(object data, Address* out) except -1:
    if not isinstance(data, bytes) or len(data) != ADDRESS_BYTES:
        raise ValueError(f"address {data!r} is not {ADDRESS_BYTES} bytes")
    address_read(out, <const uint8_t*> (<const char*> (<bytes> data)))
    return True


cdef class Node:
    """One member of one ring."""

    def __init__(self, config, *, member_id, name, ring, address, epoch, incarnation=0, seed, now, wall_us=0, tags=None):
        """Start a member that knows nobody.

        Raises:
            ValueError: an argument is over its bound.
        """
        cdef bytes card
        if not isinstance(member_id, bytes) or len(member_id) != 16:
            raise ValueError(f"member_id {member_id!r} is not 16 bytes")
        if not 0 < len(ring.encode()) <= RING_BYTES_MAX:
            raise LimitError(f"ring name is {len(ring.encode())} bytes, allowed are 1..{RING_BYTES_MAX}")
        if not 0 <= epoch < 1 << 32 or not 0 <= incarnation < 1 << 32:
            raise LimitError(f"epoch {epoch} or incarnation {incarnation} is outside 0..2^32-1")
        settings_read(&self.settings, config)
        self.ring = <uint64_t> ring_hash(ring)
        self.prng = Prng(seed)
        self.now = now
        self.timers = Timers()
        self.outbox = Outbox()
        self.events = EventQueue()
        self.effects = Effects()
        self.table = MemberTable(self.prng.draw())
        self.store = RumorStore(self.prng.draw(), self.ring, ~<uint64_t> self.ring)
        self.detector = FailureDetector(self.table, self.timers, self.prng, self.effects)
        self.detector.settings = &self.settings
        self.suspicion = Suspicion(self.timers, self.prng, self.effects)
        self.suspicion.settings = &self.settings
        self.health = LocalHealth()
        self.dissemination = Dissemination(self.table, self.prng)
        self.dissemination.settings = &self.settings
        self.anti_entropy = AntiEntropy()
        self.anti_entropy.settings = &self.settings
        self.pulls = Pulls(self.prng)
        self.pulls_armed = 0x7FFFFFFFFFFFFFFF
        self.stamps = Stamps()
        self.stamps.set_wall(wall_us, now)
        self.packets = Packets(self.table, self.store, self.dissemination, self.suspicion, self.outbox, self.ring)
        self.requests = {}
        self.request_queue = deque()
        card = card_bytes(name, tags or {})
        if self.table.add(<const uint8_t*> (<const char*> (<bytes> member_id)), now) != 0:
            raise MemoryError
        _address_of(address, &self.table.addresses[0])
        self.table.epochs[0] = epoch
        self.table.incarnations[0] = incarnation
        self.table.versions[0] = <uint64_t> epoch << 16
        self.table.cards[0] = card_new(<const uint8_t*> (<const char*> card), <uint32_t> len(card))
        self.table.set_state(0, STATE_ALIVE, now)
        self._digest_in(0)
        cdef int i
        for i in range(8):
            self.told_at[i] = -0x3FFFFFFFFFFFFFFF
        # De-phased: members started together must not probe together.
        self.timers.arm(now + self.prng.draw_below(<uint32_t> self.settings.probe_interval_us), TIMER_PERIOD, 0, 0)
        self.timers.arm(now + self._sweep_interval(), TIMER_SWEEP, 0, 0)

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.whys_capacity):
            free(self.whys[i])
        free(self.whys)

    # ------------------------------------------------------------------ inputs

    cdef void receive(self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now) noexcept:
        """One datagram. Never raises, whatever the bytes are."""
        cdef Reader r
        cdef Header header
        cdef int32_t row
        self.now = now
        self.counts[COUNT_PACKETS_IN] += 1
        if size < 0 or size > DATAGRAM_BYTES_MAX:
            self.counts[COUNT_OVERSIZE] += 1
            return
        self.counts[COUNT_BYTES_IN] += <uint64_t> size
        reader_init(&r, data, <size_t> size)
        if not self._header(&r, &header, source):
            return
        row = self.table.find(header.sender)
        if row < 0:
            self.counts[COUNT_UNKNOWN_SENDER] += 1
        else:
            self.table.heard[row] = now
            self.detector.heard(row)
            self._evidence(row, header.epoch, header.incarnation, STATE_ALIVE, 0, REASON_ANSWERED)
        self._messages(&r, header.count, row, source, SOURCE_GOSSIP)
        self._settle()

    cdef bint _header(self, Reader* r, Header* header, const Address* source) noexcept:
        # The checks that every packet passes first; what fails is counted.
        if not read_header(r, header):
            self.counts[COUNT_MALFORMED] += 1
            return False
        if header.version < PROTOCOL_VERSION_MIN or header.version > PROTOCOL_VERSION + 1:
            self.counts[COUNT_VERSION] += 1
            return False
        if header.ring != self.ring:
            self.counts[COUNT_FOREIGN_RING] += 1
            self._self_event(SELF_FOREIGN_RING, header.ring, source)
            return False
        if header.sender == self.table.short_id(0):
            self.counts[COUNT_OWN_ECHO] += 1
            if not address_equal(source, &self.table.addresses[0]):
                self._self_event(SELF_DUPLICATE_ID, header.epoch, source)
            return False
        return True

    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept:
        """The next datagram to send; 0 when there is none. ``buffer`` holds DATAGRAM_BYTES_MAX."""
        return self.outbox.pop(buffer, target)

    cdef int64_t next_due(self) noexcept:
        return self.timers.next_due()

    cdef void timeout(self, int64_t now) noexcept:
        """Fire what is due."""
        cdef Timer timer
        cdef int i
        self.now = now
        # The bound keeps a clock that jumps from looping for ever on timers that re-arm in the past.
        for i in range(_TIMERS_PER_CALL_MAX):
            if not self.timers.pop_due(now, &timer):
                break
            self._fire(&timer)
            self._settle()
        self._settle()

    def handle_datagram(self, data, source, now):
        """Take one datagram from ``source``; whatever it is, nothing is raised for it."""
        cdef Address address
        _address_of(source, &address)
        self.receive(<const uint8_t*> (<const char*> (<bytes> data)), len(data), &address, now)

    def handle_timeout(self, now):
        """Fire what is due at ``now``."""
        self.timeout(now)

    def handle_request(self, data, source, now):
        """Answer a stream exchange; b"" refuses it."""
        cdef Address address
        cdef Reader r
        cdef Header header
        cdef Message m
        cdef int32_t row
        cdef bytes raw = data
        _address_of(source, &address)
        self.now = now
        self.counts[COUNT_REQUESTS_IN] += 1
        if len(raw) > STREAM_BYTES_MAX:
            self.counts[COUNT_OVERSIZE] += 1
            return b""
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if not self._header(&r, &header, &address):
            return b""
        if header.count < 1 or not read_message(&r, &m):
            self.counts[COUNT_MALFORMED] += 1
            return b""
        row = self.table.find(header.sender)
        answer = b""
        if m.tag == MSG_SYNC:
            bits = (<const char*> m.bits)[:BUCKET_MAP_BYTES]
            self._messages(&r, header.count - 1, row, &address, SOURCE_SYNC)
            answer = self._sync_body(bits, MSG_SYNCED)
        elif m.tag == MSG_PULL:
            answer = self._pull_answer(&m)
        else:
            self.counts[COUNT_UNKNOWN_MESSAGE] += 1
        self._settle()
        return answer

    def handle_response(self, request_id, data, now):
        """Take the answer to a polled request, None when it failed."""
        cdef Reader r
        cdef Header header
        cdef Address nowhere
        cdef bytes raw
        cdef int32_t row
        cdef int how
        self.now = now
        entry = self.requests.pop(request_id, None)
        if entry is None:
            return
        purpose, slot, generation, _ = entry
        if data is None or len(data) == 0 or len(data) > STREAM_BYTES_MAX:
            self.counts[COUNT_REQUESTS_FAILED] += 1
            if purpose == _REQUEST_PULL:
                self.pulls.failed(slot, generation, now)
            self._settle()
            return
        raw = data
        memset(&nowhere, 0, sizeof(nowhere))
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if self._header(&r, &header, &nowhere):
            row = self.table.find(header.sender)
            how = SOURCE_SYNC
            if purpose == _REQUEST_JOIN:
                how = SOURCE_SYNC if self.synced else SOURCE_SNAPSHOT
                self.synced = True
            self._messages(&r, header.count, row, &nowhere, how)
        if purpose == _REQUEST_PULL:
            # A body that came ended the pull; else the source had something else.
            self.pulls.failed(slot, generation, now)
        self._settle()

    def join(self, addresses, now):
        """Replace the seeds: contacted for ever, with growing waits and jitter, until known alive."""
        cdef Address address
        cdef Seed* seed
        cdef int count = 0
        self.now = now
        if len(addresses) > SEEDS_MAX:
            raise LimitError(f"there are {len(addresses)} seeds, limit is {SEEDS_MAX}")
        for data in addresses:
            _address_of(data, &address)
            if address_equal(&address, &self.table.addresses[0]):
                continue
            seed = &self.seeds[count]
            count += 1
            seed.address = address
            seed.row = -1
            seed.due = now
            seed.wait = _SEED_WAIT_FIRST_US
        self.seed_count = count
        self._contact_seeds()
        self._settle()

    def leave(self, now):
        """Tell the ring that this member leaves; ``has_left`` says when enough of it knows."""
        self.now = now
        if self.leaving:
            return
        self.leaving = True
        self.left_at = now + self.settings.leave_timeout_us
        self._digest_out(0)
        self.table.set_state(0, STATE_LEFT, now)
        self._digest_in(0)
        self.dissemination.enqueue(NEWS_MEMBERS, 0)
        self.dissemination.last_tick = now - self.settings.gossip_interval_us
        self._settle()

    def publish(self, kind, key, value, now):
        """Write a rumor of this member's.

        Raises:
            ValueError: the kind is unknown, or key, value or this member's quota is over its bound.
        """
        if value is None:
            raise ValueError("value is None; use retract")
        return self._publish(kind, key, value, now)

    def retract(self, kind, key, now):
        """Retract a rumor: a tombstone that outranks what is held."""
        if 128 <= kind <= 191:
            raise ValueError(f"kind {kind} only grows, it cannot be retracted")
        return self._publish(kind, key, None, now)

    def set_address(self, address, now):
        """Change the address that others reach this member at."""
        self.now = now
        _address_of(address, &self.table.addresses[0])
        self._own_card_changed()
        self._settle()

    def set_tags(self, tags, now):
        """Replace the tags of this member's card."""
        cdef bytes card
        self.now = now
        card = card_bytes(member_view(self.table, 0).name, tags)
        card_drop(self.table.cards[0])
        self.table.cards[0] = card_new(<const uint8_t*> (<const char*> card), <uint32_t> len(card))
        self._own_card_changed()
        self._settle()

    def set_wall(self, wall_us, now):
        """Say what the wall clock shows, for stamps only."""
        self.stamps.set_wall(wall_us, now)

    def load(self, snapshot, now):
        """Take an own snapshot: rumors are restored, members contacted but not believed.

        Raises:
            SnapshotError: it is none, or of another ring; nothing is changed in the former case.
        """
        cdef Reader r
        cdef Header header
        cdef Address nowhere
        cdef bytes raw = snapshot
        self.now = now
        memset(&nowhere, 0, sizeof(nowhere))
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if len(raw) > _SNAPSHOT_BYTES_MAX or not read_header(&r, &header):
            raise SnapshotError(f"the {len(raw)} bytes are no snapshot")
        if header.ring != self.ring:
            raise SnapshotError("the snapshot is of another ring")
        before = self.counts[COUNT_MALFORMED]
        self._messages(&r, header.count, -1, &nowhere, SOURCE_DISK)
        self._settle()
        if self.counts[COUNT_MALFORMED] != before:
            raise SnapshotError("the snapshot is damaged; what came before the damage was restored")

    def snapshot(self):
        """All rumors, tombstones included, and the cards of all members, as bytes for ``load``."""
        cdef Writer w
        cdef uint32_t count = 0
        cdef int32_t i
        self.packets.now = self.now
        writer_init_growing(&w, _SNAPSHOT_BYTES_MAX)
        write_wide_header(&w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0])
        for i in range(1, self.table.rows):
            count += self.packets.put_member(&w, i)
        for i in range(self.store.slots):
            count += self.packets.put_rumor(&w, i, True)
        finish_packet(&w, count)
        try:
            return (<const char*> w.start)[:w.size]
        finally:
            writer_free(&w)

    # ----------------------------------------------------------------- outputs

    def poll_transmit(self):
        """The next (address, datagram), None when there is none."""
        cdef uint8_t buffer[DATAGRAM_BYTES_MAX]
        cdef Address target
        cdef Py_ssize_t size = self.outbox.pop(buffer, &target)
        if size == 0:
            return None
        return address_bytes(&target), (<const char*> buffer)[:size]

    def poll_request(self):
        """The next (request id, address, bytes) to exchange over a stream, None when there is none."""
        if not self.request_queue:
            return None
        return self.request_queue.popleft()

    def poll_event(self):
        """The next event, None when there is none."""
        cdef EventRecord record
        if self.events.dropped and not self.events.told and self.events.count == 0:
            self.events.told = True
            return SelfEvent("events_dropped", f"{self.events.dropped} so far")
        if not self.events.pop(&record):
            return None
        try:
            return event_view(&record)
        finally:
            card_drop(record.card)
            rumor_drop(record.rumor)
            rumor_drop(record.previous)

    def next_timeout(self):
        """When ``handle_timeout`` wants to be called next, in µs; there is always a time."""
        return self.timers.next_due()

    # --------------------------------------------------------------- questions

    def members(self):
        """Everybody that is shown, this member first, then in the order they became known."""
        cdef int32_t row
        found = []
        for row in range(self.table.rows):
            if self.table.states[row] <= STATE_LEFT:
                found.append(member_view(self.table, row))
        return found

    def member(self, id):
        """One member by its full id, None when it is not shown."""
        cdef int32_t row = self._row_of(id)
        if row < 0 or self.table.states[row] > STATE_LEFT:
            return None
        return member_view(self.table, row)

    def local(self):
        """This member."""
        return member_view(self.table, 0)

    def rumors(self, kind=None):
        """All rumors that are not retracted, of one kind if it is given, ordered by kind, key and origin."""
        cdef int32_t slot
        cdef RumorBlob* blob
        found = []
        for slot in range(self.store.slots):
            blob = self.store.entries[slot].blob
            if blob == NULL or blob.tombstone or (kind is not None and blob.kind != kind):
                continue
            found.append(rumor_view(blob))
        found.sort(key=_rumor_order)
        return found

    def rumor(self, kind, key, origin=None):
        """One rumor that is not retracted. An owner kind needs its origin; without one it is this member's."""
        cdef bytes raw_key = key
        cdef bytes raw_origin = origin if origin is not None else (<const char*> self.table.ids[0].octets)[:16]
        cdef int32_t slot
        if not 0 < kind < 256 or len(raw_key) > KEY_BYTES_MAX or len(raw_origin) != 16:
            return None
        slot = self.store.find(kind, <const uint8_t*> (<const char*> raw_key), <uint32_t> len(raw_key),
                               <const uint8_t*> (<const char*> raw_origin))
        if slot < 0 or self.store.entries[slot].blob.tombstone:
            return None
        return rumor_view(self.store.entries[slot].blob)

    def counters(self):
        """What was counted since the start, by name, with the sizes of the stores."""
        found = {name: self.counts[i] for i, name in enumerate(_COUNT_NAMES)}
        found["packets_out"] = self.packets.sent_packets
        found["bytes_out"] = self.packets.sent_bytes
        found["packets_out_dropped"] = self.outbox.dropped
        found["events_dropped"] = self.events.dropped
        found["timers"] = self.timers.count
        found["timers_refused"] = self.timers.refused
        found["effects_refused"] = self.effects.refused
        found["probes_failed"] = self.detector.probes_failed
        found["probes_refused"] = self.detector.probes_refused
        found["probes_unanswered"] = self.health.unanswered
        found["exchanges"] = self.anti_entropy.exchanges
        found["pulls"] = self.pulls.count
        found["pulls_refused"] = self.pulls.refused
        found["pulls_given_up"] = self.pulls.given_up
        found["rumors_stored"] = self.store.count
        found["rumor_bytes"] = self.store.size
        found["members_live"] = self.table.live_count + 1
        found["members_rows"] = self.table.rows - self.table.free_count
        found["rto_us"] = self.detector.rto()
        found["news_members"] = self.dissemination.lanes[0].count
        found["news_rumors"] = self.dissemination.lanes[1].count
        return found

    def digest(self):
        """Eight bytes over all members and rumors; equal on members that hold the same."""
        return self.anti_entropy.digest

    def has_left(self):
        """Whether ``leave`` was called and enough members know, or the wait is over."""
        if not self.leaving:
            return False
        if self.table.live_count == 0 or self.now >= self.left_at:
            return True
        return self.dissemination.lanes[0].count == 0 or self.dissemination.lanes[0].items[0].level < 0

    def why(self, id):
        """The latest suspicions and verdicts about a member, oldest first, one line each."""
        cdef int32_t row = self._row_of(id)
        cdef WhyRing* ring
        cdef uint32_t i
        if row < 0 or row >= self.whys_capacity or self.whys[row] == NULL:
            return []
        ring = self.whys[row]
        found = []
        for i in range(ring.count if ring.count < WHY_MAX else WHY_MAX):
            found.append(_why_text(&ring.entries[(ring.count - (ring.count if ring.count < WHY_MAX else WHY_MAX) + i) % WHY_MAX]))
        return found

    def local_health(self):
        """0 (well) to 7: how far this member distrusts itself."""
        return self.health.score

    cdef int32_t _row_of(self, object id) except -2:
        cdef int32_t row
        if not isinstance(id, bytes) or len(id) != 16:
            return -1
        row = self.table.find(short_of(<const uint8_t*> (<const char*> (<bytes> id))))
        if row >= 0 and memcmp(self.table.ids[row].octets, <const char*> (<bytes> id), 16) != 0:
            return -1
        return row

    # ---------------------------------------------------------------- messages

    cdef void _messages(self, Reader* r, uint32_t count, int32_t row, const Address* source, int how) noexcept:
        # ``row`` is the sender's, -1 while it is unknown; its own card may come first and change that.
        cdef Message m
        cdef uint32_t i
        cdef int greeting = 0
        cdef int32_t sender
        cdef bint datagram = how == SOURCE_GOSSIP
        if datagram and count > MESSAGES_PER_DATAGRAM_MAX:
            self.counts[COUNT_MALFORMED] += 1
            return
        for i in range(count):
            if not read_message(r, &m):
                self.counts[COUNT_MALFORMED] += 1
                break
            if m.tag == MSG_STATUS:
                self._status_message(&m)
            elif m.tag == MSG_MEMBER:
                if greeting and row < 0:
                    sender = self._member_message(&m, SOURCE_SELF)
                    if sender > 0:
                        row = sender
                        self.table.heard[row] = self.now
                else:
                    self._member_message(&m, how)
            elif m.tag == MSG_RUMOR:
                self._rumor_message(&m, row, how)
            elif m.tag == MSG_HEADER:
                self._header_message(&m, row)
            elif not datagram:
                if m.tag != MSG_SYNCED:
                    self.counts[COUNT_UNKNOWN_MESSAGE] += 1
            elif m.tag == MSG_PING:
                self._ping_message(&m, row, source)
            elif m.tag == MSG_ACK:
                self._ack_message(&m, row)
            elif m.tag == MSG_PING_REQ:
                self._ping_req_message(&m, row)
            elif m.tag == MSG_NACK:
                if row > 0:
                    self.detector.nacked(m.seq, row)
            elif m.tag == MSG_RELAYED:
                self._relayed_message(&m, row)
            elif m.tag == MSG_BUCKETS:
                self._buckets_message(&m, row)
            elif m.tag == MSG_JOIN or m.tag == MSG_WELCOME:
                greeting = m.tag
            else:
                self.counts[COUNT_UNKNOWN_MESSAGE] += 1
        if greeting and row > 0:
            self._greeted(greeting, row, source)

    cdef void _greeted(self, int greeting, int32_t row, const Address* source) noexcept:
        # A seed answers with its own card and what it holds against the sender, about as much as it got.
        cdef int i
        for i in range(self.seed_count):
            if address_equal(&self.seeds[i].address, source):
                self.seeds[i].row = row
                self.seeds[i].generation = self.table.generations[row]
        if greeting == MSG_JOIN:
            self._send_join(source, MSG_WELCOME)
        elif not self.synced and not self._syncing():
            self._sync_with(source, NULL, row)

    cdef bint _syncing(self) noexcept:
        for entry in self.requests.values():
            if entry[0] == _REQUEST_JOIN:
                return True
        return False

    cdef int32_t _member_message(self, Message* m, int how) noexcept:
        # A member with its card. Gives its row, -1 when it was refused.
        cdef int32_t row = self.table.find(short_of(m.id))
        cdef bint known = row >= 0
        cdef int64_t age_us = <int64_t> m.age_s * 1000000
        cdef bint gone = m.state == STATE_DEAD or m.state == STATE_LEFT
        if row == 0:
            if memcmp(self.table.ids[0].octets, m.id, 16) != 0:
                self.counts[COUNT_CARD_REFUSED] += 1
                self._self_event(SELF_SHORT_ID_CLASH, short_of(m.id), &m.address)
                return -1
            if m.epoch == self.table.epochs[0] and m.version == self.table.versions[0] and not address_equal(&m.address, &self.table.addresses[0]):
                self._self_event(SELF_DUPLICATE_ID, m.epoch, &m.address)
            self._about_me(m.epoch, m.incarnation, m.state)
            return 0
        if not known:
            # News of somebody's end is no news to who never knew it; a young tombstone is part of the digest.
            if gone and (how == SOURCE_GOSSIP or age_us > self.settings.tombstone_floor_us // 2):
                return -1
            row = self.table.add(m.id, self.now)
            if row < 0:
                self.counts[COUNT_TABLE_FULL] += 1
                return -1
            self.table.epochs[row] = m.epoch
            self.table.incarnations[row] = m.incarnation
        elif memcmp(self.table.ids[row].octets, m.id, 16) != 0:
            self.counts[COUNT_CARD_REFUSED] += 1
            self._self_event(SELF_SHORT_ID_CLASH, short_of(m.id), &m.address)
            return -1
        if not self._take_card(row, m, known):
            return row
        if not known:
            if gone:
                self._enter(row, m.state)
                self.table.since[row] = self.now - age_us
                self._tell_gone(row)
            elif how == SOURCE_SYNC or how == SOURCE_DISK:
                # Hearsay: it answers before it is shown.
                self._arm_contact(row)
                if how == SOURCE_SYNC and self._question():
                    self._ping(row, 0)
            else:
                self._show(row, REASON_NEWS if how == SOURCE_GOSSIP else REASON_SYNC)
            return row
        if how == SOURCE_SELF and self.table.states[row] == STATE_UNSEEN:
            self._show(row, REASON_ANSWERED)
        elif how == SOURCE_SYNC and self.table.states[row] == STATE_UNSEEN and not gone and self._question():
            # Asked before, without an answer or beyond the allowance; the digests differ until it has answered.
            self._ping(row, 0)
        if how == SOURCE_DISK:
            return row
        if m.state == STATE_DEAD and how != SOURCE_GOSSIP and how != SOURCE_SELF and self.table.states[row] <= STATE_SUSPECT:
            # A question to the member, not an accusation: it may just not have been heard of.
            if evidence_above(m.epoch, m.incarnation, STATE_DEAD, self.table.epochs[row], self.table.incarnations[row], STATE_ALIVE):
                self._ask(row, STATE_DEAD, m.epoch, m.incarnation)
            return row
        if m.state == STATE_ALIVE and self.table.states[row] == STATE_SUSPECT and how != SOURCE_GOSSIP and how != SOURCE_SELF:
            if m.epoch == self.table.epochs[row] and m.incarnation <= self.table.incarnations[row]:
                return row
        self._evidence(row, m.epoch, m.incarnation, m.state, 0, REASON_NEWS if how == SOURCE_GOSSIP else REASON_SYNC)
        return row

    cdef bint _take_card(self, int32_t row, Message* m, bint known) noexcept:
        # The larger card version wins; equal versions with different content are two holders of one id.
        if self.table.cards[row] != NULL and m.version <= self.table.versions[row]:
            if m.version == self.table.versions[row] and m.epoch == self.table.epochs[row] and (
                not address_equal(&m.address, &self.table.addresses[row])
                or m.card_size != self.table.cards[row].size
                or memcmp(m.card, self.table.cards[row].data, m.card_size) != 0
            ):
                self._self_event(SELF_DUPLICATE_ID, self.table.short_id(row), &m.address)
            return True
        card = card_new(m.card, m.card_size)
        if card == NULL:
            return False
        self._digest_out(row)
        card_drop(self.table.cards[row])
        self.table.cards[row] = card
        self.table.addresses[row] = m.address
        self.table.versions[row] = m.version
        if known and self.table.states[row] <= STATE_LEFT:
            self._digest_in(row)
            self.table.flags[row] |= FLAG_NEWS_CARD
            self.dissemination.enqueue(NEWS_MEMBERS, row)
            if self.table.states[row] <= STATE_SUSPECT:
                self._member_event(row, CHANGE_UPDATED, REASON_CARD, 0)
        return True

    cdef void _status_message(self, Message* m) noexcept:
        cdef int32_t row = self.table.find(m.subject)
        if row < 0:
            self.counts[COUNT_UNKNOWN_MEMBER] += 1
        elif row == 0:
            self._about_me(m.epoch, m.incarnation, m.state)
        else:
            self._evidence(row, m.epoch, m.incarnation, m.state, m.other, REASON_NEWS)

    cdef void _ping_message(self, Message* m, int32_t row, const Address* source) noexcept:
        self.packets.open(self.now)
        write_ack(&self.packets.w, m.seq, self.anti_entropy.digest)
        self.packets.messages += 1
        if row > 0:
            if self.table.states[row] == STATE_SUSPECT or self.table.states[row] == STATE_DEAD:
                self.packets.status(row)
            self._piggyback()
            self.packets.send(source)
            self._compare(m.digest, row)
            return
        self.packets.send(source)
        # Somebody knows this member that this member does not know: ask for its card.
        if self._question():
            self._send_join(source, MSG_JOIN)

    cdef void _ack_message(self, Message* m, int32_t row) noexcept:
        if row <= 0:
            return
        if self.detector.acked(m.seq, row, self.now) == ANSWER_PROBE:
            if self.health.answered():
                self._self_event(SELF_REACHABLE, 0, NULL)
            if self.table.states[row] == STATE_SUSPECT:
                # It answered without having seen the suspicion; the next ping carries it again.
                self.suspicion.again(row, self.now + _RETRY_CHECK_US)
        self._compare(m.digest, row)

    cdef void _ping_req_message(self, Message* m, int32_t row) noexcept:
        cdef int32_t subject
        if row <= 0 or self.table.states[row] > STATE_SUSPECT:
            return
        subject = self.table.find(m.subject)
        if subject > 0 and self.table.states[subject] != STATE_UNSEEN:
            self.detector.ping_req(row, m.seq, subject, m.budget_us, self.now)
            return
        self.packets.open(self.now)
        if subject == 0:
            write_relayed(&self.packets.w, m.seq, m.subject, self.table.epochs[0], self.table.incarnations[0])
        else:
            write_nack(&self.packets.w, m.seq, m.subject)
        self.packets.messages += 1
        self.packets.send(&self.table.addresses[row])

    cdef void _relayed_message(self, Message* m, int32_t row) noexcept:
        cdef int32_t subject = self.table.find(m.subject)
        if row <= 0 or subject <= 0:
            return
        self._evidence(subject, m.epoch, m.incarnation, STATE_ALIVE, 0, REASON_ANSWERED)
        if self.detector.relayed(m.seq, row, subject):
            if self.health.answered():
                self._self_event(SELF_REACHABLE, 0, NULL)
            if self.table.states[subject] == STATE_SUSPECT:
                self.suspicion.again(subject, self.now + _RETRY_CHECK_US)

    cdef void _compare(self, uint64_t digest, int32_t row) noexcept:
        # Digests differ for long enough: say in one datagram where.
        if self.leaving or self.table.states[row] > STATE_SUSPECT:
            return
        if not self.anti_entropy.should_exchange(digest, self.now):
            return
        self.packets.open(self.now)
        write_buckets(&self.packets.w, self.anti_entropy.hashes)
        self.packets.messages += 1
        self.packets.send(&self.table.addresses[row])

    cdef void _buckets_message(self, Message* m, int32_t row) noexcept:
        cdef uint8_t bits[BUCKET_MAP_BYTES]
        if row <= 0 or self.table.states[row] > STATE_SUSPECT or self.leaving:
            return
        if self.anti_entropy.differing(m.bits, bits) and self.anti_entropy.take_turn(self.now):
            self._sync_with(&self.table.addresses[row], bits, row)

    # ---------------------------------------------------------------- evidence

    cdef void _evidence(self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state, uint64_t accuser, Reason reason) noexcept:
        """Weigh evidence about another member; enter, tell and remember what it changes."""
        cdef uint8_t held = self.table.states[row]
        cdef uint32_t held_epoch = self.table.epochs[row]
        cdef Admission admission
        if held == STATE_UNSEEN and state == STATE_ALIVE and reason == REASON_ANSWERED:
            self.table.admit(row, epoch, incarnation, state)
            self._show(row, reason)
            return
        self._digest_out(row)
        admission = self.table.admit(row, epoch, incarnation, state)
        if admission == ADMIT_REFUSED:
            self.counts[COUNT_EVIDENCE_REFUSED] += 1
        if admission != ADMIT_RAISED and admission != ADMIT_CHANGED:
            self._digest_in(row)
            return
        if held == STATE_UNSEEN:
            if state == STATE_DEAD or state == STATE_LEFT:
                self._enter(row, state)
                self._tell_gone(row)
            return
        if admission == ADMIT_RAISED:
            self._digest_in(row)
            if state == STATE_SUSPECT:
                self.suspicion.end(row)
                self.suspicion.begin_hearsay(row, accuser, self.detector.rto(), self.now)
        else:
            if state == STATE_SUSPECT and (held == STATE_DEAD or held == STATE_LEFT):
                # A suspicion is the first that is heard of a new start: two transitions, told as two.
                self._enter(row, STATE_ALIVE)
                self._member_event(row, CHANGE_RETURNED, reason, 0)
                self._digest_out(row)
            self._enter(row, state)
            if state == STATE_ALIVE:
                if held == STATE_SUSPECT:
                    self._member_event(row, CHANGE_REFUTED, reason, 0)
                elif held != STATE_ALIVE:
                    self._member_event(row, CHANGE_RETURNED, REASON_NEW_EPOCH if epoch > held_epoch else reason, 0)
                else:
                    self._member_event(row, CHANGE_UPDATED, REASON_NEW_EPOCH, 0)
                if epoch > held_epoch and (self.table.versions[row] >> 16) == epoch:
                    self.table.flags[row] |= FLAG_NEWS_CARD
            elif state == STATE_SUSPECT:
                if reason != REASON_PROBE_FAILED:
                    reason = REASON_ACCUSED
                    self.suspicion.begin_hearsay(row, accuser, self.detector.rto(), self.now)
                self.counts[COUNT_SUSPECTED] += 1
                self._member_event(row, CHANGE_SUSPECTED, reason, accuser)
            elif state == STATE_DEAD:
                self._member_event(row, CHANGE_DIED, REASON_TOLD_DEAD if reason == REASON_NEWS else reason, accuser)
            else:
                self._member_event(row, CHANGE_LEFT, REASON_TOLD_LEFT, 0)
            self._note(row, state, incarnation, accuser, reason)
        self.dissemination.enqueue(NEWS_MEMBERS, row)

    cdef void _tell_gone(self, int32_t row) noexcept:
        # A tombstone is shown from now on, so who follows the events must hear of it too.
        if self.table.states[row] == STATE_DEAD:
            self._member_event(row, CHANGE_DIED, REASON_TOLD_DEAD, 0)
        else:
            self._member_event(row, CHANGE_LEFT, REASON_TOLD_LEFT, 0)

    cdef void _enter(self, int32_t row, uint8_t state) noexcept:
        """Enter a state, with the timers and the digest that belong to it. The digest is without the row."""
        self.suspicion.end(row)
        self.table.set_state(row, state, self.now)
        self._digest_in(row)
        if state == STATE_DEAD:
            self.table.backoff_s[row] = 0
            self._arm_contact(row)

    cdef void _show(self, int32_t row, Reason reason) noexcept:
        """Show a member that was not shown before, and tell others of it."""
        self._digest_out(row)
        self._enter(row, STATE_ALIVE)
        self.table.flags[row] |= FLAG_NEWS_CARD
        self.dissemination.enqueue(NEWS_MEMBERS, row)
        self._member_event(row, CHANGE_JOINED, reason, 0)

    cdef void _about_me(self, uint32_t epoch, uint32_t incarnation, uint8_t state) noexcept:
        """Evidence about this member: refute what is wrong by a larger incarnation."""
        cdef uint32_t mine = self.table.incarnations[0]
        if epoch != self.table.epochs[0]:
            if epoch > self.table.epochs[0]:
                # Somebody with this id started later; only the larger epoch can stay.
                self._self_event(SELF_DUPLICATE_ID, epoch, NULL)
            return
        if incarnation > mine and incarnation - mine > INCARNATION_JUMP_MAX:
            self.counts[COUNT_EVIDENCE_REFUSED] += 1
            return
        if state == STATE_ALIVE:
            if incarnation > mine:
                self.table.incarnations[0] = incarnation
            return
        if incarnation < mine:
            # Old news to this member is news to who sent it: say once more what holds.
            if not self.leaving:
                self.dissemination.enqueue(NEWS_MEMBERS, 0)
            return
        if state == STATE_LEFT:
            # Nothing within an epoch outranks it: either this member's own, or a forgery.
            if not self.leaving:
                self.counts[COUNT_EVIDENCE_REFUSED] += 1
                self._self_event(SELF_DUPLICATE_ID, epoch, NULL)
            return
        self.table.incarnations[0] = incarnation + 1
        self.counts[COUNT_REFUTED] += 1
        self.health.refuted()
        self.dissemination.enqueue(NEWS_MEMBERS, 0)

    cdef uint64_t _row_hash(self, int32_t row) noexcept:
        cdef uint8_t raw[40]
        cdef uint64_t words[3]
        cdef uint8_t state = self.table.states[row]
        memcpy(raw, self.table.ids[row].octets, 16)
        words[0] = self.table.epochs[row]
        words[1] = self.table.versions[row]
        words[2] = state if state == STATE_DEAD or state == STATE_LEFT else <uint8_t> STATE_ALIVE
        memcpy(raw + 16, words, 24)
        return sip_hash(self.ring, 1, raw, 40)

    cdef void _digest_out(self, int32_t row) noexcept:
        if self.table.flags[row] & FLAG_DIGESTED:
            self.anti_entropy.subtract(self.table.short_id(row), self._row_hash(row), self.anti_entropy.changed)
            self.table.flags[row] &= ~FLAG_DIGESTED

    cdef void _digest_in(self, int32_t row) noexcept:
        # The quiet time starts anew only when the digest is another one in the end.
        cdef uint8_t state = self.table.states[row]
        if self.table.flags[row] & FLAG_DIGESTED or state > STATE_LEFT:
            return
        if (state == STATE_DEAD or state == STATE_LEFT) and self.now - self.table.since[row] > self.settings.tombstone_floor_us // 2 and row != 0:
            return
        self.anti_entropy.add(self.table.short_id(row), self._row_hash(row), self.anti_entropy.changed)
        self.table.flags[row] |= FLAG_DIGESTED

    # ------------------------------------------------------------------ rumors

    cdef void _rumor_message(self, Message* m, int32_t source, int how) noexcept:
        cdef RumorBlob* blob
        cdef Rule rule = rule_of(m.kind)
        if not self._wanted(m, how):
            return
        if m.value != NULL and how != SOURCE_DISK and rule == RULE_OWNER and memcmp(m.origin, self.table.ids[0].octets, 16) == 0:
            self._overrule(m)
            return
        blob = rumor_new(m.key, m.key_size, m.value, m.value_size)
        if blob == NULL:
            return
        _name_blob(blob, m)
        blob.value_hash = self.store.value_hash(m.value, m.value_size)
        self._take(blob, m.age_s, how != SOURCE_DISK)

    cdef bint _wanted(self, Message* m, int how) noexcept:
        # Whether a rumor or its header may be looked at at all; what may not is counted.
        cdef Rule rule = rule_of(m.kind)
        if rule == RULE_NONE:
            self.counts[COUNT_RUMOR_KIND] += 1
            return False
        if rule == RULE_WRITER:
            if self.stamps.too_far_ahead(m.a, self.now, self.settings.stamp_ahead_us):
                self.counts[COUNT_RUMOR_AHEAD] += 1
                self._self_event(SELF_CLOCK, short_of(m.origin), NULL)
                return False
            self.stamps.observe(m.a, m.b)
        return True

    cdef void _header_message(self, Message* m, int32_t source) noexcept:
        """A large rumor is announced: pull it unless it is held."""
        cdef RumorBlob* blob
        cdef int32_t slot
        cdef Rule rule = rule_of(m.kind)
        if source <= 0 or m.value_size == 0 or not self._wanted(m, SOURCE_GOSSIP):
            return
        if rule == RULE_OWNER and memcmp(m.origin, self.table.ids[0].octets, 16) == 0:
            self._overrule(m)
            return
        blob = rumor_new(m.key, m.key_size, NULL, 0)
        if blob == NULL:
            return
        _name_blob(blob, m)
        blob.value_hash = m.value_hash
        slot = self.store.find(blob.kind, blob.data, blob.key_size, blob.origin)
        if slot == -2:
            rumor_drop(blob)
            return
        if slot >= 0:
            blob.tombstone = 0
            if rule == RULE_OWNER or rule == RULE_WRITER:
                if self.store.weigh(blob, slot) != OFFER_TAKEN:
                    self.counts[COUNT_RUMOR_STALE] += 1
                    rumor_drop(blob)
                    return
            elif self.store.entries[slot].blob.value_hash == m.value_hash:
                rumor_drop(blob)
                return
        blob.tombstone = 1
        self.pulls.want(self.store.name_of(blob.kind, m.key, m.key_size, m.origin), blob, m.value_size,
                        source, self.table.generations[source], self.now)

    cdef bint _take(self, RumorBlob* blob, uint32_t age_s, bint news) noexcept:
        """Merge a rumor, whose reference is consumed; True when it was taken."""
        cdef Rule rule = rule_of(blob.kind)
        cdef int32_t slot = self.store.find(blob.kind, blob.data, blob.key_size, blob.origin)
        cdef RumorBlob* previous = NULL
        cdef uint64_t old_hash = 0
        cdef uint64_t name
        cdef uint8_t digested = 0
        cdef int64_t age_us = <int64_t> age_s * 1000000
        cdef int pull
        cdef Offer verdict
        cdef EventRecord* record
        if slot == -1 and blob.tombstone and age_us > self.settings.tombstone_floor_us // 2 and news:
            rumor_drop(blob)
            return False
        if slot >= 0 and (rule == RULE_OWNER or rule == RULE_WRITER) and self.store.weigh(blob, slot) != OFFER_TAKEN:
            self.counts[COUNT_RUMOR_STALE] += 1
            rumor_drop(blob)
            return False
        if slot >= 0:
            digested = self.store.entries[slot].digested
            old_hash = self.store.entry_hash(slot)
        verdict = self.store.offer(blob, self.now - age_us, &slot, &previous)
        if verdict != OFFER_TAKEN:
            if verdict == OFFER_QUOTA:
                self.counts[COUNT_RUMOR_QUOTA] += 1
            elif verdict == OFFER_FULL:
                self.counts[COUNT_RUMOR_FULL] += 1
            elif verdict == OFFER_KIND:
                self.counts[COUNT_RUMOR_KIND] += 1
            else:
                self.counts[COUNT_RUMOR_STALE] += 1
            return False
        name = self.store.entries[slot].name
        if digested:
            self.anti_entropy.subtract(name, old_hash, self.now)
        self.store.entries[slot].digested = 1
        self.anti_entropy.add(name, self.store.entry_hash(slot), self.now)
        pull = self.pulls.find(name)
        if pull >= 0 and (
            (rule != RULE_OWNER and rule != RULE_WRITER) or self.store.weigh(self.pulls.slots[pull].wanted, slot) != OFFER_TAKEN
        ):
            self.pulls.end(pull)
        record = self.events.push()
        if record == NULL:
            rumor_drop(previous)
        else:
            record.what = EVENT_RUMOR
            record.rumor = rumor_share(self.store.entries[slot].blob)
            record.previous = previous
        if news:
            self.dissemination.enqueue(NEWS_RUMORS, slot)
        return True

    cdef void _overrule(self, Message* m) noexcept:
        """The ring holds an own rumor newer than this member's (lost state): write above it."""
        cdef int32_t slot = self.store.find(<uint8_t> m.kind, m.key, m.key_size, m.origin)
        cdef RumorBlob* held = NULL
        cdef RumorBlob* blob
        if slot == -2:
            return
        if slot >= 0:
            held = self.store.entries[slot].blob
            if m.a < held.a or (m.a == held.a and m.b <= held.b):
                return
        if m.a > self.table.epochs[0]:
            self._self_event(SELF_DUPLICATE_ID, m.a, NULL)
            return
        if m.a == self.table.epochs[0] and m.b > self.own_seq:
            self.own_seq = m.b
        if held != NULL and not held.tombstone:
            blob = rumor_new(m.key, m.key_size, held.data + held.key_size, held.value_size)
        else:
            blob = rumor_new(m.key, m.key_size, NULL, 0)
        if blob == NULL:
            return
        self.own_seq += 1
        blob.kind = <uint8_t> m.kind
        memcpy(blob.origin, m.origin, 16)
        blob.a = self.table.epochs[0]
        blob.b = self.own_seq
        if held != NULL:
            blob.value_hash = held.value_hash
        self._self_event(SELF_OWN_RUMOR, m.kind, NULL)
        self._take(blob, 0, True)

    cdef object _publish(self, object kind, object key, object value, object now):
        cdef RumorBlob* blob
        cdef bytes raw_key = key
        cdef bytes raw_value = value if value is not None else b""
        cdef Rule rule
        cdef int32_t slot
        self.now = now
        if not 0 < kind < 256 or rule_of(kind) == RULE_NONE:
            raise LimitError(f"kind is {kind}, allowed are 1..191")
        if len(raw_key) > KEY_BYTES_MAX:
            raise LimitError(f"key is {len(raw_key)} bytes, limit is {KEY_BYTES_MAX}")
        if len(raw_value) > VALUE_BYTES_MAX:
            raise LimitError(f"value is {len(raw_value)} bytes, limit is {VALUE_BYTES_MAX}")
        rule = rule_of(kind)
        blob = rumor_new(<const uint8_t*> (<const char*> raw_key), <uint32_t> len(raw_key),
                         <const uint8_t*> (<const char*> raw_value) if value is not None else NULL, <uint32_t> len(raw_value))
        if blob == NULL:
            raise MemoryError
        blob.kind = kind
        memcpy(blob.origin, self.table.ids[0].octets, 16)
        if rule == RULE_OWNER:
            self.own_seq += 1
            blob.a = self.table.epochs[0]
            blob.b = self.own_seq
        elif rule == RULE_WRITER:
            self.stamps.next_stamp(self.now, &blob.a, &blob.b)
        if value is not None:
            blob.value_hash = self.store.value_hash(<const uint8_t*> (<const char*> raw_value), <uint32_t> len(raw_value))
        before = (self.counts[COUNT_RUMOR_QUOTA], self.counts[COUNT_RUMOR_FULL], self.counts[COUNT_RUMOR_KIND])
        if not self._take(blob, 0, True):
            if self.counts[COUNT_RUMOR_QUOTA] > before[0]:
                raise LimitError(f"this member's rumors are at a limit: {ORIGIN_RUMORS_MAX} rumors, {ORIGIN_BYTES_MAX} bytes; retract some")
            if self.counts[COUNT_RUMOR_FULL] > before[1]:
                raise LimitError(f"the rumor store is full: {RUMORS_MAX} rumors, {RUMOR_BYTES_MAX} bytes")
            if self.counts[COUNT_RUMOR_KIND] > before[2]:
                raise ValueError(f"kind {kind} merges 8-byte counters, the value is {len(raw_value)} bytes")
        self._settle()
        slot = self.store.find(kind, <const uint8_t*> (<const char*> raw_key), <uint32_t> len(raw_key), self.table.ids[0].octets)
        return version_view(self.store.entries[slot].blob)

    # ----------------------------------------------------------------- effects

    cdef void _settle(self) noexcept:
        """Perform what the mechanisms left, then tell news at once if it was quiet, else at the next tick."""
        cdef Effect effect
        while self.effects.take(&effect):
            self._perform(&effect)
        if self.dissemination.pending() and self.table.live_count:
            if self.now - self.dissemination.last_tick >= self.settings.gossip_interval_us:
                self._gossip()
            if self.dissemination.pending() and not self.dissemination.armed:
                self.dissemination.armed = True
                self.timers.arm(self.dissemination.last_tick + self.settings.gossip_interval_us, TIMER_GOSSIP, 0, 0)
        if self.pulls.count:
            self._start_pulls()

    cdef void _perform(self, Effect* effect) noexcept:
        cdef int32_t row = effect.row
        cdef Packets p = self.packets
        if effect.what == EFFECT_PING:
            self._ping(row, effect.seq)
        elif effect.what == EFFECT_PING_REQ:
            p.open(self.now)
            if self.table.states[effect.other] == STATE_SUSPECT:
                # The helper's ping has to carry the suspicion, so it must know of it.
                p.status(effect.other)
            write_ping_req(&p.w, effect.seq, self.table.short_id(effect.other), <uint32_t> effect.number)
            p.messages += 1
            self._piggyback()
            p.send(&self.table.addresses[row])
        elif effect.what == EFFECT_NACK:
            p.open(self.now)
            write_nack(&p.w, effect.seq, self.table.short_id(effect.other))
            p.messages += 1
            p.send(&self.table.addresses[row])
        elif effect.what == EFFECT_RELAYED:
            p.open(self.now)
            write_relayed(&p.w, effect.seq, self.table.short_id(effect.other),
                          self.table.epochs[effect.other], self.table.incarnations[effect.other])
            p.messages += 1
            p.send(&self.table.addresses[row])
        elif effect.what == EFFECT_FAILED:
            if self.table.states[row] == STATE_ALIVE:
                self._evidence(row, self.table.epochs[row], self.table.incarnations[row], STATE_SUSPECT,
                               self.table.short_id(0), REASON_PROBE_FAILED)
            if self.table.states[row] == STATE_SUSPECT:
                self.suspicion.begin_first_hand(row, effect.at, self.detector.rto(), self.table.short_id(0), self.now)
        elif effect.what == EFFECT_SILENT:
            self._nobody_answered()
        elif effect.what == EFFECT_EXPIRED:
            if self.table.states[row] != STATE_SUSPECT:
                return
            if not effect.number and not self._question():
                self.suspicion.again(row, self.now + _RETRY_CHECK_US)
            elif not self.detector.start_last_check(row, self.now):
                self.suspicion.again(row, self.now + _RETRY_CHECK_US)
        elif effect.what == EFFECT_CHECKED:
            if self.table.states[row] == STATE_SUSPECT:
                self.counts[COUNT_DECLARED] += 1
                self._evidence(row, self.table.epochs[row], self.table.incarnations[row], STATE_DEAD,
                               self.table.short_id(0), REASON_LAST_CHECK)
        elif effect.what == EFFECT_UNCHECKED:
            if effect.number == 0:
                self._nobody_answered()
            self.suspicion.again(row, self.now + 2 * _RETRY_CHECK_US)

    cdef void _nobody_answered(self) noexcept:
        if self.health.nobody_answered():
            self._self_event(SELF_CUT_OFF, 0, NULL)

    cdef void _piggyback(self) noexcept:
        self.dissemination.open_batch()
        self.packets.fill()
        self.dissemination.close_batch(1)

    cdef void _ping(self, int32_t row, uint32_t seq) noexcept:
        """Ping, with what is held against the member so that its answer refutes it."""
        self.counts[COUNT_PINGS] += 1
        self.packets.open(self.now)
        if self.table.states[row] == STATE_SUSPECT or self.table.states[row] == STATE_DEAD:
            self.packets.status(row)
        write_ping(&self.packets.w, seq, self.anti_entropy.digest)
        self.packets.messages += 1
        if self.table.states[row] <= STATE_SUSPECT:
            self._piggyback()
        self.packets.send(&self.table.addresses[row])

    cdef void _gossip(self) noexcept:
        """One tick: the same packets to all targets, more than one packet while there is a backlog."""
        cdef int32_t targets[16]
        cdef int count
        cdef int i
        cdef int packet
        self.dissemination.last_tick = self.now
        self.counts[COUNT_GOSSIP_TICKS] += 1
        count = self.dissemination.choose_targets(targets)
        if count == 0:
            return
        self.dissemination.open_batch()
        for packet in range(self.settings.packets_per_tick_max):
            self.packets.open(self.now)
            if self.packets.fill() == 0:
                break
            for i in range(count):
                self.packets.send(&self.table.addresses[targets[i]])
        self.dissemination.close_batch(count)

    # ------------------------------------------------------------------ timers

    cdef void _fire(self, Timer* timer) noexcept:
        cdef int32_t row = timer.row
        if timer.kind == TIMER_PERIOD:
            if not self.leaving:
                self.detector.period(self.now)
            self.timers.arm(self.now + self.settings.probe_interval_us * (self.health.score + 1), TIMER_PERIOD, 0, 0)
        elif timer.kind == TIMER_GOSSIP:
            self.dissemination.armed = False
        elif timer.kind == TIMER_PROBE:
            self.detector.probe_due(row, timer.generation, self.now)
        elif timer.kind == TIMER_RELAY:
            self.detector.relay_due(row, timer.generation, self.now)
        elif timer.kind == TIMER_SUSPICION:
            self.suspicion.due(row, timer.generation, self.now)
        elif timer.kind == TIMER_CONTACT:
            if self.table.generations[row] == timer.generation:
                self.table.flags[row] &= ~FLAG_CONTACT_ARMED
                self._contact(row)
        elif timer.kind == TIMER_SEEDS:
            self._contact_seeds()
        elif timer.kind == TIMER_PULLS:
            self.pulls_armed = 0x7FFFFFFFFFFFFFFF
        elif timer.kind == TIMER_SWEEP:
            self._sweep()
            self.timers.arm(self.now + self._sweep_interval(), TIMER_SWEEP, 0, 0)

    cdef int64_t _jitter(self, int64_t wait) noexcept:
        # ±25 %: contacts without it clump, and a split heals in a minute instead of seconds.
        return wait - wait // 4 + <int64_t> self.prng.draw_below(<uint32_t> (wait // 2) + 1)

    cdef void _arm_contact(self, int32_t row) noexcept:
        """Contact a dead or unseen member after its wait, which doubles each time up to the largest."""
        cdef int64_t wait = self.settings.contact_min_us << self.table.backoff_s[row]
        if self.table.flags[row] & FLAG_CONTACT_ARMED:
            return
        if wait > self.settings.contact_max_us:
            wait = self.settings.contact_max_us
        elif self.table.backoff_s[row] < _BOUNDED_CONTACT_SHIFT:
            self.table.backoff_s[row] += 1
        if self.table.states[row] == STATE_UNSEEN and self.table.backoff_s[row] == 1:
            wait = wait // 16       # a first look soon: it was alive to somebody a moment ago
        self.table.flags[row] |= FLAG_CONTACT_ARMED
        self.timers.arm(self.now + self._jitter(wait), TIMER_CONTACT, row, self.table.generations[row])

    cdef void _contact(self, int32_t row) noexcept:
        if self.table.states[row] != STATE_DEAD and self.table.states[row] != STATE_UNSEEN:
            return
        if not self.leaving:
            self._ping(row, 0)
        self._arm_contact(row)

    cdef bint _question(self) noexcept:
        """Whether this second still has a question to spend."""
        if self.now - self.question_window >= 1000000:
            self.question_window = self.now
            self.questions_used = 0
        if self.questions_used >= self.settings.questions_per_second:
            self.counts[COUNT_QUESTIONS_REFUSED] += 1
            return False
        self.questions_used += 1
        self.counts[COUNT_QUESTIONS] += 1
        return True

    cdef void _ask(self, int32_t row, uint8_t state, uint32_t epoch, uint32_t incarnation) noexcept:
        """Somebody holds a live member for dead: tell the member, and probe it; silence is what counts."""
        cdef Packets p = self.packets
        if self.detector.probing(row) or not self._question():
            return
        p.open(self.now)
        write_status(&p.w, self.table.short_id(row), state, epoch, incarnation, self.table.short_id(0))
        p.messages += 1
        p.send(&self.table.addresses[row])
        self.detector.start(row, self.now)

    cdef void _send_join(self, const Address* target, int tag) noexcept:
        """Greet: this member's card, and in a welcome what is held against who asked."""
        cdef int32_t i
        self.packets.open(self.now)
        write_join(&self.packets.w, <Tag> tag)
        self.packets.messages += 1
        self.packets.member(0)
        self.packets.send(target)

    cdef void _contact_seeds(self) noexcept:
        """Greet the seeds whose wait is over and that are not known alive."""
        cdef int i
        cdef int k
        cdef Seed* seed
        cdef bint alive
        cdef int64_t due = 0x7FFFFFFFFFFFFFFF
        for i in range(self.seed_count):
            seed = &self.seeds[i]
            if seed.due <= self.now:
                alive = seed.row > 0 and self.table.generations[seed.row] == seed.generation and self.table.states[seed.row] <= STATE_SUSPECT
                if not alive:
                    for k in range(self.table.live_count):
                        if address_equal(&self.table.addresses[self.table.live_rows[k]], &seed.address):
                            seed.row = self.table.live_rows[k]
                            seed.generation = self.table.generations[seed.row]
                            alive = True
                            break
                if alive:
                    seed.wait = self.settings.contact_min_us
                elif not self.leaving:
                    self._send_join(&seed.address, MSG_JOIN)
                seed.due = self.now + self._jitter(seed.wait)
                seed.wait *= 2
                if seed.wait > self.settings.contact_max_us:
                    seed.wait = self.settings.contact_max_us
            if seed.due < due:
                due = seed.due
        if self.seed_count:
            self.timers.arm(due, TIMER_SEEDS, 0, 0)

    cdef int64_t _sweep_interval(self) noexcept:
        cdef int64_t interval = self.settings.tombstone_floor_us // 16
        return interval if interval < 60000000 else 60000000

    cdef void _sweep(self) noexcept:
        """Take tombstones past half the floor out of the digest, and forget what is past it."""
        cdef int64_t floor = self.settings.tombstone_floor_us
        cdef int32_t i
        cdef int64_t age
        cdef RumorBlob* blob
        for i in range(self.store.slots):
            blob = self.store.entries[i].blob
            if blob == NULL or not blob.tombstone:
                continue
            age = self.now - self.store.entries[i].changed
            if age > floor // 2 and self.store.entries[i].digested:
                self.anti_entropy.subtract(self.store.entries[i].name, self.store.entry_hash(i), self.anti_entropy.changed)
                self.store.entries[i].digested = 0
            if age > floor:
                self._drop_rumor(i)
        for i in range(1, self.table.rows):
            if self.table.states[i] != STATE_DEAD and self.table.states[i] != STATE_LEFT and self.table.states[i] != STATE_UNSEEN:
                continue
            age = self.now - self.table.since[i]
            if age > floor // 2:
                self._digest_out(i)
            if age > floor:
                self._forget(i)
        # Requests that the driver never answered.
        for request_id, entry in list(self.requests.items()):
            if self.now - entry[3] > _REQUEST_LIFETIME_US:
                del self.requests[request_id]
                self.counts[COUNT_REQUESTS_FAILED] += 1
                if entry[0] == _REQUEST_PULL:
                    self.pulls.failed(entry[1], entry[2], self.now)

    cdef void _drop_rumor(self, int32_t slot) noexcept:
        if self.store.entries[slot].digested:
            self.anti_entropy.subtract(self.store.entries[slot].name, self.store.entry_hash(slot), self.anti_entropy.changed)
        self.dissemination.remove(NEWS_RUMORS, slot)
        self.store.drop(slot)

    cdef void _forget(self, int32_t row) noexcept:
        """Forget a member for good, with the rumors that only it may write."""
        cdef int32_t slot
        cdef RumorBlob* blob
        for slot in range(self.store.slots):
            blob = self.store.entries[slot].blob
            if blob != NULL and rule_of(blob.kind) == RULE_OWNER and memcmp(blob.origin, self.table.ids[row].octets, 16) == 0:
                self._drop_rumor(slot)
        self._digest_out(row)
        self.suspicion.end(row)
        self.dissemination.remove(NEWS_MEMBERS, row)
        if self.table.states[row] != STATE_UNSEEN:
            self._member_event(row, CHANGE_FORGOTTEN, REASON_FLOOR, 0)
        if row < self.whys_capacity:
            free(self.whys[row])
            self.whys[row] = NULL
        self.table.forget(row)

    # ---------------------------------------------------------------- requests

    cdef void _request(self, int purpose, int slot, uint32_t generation, const Address* target, Writer* w) noexcept:
        # Keep a request for the driver; when there are too many the new one is dropped, counted.
        if w.full or len(self.requests) >= REQUESTS_MAX:
            self.counts[COUNT_REQUESTS_DROPPED] += 1
            if purpose == _REQUEST_PULL:
                self.pulls.failed(slot, generation, self.now)
            return
        self.request_id += 1
        self.counts[COUNT_REQUESTS_OUT] += 1
        self.requests[self.request_id] = (purpose, slot, generation, self.now)
        self.request_queue.append((self.request_id, address_bytes(target), (<const char*> w.start)[:w.size]))

    cdef void _sync_with(self, const Address* target, const uint8_t* bits, int32_t row) noexcept:
        """Exchange the entries of some buckets with a member; all of them, to join, when ``bits`` is NULL."""
        cdef uint8_t everything[BUCKET_MAP_BYTES]
        cdef Writer w
        cdef uint32_t count = 1
        cdef int purpose = _REQUEST_SYNC
        if bits == NULL:
            memset(everything, 0xFF, sizeof(everything))
            bits = everything
            purpose = _REQUEST_JOIN
        self.packets.now = self.now
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(&w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0])
        write_sync(&w, MSG_SYNC, bits)
        if purpose == _REQUEST_JOIN:
            # The card goes first, so that the other knows whom it talks to.
            count += self.packets.put_member(&w, 0)
        count += self.packets.put_entries(&w, bits, self.prng.draw_below(BUCKETS))
        finish_packet(&w, count)
        self._request(purpose, 0, 0, target, &w)
        writer_free(&w)

    cdef bytes _sync_body(self, bytes bits, int tag):
        cdef Writer w
        cdef uint32_t count = 1
        self.packets.now = self.now
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(&w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0])
        write_sync(&w, <Tag> tag, <const uint8_t*> (<const char*> bits))
        count += self.packets.put_entries(&w, <const uint8_t*> (<const char*> bits), self.prng.draw_below(BUCKETS))
        finish_packet(&w, count)
        try:
            return (<const char*> w.start)[:w.size]
        finally:
            writer_free(&w)

    cdef bytes _pull_answer(self, Message* m):
        """The body of a large rumor, in the version held now; b"" when it is not held."""
        cdef Writer w
        cdef int32_t slot
        if rule_of(m.kind) == RULE_NONE:
            return b""
        slot = self.store.find(<uint8_t> m.kind, m.key, m.key_size, m.origin)
        if slot < 0:
            self.counts[COUNT_REQUESTS_REFUSED] += 1
            return b""
        self.packets.now = self.now
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(&w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0])
        self.packets.put_rumor(&w, slot, True)
        finish_packet(&w, 1)
        try:
            return (<const char*> w.start)[:w.size]
        finally:
            writer_free(&w)

    cdef void _start_pulls(self) noexcept:
        cdef Writer w
        cdef Message m
        cdef Pull* pull
        cdef int slot
        cdef int32_t source
        cdef int64_t due
        while True:
            slot = self.pulls.next_start(self.now)
            if slot < 0:
                break
            pull = &self.pulls.slots[slot]
            source = pull.sources[pull.source_next]
            if self.table.generations[source] != pull.source_generations[pull.source_next] or self.table.states[source] > STATE_SUSPECT or pull.tries >= pull.source_count:
                # Its announcers are gone or had it not: somebody else may have it by now.
                source = self.table.random_live(self.prng)
            if source < 0:
                self.pulls.failed(slot, pull.generation, self.now)
                continue
            m.kind = pull.wanted.kind
            m.key = pull.wanted.data
            m.key_size = pull.wanted.key_size
            m.origin = pull.wanted.origin
            m.a = pull.wanted.a
            m.b = pull.wanted.b
            m.value_hash = pull.wanted.value_hash
            writer_init_growing(&w, STREAM_BYTES_MAX)
            write_wide_header(&w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0])
            write_pull(&w, &m)
            finish_packet(&w, 1)
            self._request(_REQUEST_PULL, slot, pull.generation, &self.table.addresses[source], &w)
            writer_free(&w)
        due = self.pulls.next_due()
        if due < self.pulls_armed:
            self.pulls_armed = due
            self.timers.arm(due, TIMER_PULLS, 0, 0)

    # ------------------------------------------------------------------ events

    cdef void _member_event(self, int32_t row, Change change, Reason reason, uint64_t other) noexcept:
        cdef EventRecord* record = self.events.push()
        if record == NULL:
            return
        record.what = EVENT_MEMBER
        record.code = change
        record.reason = reason
        record.other = other
        record.id = self.table.ids[row]
        record.address = self.table.addresses[row]
        record.state = self.table.states[row]
        record.epoch = self.table.epochs[row]
        record.incarnation = self.table.incarnations[row]
        record.version = self.table.versions[row]
        record.since = self.table.since[row]
        record.card = card_share(self.table.cards[row])

    cdef void _self_event(self, SelfCode code, uint64_t other, const Address* source) noexcept:
        # Cut off and reachable take turns by themselves; the others can be provoked from outside.
        cdef EventRecord* record
        if code != SELF_CUT_OFF and code != SELF_REACHABLE:
            if self.now - self.told_at[<int> code] < _SELF_EVENT_INTERVAL_US:
                return
            self.told_at[<int> code] = self.now
        record = self.events.push()
        if record == NULL:
            return
        record.what = EVENT_SELF
        record.code = code
        record.other = other
        if source != NULL:
            record.address = source[0]

    cdef void _note(self, int32_t row, uint8_t state, uint32_t incarnation, uint64_t accuser, Reason reason) noexcept:
        """Remember who said what about a member, the latest WHY_MAX."""
        cdef int32_t wanted
        cdef void* p
        cdef Why* entry
        if state == STATE_ALIVE and (row >= self.whys_capacity or self.whys[row] == NULL):
            return
        if row >= self.whys_capacity:
            wanted = self.table.capacity
            p = realloc(self.whys, wanted * sizeof(WhyRing*))
            if p == NULL:
                return
            self.whys = <WhyRing**> p
            memset(self.whys + self.whys_capacity, 0, (wanted - self.whys_capacity) * sizeof(WhyRing*))
            self.whys_capacity = wanted
        if self.whys[row] == NULL:
            self.whys[row] = <WhyRing*> calloc(1, sizeof(WhyRing))
            if self.whys[row] == NULL:
                return
        entry = &self.whys[row].entries[self.whys[row].count % WHY_MAX]
        self.whys[row].count += 1
        entry.at = self.now
        entry.accuser = accuser
        entry.reason = reason
        entry.state = state
        entry.incarnation = incarnation

    cdef void _own_card_changed(self) noexcept:
        self._digest_out(0)
        self.card_count += 1
        self.table.versions[0] = (<uint64_t> self.table.epochs[0] << 16) + self.card_count
        self._digest_in(0)
        self.table.flags[0] |= FLAG_NEWS_CARD
        self.dissemination.enqueue(NEWS_MEMBERS, 0)


cdef void _name_blob(RumorBlob* blob, Message* m) noexcept:
    blob.kind = <uint8_t> m.kind
    memcpy(blob.origin, m.origin, 16)
    blob.a = m.a
    blob.b = m.b


cdef str _why_text(Why* entry):
    state = MemberState(entry.state).name.lower()
    text = f"{entry.at / 1e6:.3f} s: {state} at incarnation {entry.incarnation}: {REASONS[<int> entry.reason]}"
    return f"{text}, by {short_text(entry.accuser)}" if entry.accuser else text


def _rumor_order(rumor):
    return rumor.kind, rumor.key, rumor.origin
