"""Stream exchanges that carry only what differs.

Who finds that buckets differ lists what it holds in them, 12 bytes an entry: its name and a part of
its hash. The other answers with the entries that are missing from the list or differ, and with the
names of those that it wants; these are pushed by a second exchange. So a card crosses the wire only
to who lacks it. A newcomer does the same over all buckets, with its own card in front: its list is
short, the answer is the snapshot.

While members come and go all the time no two digests agree, and most of what differs is on its way.
Then only what changed since the last comparison is listed and answered, a few hundred entries
instead of all; the caller compares everything every now and then.

The part of the hash that is listed changes with every comparison, so that two hashes that agree in
one part are told apart by the next. Never decides when to compare, nor what an entry is worth.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from sup_core.codec cimport (
    MSG_SYNC,
    Message,
    finish_packet,
    write_clock,
    write_compare,
    write_sync,
    write_synced,
    write_wide_header,
)
from sup_core.cursor cimport Writer, write_raw, writer_free, writer_init_growing
from sup_core.doubts cimport Doubts
from sup_core.exchanges cimport REQUEST_JOIN, REQUEST_PUSH, REQUEST_SYNC, Exchanges
from sup_core.identity cimport Address, bucket_of
from sup_core.limits cimport BUCKET_MAP_BYTES, BUCKETS, STREAM_BYTES_MAX
from sup_core.member_table cimport FLAG_DIGESTED, FLAG_LISTED, STATE_FREE, MemberTable
from sup_core.membership cimport Membership
from sup_core.packets cimport Packets
from sup_core.rumor_store cimport RumorStore

cdef enum:
    _LISTED_BYTES = 12
    _LISTED_FEW = 8
    # A body stays this far below its limit: one more entry of the largest kind always fits.
    _BODY_BYTES_MAX = 3500000
    # Names that are listed or wanted at most: their bytes leave most of a body to entries.
    _NAMES_MAX = 65536
    _DIGESTED = 1
    _LISTED = 2             # beside _DIGESTED in a store entry, while a list is compared


# Longer than a whole ring that starts again takes to find out that it is alone.
cdef int64_t _RUNNING_US = 90000000
cdef int64_t _EVER = -0x7FFFFFFFFFFFFFFF


cdef class Comparisons:
    """The comparing exchanges of one node."""

    def __cinit__(
            self, MemberTable table not None, RumorStore store not None, Packets packets not None,
            Membership membership not None, Exchanges exchanges not None, Doubts doubts not None
    ) -> None:
        self.table = table
        self.store = store
        self.packets = packets
        self.membership = membership
        self.exchanges = exchanges
        self.doubts = doubts
        self.prng = exchanges.prng
        self.ring = packets.ring

    cdef void ask(
            self, const Address* target, const uint8_t* bits, bint joins, int64_t window_us
    ) noexcept:
        """Compare the marked buckets with a member; all of them when ``bits`` is NULL.

        With a window only what changed within it is compared, 0 is everything.
        """
        cdef uint8_t everything[BUCKET_MAP_BYTES]
        cdef Writer w
        cdef Writer names
        cdef uint32_t count = 1
        cdef uint8_t shift = <uint8_t> self.prng.draw_below(33)
        if bits == NULL:
            memset(everything, 0xFF, sizeof(everything))
            bits = everything
        self.packets.now = self.now
        writer_init_growing(&names, STREAM_BYTES_MAX)
        self.listed = self._list(
            &names, bits, shift, self.now - window_us if window_us else _EVER, joins
        )
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(
            &w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0]
        )
        write_compare(
            &w, bits, shift, names.start, <uint32_t> names.size, <uint32_t> (window_us // 1000)
        )
        if joins:
            # In the place of its entry in the list: the other learns whom it talks to.
            count += self.packets.put_member(&w, 0)
        finish_packet(&w, count)
        self.exchanges.request(REQUEST_JOIN if joins else REQUEST_SYNC, 0, 0, target, &w)
        writer_free(&w)
        writer_free(&names)

    cdef uint32_t _list(
            self, Writer* w, const uint8_t* bits, int shift, int64_t after, int32_t first_row
    ) noexcept:
        # Name and part of the hash of what is held in the marked buckets and changed after a time.
        cdef uint32_t count = 0
        cdef uint32_t bucket
        cdef uint64_t hashed
        cdef int32_t i
        for i in range(first_row, self.table.rows):
            if (
                self.table.states[i] == STATE_FREE or not self.table.flags[i] & FLAG_DIGESTED
                or self.table.since(i) < after
            ):
                continue
            bucket = <uint32_t> bucket_of(self.table.short_id(i))
            if bits[bucket >> 3] & (1 << (bucket & 7)) and count < _NAMES_MAX:
                hashed = self.membership.row_hash(i, self.table.epochs[i])
                _write_listed(w, self.table.short_id(i), hashed, shift)
                count += 1
        for i in range(self.store.slots):
            if (
                self.store.entries[i].blob == NULL or not self.store.entries[i].digested
                or self.store.entries[i].changed < after
            ):
                continue
            bucket = <uint32_t> bucket_of(self.store.entries[i].name)
            if bits[bucket >> 3] & (1 << (bucket & 7)) and count < _NAMES_MAX:
                _write_listed(w, self.store.entries[i].name, self.store.entry_hash(i), shift)
                count += 1
        return count

    cdef int32_t _slot_of(self, uint64_t name) noexcept:
        cdef int32_t slot = self.store.index.find(name)
        if slot < 0 or self.store.entries[slot].blob == NULL:
            return -1
        return slot

    cdef bytes answer(self, Message* m, bint joins):
        """The entries that a list lacks or has otherwise, and the names wanted.

        A newcomer learns from who has run for long that its ring goes on.
        """
        cdef Writer w
        cdef Writer wanted
        cdef Writer entries
        cdef uint32_t count = 1
        cdef uint32_t at = 0
        cdef uint32_t wants = 0
        cdef int64_t after = _EVER
        cdef uint64_t name
        cdef uint64_t mine
        cdef uint64_t theirs
        cdef int32_t row
        cdef int32_t slot
        cdef int32_t i
        self.packets.now = self.now
        if m.window_ms:
            after = self.now - <int64_t> m.window_ms * 1000
        writer_init_growing(&wanted, STREAM_BYTES_MAX)
        writer_init_growing(&entries, STREAM_BYTES_MAX)
        while at + _LISTED_BYTES <= m.list_size:
            name = _read_word(m.list + at, 8)
            theirs = _read_word(m.list + at + 8, 4)
            at += _LISTED_BYTES
            mine = 0
            row = self.table.find(name)
            slot = -1
            if row >= 0 and self.table.flags[row] & FLAG_DIGESTED:
                self.table.flags[row] |= FLAG_LISTED
                mine = self.membership.row_hash(row, self.table.epochs[row])
            else:
                row = -1
                slot = self._slot_of(name)
                if slot >= 0 and self.store.entries[slot].digested:
                    self.store.entries[slot].digested |= _LISTED
                    mine = self.store.entry_hash(slot)
                else:
                    slot = -1
            if (row >= 0 or slot >= 0) and (mine >> m.shift) & 0xFFFFFFFF == theirs:
                continue
            if wants < _NAMES_MAX:
                _write_word(&wanted, name, 8)
                wants += 1
            if entries.size > _BODY_BYTES_MAX:
                continue
            if row >= 0:
                count += self.packets.put_known(&entries, row)
            elif slot >= 0:
                count += self.packets.put_rumor(&entries, slot, False)
        count += self._put_unlisted(
            &entries, m.bits, self.prng.draw_below(BUCKETS), after
        )
        for i in range(self.table.rows):
            self.table.flags[i] &= ~FLAG_LISTED
        for i in range(self.store.slots):
            self.store.entries[i].digested &= _DIGESTED
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(
            &w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0]
        )
        write_synced(&w, m.bits, wanted.start, <uint32_t> wanted.size)
        write_raw(&w, entries.start, entries.size)
        if joins and self.now - self.table.since(0) >= _RUNNING_US:
            write_clock(&w, 0, <uint64_t> (self.now - self.table.since(0)))
            count += 1
        finish_packet(&w, count)
        try:
            return (<const char*> w.start)[:w.size] if not w.full else b""
        finally:
            writer_free(&w)
            writer_free(&wanted)
            writer_free(&entries)

    cdef uint32_t _put_unlisted(
            self, Writer* w, const uint8_t* bits, uint32_t first, int64_t after
    ) noexcept:
        # From one bucket on and around: what does not fit comes with another comparison.
        cdef uint32_t count = 0
        cdef uint32_t lap
        cdef uint32_t bucket
        cdef int32_t i
        for lap in range(2):
            for i in range(self.table.rows):
                if (
                    self.table.states[i] == STATE_FREE
                    or self.table.flags[i] & (FLAG_DIGESTED | FLAG_LISTED) != FLAG_DIGESTED
                    or self.table.since(i) < after
                ):
                    continue
                bucket = <uint32_t> bucket_of(self.table.short_id(i))
                if (
                    (bucket < first) == (lap == 1) and bits[bucket >> 3] & (1 << (bucket & 7))
                    and w.size <= _BODY_BYTES_MAX
                ):
                    count += self.packets.put_known(w, i)
            for i in range(self.store.slots):
                if (
                    self.store.entries[i].blob == NULL
                    or self.store.entries[i].digested != _DIGESTED
                    or self.store.entries[i].changed < after
                ):
                    continue
                bucket = <uint32_t> bucket_of(self.store.entries[i].name)
                if (
                    (bucket < first) == (lap == 1) and bits[bucket >> 3] & (1 << (bucket & 7))
                    and w.size <= _BODY_BYTES_MAX
                ):
                    count += self.packets.put_rumor(w, i, False)
        return count

    cdef uint32_t put_named(self, Writer* w, uint64_t name) noexcept:
        """The entry of a name, if it is held: 1, else 0."""
        cdef int32_t row = self.table.find(name)
        cdef int32_t slot
        if row >= 0 and self.table.flags[row] & FLAG_DIGESTED:
            return self.packets.put_known(w, row)
        slot = self._slot_of(name)
        if slot >= 0 and self.store.entries[slot].digested:
            return self.packets.put_rumor(w, slot, False)
        return 0

    cdef void answered(self, Message* m, bint doubting) noexcept:
        """An answer begins: keep what it wants; its bytes must stay until ``push``.

        What the other wants it does not hold, or has otherwise; the latter it sends as well, and so
        takes the doubt away.
        """
        cdef uint32_t at = 0
        cdef int32_t row
        self.wanted = m.list
        self.wanted_size = m.list_size
        while doubting and at + 8 <= m.list_size:
            row = self.table.find(_read_word(m.list + at, 8))
            if row > 0:
                self.doubts.missed(row, self.now)
            at += 8

    cdef bint wants_most(self) noexcept:
        """Whether the other holds so little that it has just started; of a short list that says
        nothing.
        """
        return self.listed > _LISTED_FEW and self.wanted_size // 8 > self.listed // 2

    cdef void push(self, const Address* target) noexcept:
        """Give a member the entries that its answer wants."""
        cdef uint8_t none[BUCKET_MAP_BYTES]
        cdef Writer w
        cdef uint32_t count = 1
        cdef uint32_t at = 0
        self.packets.now = self.now
        memset(none, 0, sizeof(none))
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(
            &w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0]
        )
        write_sync(&w, MSG_SYNC, none)
        while at + 8 <= self.wanted_size and w.size <= _BODY_BYTES_MAX:
            count += self.put_named(&w, _read_word(self.wanted + at, 8))
            at += 8
        finish_packet(&w, count)
        if count > 1:
            self.exchanges.request(REQUEST_PUSH, 0, 0, target, &w)
        writer_free(&w)


cdef void _write_word(Writer* w, uint64_t value, int width) noexcept:
    cdef uint8_t raw[8]
    cdef int i
    for i in range(width):
        raw[i] = <uint8_t> (value >> (8 * (width - 1 - i)))
    write_raw(w, raw, width)


cdef uint64_t _read_word(const uint8_t* raw, int width) noexcept:
    cdef uint64_t value = 0
    cdef int i
    for i in range(width):
        value = (value << 8) | raw[i]
    return value


cdef void _write_listed(Writer* w, uint64_t name, uint64_t entry_hash, int shift) noexcept:
    _write_word(w, name, 8)
    _write_word(w, (entry_hash >> shift) & 0xFFFFFFFF, 4)
