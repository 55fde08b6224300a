"""Packets under construction: which messages go into one datagram or one stream body.

Encodes rows and slots as they are now, fills what a packet has left with news (the two lanes
share it by deficit round robin), and hands finished datagrams to the outbox. Never decides
whether to send.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from sup_core.blobs cimport RumorBlob, rumor_value
from sup_core.codec cimport (
    Message,
    finish_packet,
    write_header,
    write_member,
    write_rumor,
    write_rumor_header,
    write_status,
)
from sup_core.cursor cimport Writer, writer_init
from sup_core.dissemination cimport NEWS_CLASSES, NEWS_MEMBERS, Dissemination
from sup_core.identity cimport Address, bucket_of
from sup_core.limits cimport DATAGRAM_BYTES_MAX, INLINE_BYTES_MAX, YOUNG_S_MAX
from sup_core.member_table cimport (
    FLAG_DIGESTED,
    FLAG_NEWS_CARD,
    STATE_ALIVE,
    STATE_DEAD,
    STATE_FREE,
    STATE_LEFT,
    STATE_SUSPECT,
    STATE_UNSEEN,
    MemberTable,
)
from sup_core.outbox cimport Outbox
from sup_core.rumor_store cimport RumorStore
from sup_core.suspicion cimport Suspicion

cdef enum:
    # A lane's share per turn; a card with tags or a typical rumor fits within two turns.
    _QUANTUM_BYTES = 300
    # A stream body stays this far below its limit: one more entry of the largest kind always fits.
    _BODY_BYTES_MAX = 3500000


cdef int64_t _YOUNG_US = YOUNG_S_MAX * 1000000

# One buffer for all nodes of the process: a packet is begun, filled and handed to the outbox
# within one call into one node, and such a call never lets go of the interpreter's lock.
cdef uint8_t _datagram[DATAGRAM_BYTES_MAX]


cdef class Packets:
    """Builds the packets of one node, one at a time."""

    def __cinit__(
            self, MemberTable table not None, RumorStore store not None,
            Dissemination dissemination not None, Suspicion suspicion not None,
            Outbox outbox not None, ring: int
    ) -> None:
        self.table = table
        self.store = store
        self.dissemination = dissemination
        self.suspicion = suspicion
        self.outbox = outbox
        self.ring = <uint64_t> ring
        self.buffer = _datagram

    cdef void open(self, int64_t now) noexcept:
        """Begin a datagram."""
        self.now = now
        self.messages = 0
        writer_init(&self.w, self.buffer, DATAGRAM_BYTES_MAX)
        write_header(
            &self.w, self.ring, self.table.short_id(0), self.table.epochs[0],
            self.table.incarnations[0]
        )

    cdef void send(self, const Address* target) noexcept:
        """Finish the datagram and queue it; it may be sent to several targets."""
        finish_packet(&self.w, self.messages)
        if self.outbox.push(target, self.buffer, self.w.size):
            self.sent_packets += 1
            self.sent_bytes += self.w.size

    cdef void status(self, int32_t row) noexcept:
        """Add what is held of a member."""
        if self.put_status(&self.w, row):
            self.messages += 1

    cdef bint member(self, int32_t row) noexcept:
        """Add a member with its card."""
        if self.put_member(&self.w, row):
            self.messages += 1
            return True
        return False

    cdef bint put_status(self, Writer* w, int32_t row) noexcept:
        cdef size_t size = w.size
        cdef uint8_t state = self.table.told(row)
        cdef uint64_t accuser
        if state >= STATE_UNSEEN:
            return False
        if state == STATE_DEAD:
            accuser = self.membership.declarer(row)
        else:
            accuser = self.suspicion.accuser(row)
        write_status(w, self.table.short_id(row), state, self.table.epochs[row],
                     self.table.incarnations[row], accuser)
        return _kept(w, size)

    cdef bint put_member(self, Writer* w, int32_t row) noexcept:
        """A member with its card, as news."""
        return self._put_card(w, row, 0)

    cdef bint put_known(self, Writer* w, int32_t row) noexcept:
        """A member with its card, and with how long this one has known it, if that is short."""
        cdef int64_t age_us = self.now - self.table.since(row)
        if row == 0 or age_us < 0:
            age_us = 0
        # A suspect's time is that of the suspicion: it says nothing about the last sign of life.
        if self.table.states[row] != STATE_ALIVE or age_us >= _YOUNG_US:
            return self._put_card(w, row, 0)
        return self._put_card(w, row, 1 + _age_s(age_us))

    cdef bint _put_card(self, Writer* w, int32_t row, uint32_t age_s) noexcept:
        cdef Message m
        cdef size_t size = w.size
        cdef uint8_t state = self.table.told(row)
        if state == STATE_FREE:
            return False
        # A suspicion is not told by card: who only reads it would count as an accuser.
        m.state = state if state == STATE_DEAD or state == STATE_LEFT else <uint8_t> STATE_ALIVE
        m.id = self.table.id_of(row)
        m.epoch = self.table.epochs[row]
        m.incarnation = self.table.incarnations[row]
        m.version = self.table.version(row)
        m.address = self.table.cards[row].address
        m.card = self.table.cards[row].data
        m.card_size = self.table.cards[row].size
        m.age_s = age_s
        if m.state != STATE_ALIVE:
            m.age_s = _age_s(self.now - self.table.since(row))
        write_member(w, &m)
        return _kept(w, size)

    cdef bint put_rumor(self, Writer* w, int32_t slot, bint whole) noexcept:
        """A rumor, or only its header when it is large and not wanted ``whole``."""
        cdef Message m
        cdef size_t size = w.size
        cdef RumorBlob* blob = self.store.entries[slot].blob
        cdef int64_t expires = self.store.entries[slot].expires
        if blob == NULL or (expires and blob.tombstone):
            return False
        m.kind = blob.kind
        m.key = blob.data
        m.key_size = blob.key_size
        m.origin = blob.origin
        m.a = blob.a
        m.b = blob.b
        m.value = rumor_value(blob)
        m.value_size = blob.value_size
        m.value_hash = blob.value_hash
        m.age_s = 0
        if blob.tombstone:
            m.age_s = _age_s(self.now - self.store.entries[slot].changed)
        m.life_ms = 0
        if expires:
            m.life_ms = _life_ms(expires - self.now)
        if blob.value_size > INLINE_BYTES_MAX and not whole:
            write_rumor_header(w, &m)
        else:
            write_rumor(w, &m)
        return _kept(w, size)

    cdef int fill(self) noexcept:
        """Fill the datagram with news, the lanes in turns; give the number of items."""
        cdef Dissemination news = self.dissemination
        cdef int idle = 0
        cdef int items = 0
        cdef int lane
        cdef int32_t index
        cdef size_t size
        cdef bint fits
        if not news.pending():
            return 0
        while idle < NEWS_CLASSES:
            lane = news.turn
            news.turn = (news.turn + 1) % NEWS_CLASSES
            if news.lanes[lane].count == 0:
                # An idle lane saves nothing up.
                news.lanes[lane].deficit = 0
                idle += 1
                continue
            if news.lanes[lane].deficit < _QUANTUM_BYTES:
                news.lanes[lane].deficit += _QUANTUM_BYTES
            fits = True
            while news.lanes[lane].deficit > 0 and news.pick(lane, &index):
                size = self.w.size
                if lane == NEWS_MEMBERS:
                    # A card would show a suspect as alive to who has forgotten it.
                    if (
                        self.table.flags[index] & FLAG_NEWS_CARD
                        and self.table.states[index] != STATE_SUSPECT
                    ):
                        fits = self.put_member(&self.w, index)
                    else:
                        fits = self.put_status(&self.w, index)
                else:
                    fits = self.put_rumor(&self.w, index, False)
                if not fits:
                    news.put_back()
                    if self.messages == 0:
                        # It does not even fit an empty packet, or is gone: never let it block the
                        # lane.
                        news.remove(lane, index)
                        fits = True
                        continue
                    break
                items += 1
                self.messages += 1
                news.lanes[lane].deficit -= <int64_t> (self.w.size - size)
            if not fits:
                # The packet is full for this lane; the other may have something smaller.
                idle += 1
                continue
            idle = 0 if news.lanes[lane].count else 1
            if news.picked_count >= 256:
                break
        return items

    cdef uint32_t put_entries(self, Writer* w, const uint8_t* bits, uint32_t first_bucket) noexcept:
        """Write the digested entries of the marked buckets, headers for large rumors; count them.

        Starts at ``first_bucket`` and wraps: when not everything fits, the next exchange with
        another start gets the rest.
        """
        cdef uint32_t count = 0

        cdef uint32_t lap
        cdef int32_t i
        cdef uint32_t bucket
        # Two laps over the entries: the buckets from the first one up, then those below it.
        for lap in range(2):
            for i in range(self.table.rows):
                if self.table.states[i] == STATE_FREE or not self.table.flags[i] & FLAG_DIGESTED:
                    continue
                bucket = <uint32_t> bucket_of(self.table.short_id(i))
                if (
                    (bucket < first_bucket) != (lap == 1)
                    or not bits[bucket >> 3] & (1 << (bucket & 7))
                ):
                    continue
                if w.size > _BODY_BYTES_MAX:
                    return count
                if self.put_known(w, i):
                    count += 1
            for i in range(self.store.slots):
                if self.store.entries[i].blob == NULL or not self.store.entries[i].digested:
                    continue
                bucket = <uint32_t> bucket_of(self.store.entries[i].name)
                if (
                    (bucket < first_bucket) != (lap == 1)
                    or not bits[bucket >> 3] & (1 << (bucket & 7))
                ):
                    continue
                if w.size > _BODY_BYTES_MAX:
                    return count
                if self.put_rumor(w, i, False):
                    count += 1
        return count


cdef bint _kept(Writer* w, size_t size) noexcept:
    # Whether the last message fitted; if not it is taken back.
    if w.full:
        w.size = size
        w.full = False
        return False
    return True


cdef uint32_t _life_ms(int64_t life_us) noexcept:
    # Never 0; rounded down, so that relays do not lengthen it.
    if life_us < 1000:
        return 1
    return <uint32_t> (life_us // 1000)


cdef uint32_t _age_s(int64_t age_us) noexcept:
    if age_us < 0:
        return 0
    age_us //= 1000000
    return <uint32_t> age_us if age_us < 0x7FFFFFFF else 0x7FFFFFFF
