"""The gossip node: one member of one ring, a state machine without I/O.

Bytes, integers and ``now`` come in through ``handle_*``; datagrams, requests, events and the next
deadline go out through ``poll_*`` and ``next_timeout``, drained after every input. Same seed and
same inputs, same outputs byte for byte.

Here is what Python calls: arguments are checked, values are made. What is done with them is in
`sup_core.protocol`; drivers in C use its ``receive``, ``transmit``, ``timeout`` and ``next_due``.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset
from sup_core.blobs cimport RumorBlob, rumor_drop
from sup_core.card_pool cimport Card, card_drop
from sup_core.codec cimport (
    MSG_COMPARE,
    MSG_PULL,
    MSG_SYNC,
    MSG_SYNCED,
    Header,
    Message,
    read_header,
    read_message,
)
from sup_core.counters cimport *
from sup_core.cursor cimport Reader, reader_init
from sup_core.dissemination cimport NEWS_MEMBERS
from sup_core.effects cimport *
from sup_core.event_queue cimport *
from sup_core.exchanges cimport REQUEST_JOIN, REQUEST_PULL
from sup_core.identity cimport (
    ADDRESS_BYTES,
    Address,
    address_bytes,
    address_equal,
    address_read,
    short_of,
)
from sup_core.limits cimport *
from sup_core.member_table cimport *
from sup_core.protocol cimport Protocol
from sup_core.settings cimport settings_read
from sup_core.timers cimport *
from sup_core.views cimport card_bytes, event_view, member_view, rumor_view

from sup_core.counters import NAMES as _COUNT_NAMES
from sup_core.errors import LimitError, SnapshotError
from sup_core.events import SelfEvent
from sup_core.identity import ring_hash

cdef enum:
    # A snapshot is believed only by who has just started.
    _SNAPSHOT_AGE_US = 10000000


cdef bint _address_of(object data, Address* out) except -1:
    if not isinstance(data, bytes) or len(data) != ADDRESS_BYTES:
        raise ValueError(f"address {data!r} is not {ADDRESS_BYTES} bytes")
    address_read(out, <const uint8_t*> (<const char*> (<bytes> data)))
    return True


cdef class Node(Protocol):
    """One member of one ring."""

    def __init__(
            self, config, *, member_id, name, ring, address, epoch, incarnation=0, seed, now,
            wall_us=0, tags=None, cards=None
    ):
        """Start a member that knows nobody.

        ``cards`` is the pool that the nodes of one process share; None makes an own one.

        Raises:
            ValueError: an argument is over its bound.
        """
        cdef bytes data
        cdef Address own
        cdef Card* card
        if not isinstance(member_id, bytes) or len(member_id) != 16:
            raise ValueError(f"member_id {member_id!r} is not 16 bytes")
        if not 0 < len(ring.encode()) <= RING_BYTES_MAX:
            raise LimitError(
                f"ring name is {len(ring.encode())} bytes, allowed are 1..{RING_BYTES_MAX}"
            )
        if not 0 <= epoch < 1 << 32 or not 0 <= incarnation < 1 << 32:
            raise LimitError(f"epoch {epoch} or incarnation {incarnation} is outside 0..2^32-1")
        settings_read(&self.settings, config)
        self.ring = <uint64_t> ring_hash(ring)
        _address_of(address, &own)
        data = card_bytes(name, tags or {})
        self._assemble(seed, cards)
        self.expiry_armed = 0x7FFFFFFFFFFFFFFF
        self.table.at(now)
        card = self.table.pool.intern(
            <const uint8_t*> (<const char*> (<bytes> member_id)), &own, <uint64_t> epoch << 16,
            <const uint8_t*> (<const char*> data), <uint32_t> len(data)
        )
        if card == NULL or self.table.add(card, now) != 0:
            card_drop(card)
            raise MemoryError
        self.table.epochs[0] = epoch
        self.table.incarnations[0] = incarnation
        self.table.set_state(0, STATE_ALIVE, now)
        self._at(now)
        self.read_at = now
        self.stamps.set_wall(wall_us, now)
        self.membership.digest_in(0)
        # De-phased: members started together must not probe together.
        self.timers.arm(
            now + self.prng.draw_below(<uint32_t> self.settings.probe_interval_us), TIMER_PERIOD, 0,
            0
        )
        self.timers.arm(now + self._sweep_interval(), TIMER_SWEEP, 0, 0)

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
        self._at(now)
        self.tally.counts[COUNT_REQUESTS_IN] += 1
        if len(raw) > STREAM_BYTES_MAX:
            self.tally.counts[COUNT_OVERSIZE] += 1
            return b""
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if not self._header(&r, &header, &address):
            return b""
        if header.count < 1 or not read_message(&r, &m):
            self.tally.counts[COUNT_MALFORMED] += 1
            return b""
        row = self.table.find(header.sender)
        answer = b""
        if m.tag == MSG_SYNC:
            bits = (<const char*> m.bits)[:BUCKET_MAP_BYTES]
            self._messages(&r, header.count - 1, row, &address, SOURCE_SYNC)
            answer = self.exchanges.sync_body(bits, MSG_SYNCED)
        elif m.tag == MSG_COMPARE:
            answer = self._compared(&r, &m, &header, row, &address)
        elif m.tag == MSG_PULL:
            answer = self.exchanges.pull_answer(&m)
        else:
            self.tally.counts[COUNT_UNKNOWN_MESSAGE] += 1
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
        self._at(now)
        entry = self.exchanges.waiting.pop(request_id, None)
        if entry is None:
            return
        purpose, slot, generation, _, server = entry
        if data is None or len(data) == 0 or len(data) > STREAM_BYTES_MAX:
            self.tally.counts[COUNT_REQUESTS_FAILED] += 1
            if purpose == REQUEST_PULL:
                self.pulls.failed(slot, generation, now)
            elif purpose == REQUEST_JOIN and not self.newcomer.settled:
                self.newcomer.failed(now)
            self._settle()
            return
        raw = data
        memset(&nowhere, 0, sizeof(nowhere))
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if self._header(&r, &header, &nowhere):
            row = self.table.find(header.sender)
            how = SOURCE_SYNC
            if purpose == REQUEST_JOIN:
                # Only who has just started has nothing to compare with; later it is a sync.
                young = now - self.table.since(0) <= _SNAPSHOT_AGE_US
                how = SOURCE_SNAPSHOT if young and not self.newcomer.settled else SOURCE_SYNC
                self.newcomer.settled = True
            self.comparisons.wanted = NULL
            self._messages(&r, header.count, row, &nowhere, how)
            self._unmentioned(len(raw), header.count)
            if self.comparisons.wanted != NULL:
                _address_of(server, &nowhere)
                self.comparisons.push(&nowhere)
        if purpose == REQUEST_PULL:
            # A body that came ended the pull; else the source had something else.
            self.pulls.failed(slot, generation, now)
        self._settle()

    def join(self, addresses, now):
        """Replace the seeds: contacted for ever, with growing waits and jitter, until known alive.
        """
        cdef Address address
        cdef list checked = list(addresses)
        self._at(now)
        if len(checked) > SEEDS_MAX:
            raise LimitError(f"there are {len(checked)} seeds, limit is {SEEDS_MAX}")
        for data in checked:
            _address_of(data, &address)
        self.seeds.clear()
        for data in checked:
            _address_of(data, &address)
            if not address_equal(&address, self.table.address(0)):
                if not self.seeds.add(&address, self.now):
                    raise MemoryError
        self.seeds.due(self.now)
        self._settle()

    def leave(self, now):
        """Tell the ring that this member leaves; ``has_left`` says when enough of it knows."""
        self._at(now)
        if self.membership.leaving:
            return
        self.membership.leaving = True
        self.left_at = now + self.settings.leave_timeout_us
        self.membership.digest_out(0)
        self.table.set_state(0, STATE_LEFT, now)
        self.membership.digest_in(0)
        self.dissemination.enqueue(NEWS_MEMBERS, 0)
        self.dissemination.last_tick = now - self.settings.gossip_interval_us
        self._settle()

    def publish(self, kind, key, value, now, ttl_us=0):
        """Write a rumor of this member's, for ``ttl_us``; 0 is for ever, or until it is retracted.

        What has lived out is gone everywhere, told like a retraction. The next version, with a life
        or without, brings the key back.

        Raises:
            ValueError: the kind is unknown, or key, value, life or this member's quota is over its
                bound, or the kind only grows and has no life.
        """
        if value is None:
            raise ValueError("value is None; use retract")
        self._at(now)
        version = self.rumor_rules.publish(kind, key, value, ttl_us)
        self._settle()
        return version

    def retract(self, kind, key, now):
        """Retract a rumor: a tombstone that outranks what is held."""
        if 128 <= kind <= 191:
            raise ValueError(f"kind {kind} only grows, it cannot be retracted")
        self._at(now)
        version = self.rumor_rules.publish(kind, key, None, 0)
        self._settle()
        return version

    def set_address(self, address, now):
        """Change the address that others reach this member at."""
        cdef Address own
        cdef Card* held = self.table.cards[0]
        self._at(now)
        _address_of(address, &own)
        if not self.membership.renew_own_card(&own, held.data, held.size):
            raise MemoryError
        self._settle()

    def set_tags(self, tags, now):
        """Replace the tags of this member's card."""
        cdef bytes data
        self._at(now)
        data = card_bytes(member_view(self.table, 0).name, tags)
        if not self.membership.renew_own_card(
            self.table.address(0), <const uint8_t*> (<const char*> data), <uint32_t> len(data)
        ):
            raise MemoryError
        self._settle()

    def set_wall(self, wall_us, now):
        """Say what the wall clock shows, for stamps only."""
        self._at(now)
        self.stamps.set_wall(wall_us, self.now)

    def load(self, snapshot, now):
        """Take an own snapshot: rumors are restored, members contacted but not believed.

        One that is older than the tombstone floor may hold what was retracted and forgotten since.
        Of it only own rumors, and those that only grow, are restored; the others are dropped as
        soon as somebody who has been running gives this member a snapshot, and restored after a
        minute when nobody does: then the whole ring was down.

        Raises:
            SnapshotError: it is none, or of another ring; nothing is changed in the former case.
        """
        cdef Reader r
        cdef Header header
        cdef bytes raw = snapshot
        self._at(now)
        reader_init(&r, <const uint8_t*> (<const char*> raw), len(raw))
        if len(raw) > SNAPSHOT_BYTES_MAX or not read_header(&r, &header):
            raise SnapshotError(f"the {len(raw)} bytes are no snapshot")
        if header.ring != self.ring:
            raise SnapshotError("the snapshot is of another ring")
        before = self.tally.counts[COUNT_MALFORMED]
        away = self._away(raw)
        if away > self.settings.tombstone_floor_us:
            self.aside = raw
            self.aside_at = self.now if self.now > 0 else 1
            self.aside_away = away
        self._restore(raw, away, away > self.settings.tombstone_floor_us)
        self._settle()
        if self.tally.counts[COUNT_MALFORMED] != before:
            raise SnapshotError("the snapshot is damaged; what came before the damage was restored")

    def snapshot(self):
        """All rumors, tombstones included, and the cards of all members, as bytes for ``load``.

        While it is open whether an old snapshot counts, that one: nothing of it is lost meanwhile.
        """
        if self.aside_at:
            return self.aside
        self.aside = None
        return self.exchanges.snapshot_body(self.stamps.wall_now(self.now))

    def poll_transmit(self):
        """The next (address, datagram), None when there is none."""
        cdef uint8_t buffer[DATAGRAM_BYTES_MAX]
        cdef Address target
        cdef Py_ssize_t size = self.outbox.pop(buffer, &target)
        if size == 0:
            return None
        return address_bytes(&target), (<const char*> buffer)[:size]

    def poll_request(self):
        """The next (request id, address, bytes) to exchange over a stream, None when there is none.
        """
        if not self.exchanges.queue:
            return None
        return self.exchanges.queue.pop(0)

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
        """All rumors that are not retracted, of one kind if it is given, ordered by kind, key and
        origin.
        """
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
        """One rumor that is not retracted. An owner kind needs its origin; without one it is this
        member's.
        """
        cdef bytes raw_key = key
        cdef bytes raw_origin = origin
        cdef int32_t slot
        if origin is None:
            raw_origin = (<const char*> self.table.id_of(0))[:16]
        if not 0 < kind < 256 or len(raw_key) > KEY_BYTES_MAX or len(raw_origin) != 16:
            return None
        slot = self.store.find(
            kind, <const uint8_t*> (<const char*> raw_key), <uint32_t> len(raw_key),
            <const uint8_t*> (<const char*> raw_origin)
        )
        if slot < 0 or self.store.entries[slot].blob.tombstone:
            return None
        return rumor_view(self.store.entries[slot].blob)

    def counters(self):
        """What was counted since the start, by name, with the sizes of the stores."""
        found = {name: self.tally.counts[i] for i, name in enumerate(_COUNT_NAMES)}
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
        found["rumors_expired"] = self.rumor_rules.expired
        found["rumors_orphaned"] = self.rumor_rules.orphans
        found["members_live"] = self.table.live_count + 1
        found["members_held"] = self.flaps.held_count
        found["hold_longest_us"] = self.flaps.hold_longest
        found["members_rows"] = self.table.rows - self.table.free_count
        found["rto_us"] = self.detector.rto()
        found["news_dropped_members"] = self.dissemination.dropped[0]
        found["news_dropped_rumors"] = self.dissemination.dropped[1]
        found["snapshots_refused"] = self.newcomer.refused
        found["snapshot_tries_failed"] = self.newcomer.tries
        found["news_members"] = self.dissemination.lanes[0].count
        found["news_rumors"] = self.dissemination.lanes[1].count
        return found

    def digest(self):
        """Eight bytes over all members and rumors; equal on members that hold the same."""
        return self.anti_entropy.digest

    def has_left(self):
        """Whether ``leave`` was called and enough members know, or the wait is over."""
        if not self.membership.leaving:
            return False
        if self.table.live_count == 0 or self.now >= self.left_at:
            return True
        # Row 0 is this member; its item leaves the lane when it was told often enough.
        return (
            self.dissemination.lanes[0].count == 0
            or not self.dissemination.queued(NEWS_MEMBERS, 0)
        )

    def why(self, id):
        """The latest suspicions and verdicts about a member, oldest first, one line each."""
        return [f"{at / 1e6:.3f} s: {text}" for at, text in self.evidence_about(id)]

    def evidence_about(self, id):
        """The same as pairs of this node's clock and the line without it."""
        return self.membership.why(self._row_of(id))

    def local_health(self):
        """0 (well) to 7: how far this member distrusts itself."""
        return self.health.score

    cdef int32_t _row_of(self, object id) except -2:
        cdef int32_t row
        if not isinstance(id, bytes) or len(id) != 16:
            return -1
        row = self.table.find(short_of(<const uint8_t*> (<const char*> (<bytes> id))))
        if row >= 0 and memcmp(self.table.id_of(row), <const char*> (<bytes> id), 16) != 0:
            return -1
        return row


def _rumor_order(rumor):
    return rumor.kind, rumor.key, rumor.origin
