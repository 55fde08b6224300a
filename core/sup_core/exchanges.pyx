"""Stream exchanges: the requests this node wants made, and the bodies it answers with.

Four kinds: a comparison of some buckets, the same of all buckets to join, what the other wanted
after that (both are made in ``comparisons``), and the pull of a large rumor. The driver opens the
streams; at most REQUESTS_MAX are out, the newest is dropped and counted.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from sup_core.codec cimport (
    Message,
    Tag,
    finish_packet,
    write_clock,
    write_pull,
    write_sync,
    write_wide_header,
)
from sup_core.counters cimport *
from sup_core.cursor cimport Writer, writer_free, writer_init_growing
from sup_core.identity cimport Address, address_bytes
from sup_core.kinds cimport RULE_NONE, rule_of
from sup_core.limits cimport (
    BUCKETS,
    REQUESTS_MAX,
    SNAPSHOT_BYTES_MAX,
    STREAM_BYTES_MAX,
)
from sup_core.member_table cimport STATE_SUSPECT, MemberTable
from sup_core.packets cimport Packets
from sup_core.pulls cimport Pull, Pulls
from sup_core.rumor_store cimport RumorStore
from sup_core.timers cimport TIMER_PULLS, Timers

# Above the driver's deadlines for connecting, asking and answering together.
cdef int64_t _REQUEST_LIFETIME_US = 20000000


cdef class Exchanges:
    """The stream exchanges of one node."""

    def __cinit__(
            self, MemberTable table not None, RumorStore store not None, Packets packets not None,
            Pulls pulls not None, Timers timers not None, Tally tally not None
    ) -> None:
        self.table = table
        self.store = store
        self.packets = packets
        self.ring = packets.ring
        self.pulls = pulls
        self.prng = pulls.prng
        self.timers = timers
        self.tally = tally
        self.pulls_armed = 0x7FFFFFFFFFFFFFFF
        self.waiting = {}
        self.queue = []         # REQUESTS_MAX at most; an empty deque is ten times as large

    cdef void request(
            self, int purpose, int slot, uint32_t generation, const Address* target, Writer* w
    ) noexcept:
        # Keep a request for the driver; when there are too many the new one is dropped, counted.
        # The queue is counted too: who waits is given up, what no driver took stays in it.
        if w.full or len(self.waiting) >= REQUESTS_MAX or len(self.queue) >= REQUESTS_MAX:
            self.tally.counts[COUNT_REQUESTS_DROPPED] += 1
            if purpose == REQUEST_PULL:
                self.pulls.failed(slot, generation, self.now)
            return
        self.request_id += 1
        self.tally.counts[COUNT_REQUESTS_OUT] += 1
        self.waiting[self.request_id] = (
            purpose, slot, generation, self.now, address_bytes(target)
        )
        self.queue.append((
            self.request_id, address_bytes(target), (<const char*> w.start)[:w.size]
        ))

    cdef bytes sync_body(self, bytes bits, int tag):
        cdef Writer w
        cdef uint32_t count = 1
        self.packets.now = self.now
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(
            &w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0]
        )
        write_sync(&w, <Tag> tag, <const uint8_t*> (<const char*> bits))
        count += self.packets.put_entries(
            &w, <const uint8_t*> (<const char*> bits), self.prng.draw_below(BUCKETS)
        )
        finish_packet(&w, count)
        try:
            return (<const char*> w.start)[:w.size]
        finally:
            writer_free(&w)

    cdef bytes pull_answer(self, Message* m):
        """The body of a large rumor, in the version held now; b"" when it is not held."""
        cdef Writer w
        cdef int32_t slot
        if rule_of(m.kind) == RULE_NONE:
            return b""
        slot = self.store.find(<uint8_t> m.kind, m.key, m.key_size, m.origin)
        if slot < 0 or (
            self.store.entries[slot].expires and self.store.entries[slot].blob.tombstone
        ):
            self.tally.counts[COUNT_REQUESTS_REFUSED] += 1
            return b""
        self.packets.now = self.now
        writer_init_growing(&w, STREAM_BYTES_MAX)
        write_wide_header(
            &w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0]
        )
        self.packets.put_rumor(&w, slot, True)
        finish_packet(&w, 1)
        try:
            return (<const char*> w.start)[:w.size]
        finally:
            writer_free(&w)

    cdef void start_pulls(self) noexcept:
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
            if (
                self.table.generations[source] != pull.source_generations[pull.source_next]
                or self.table.states[source] > STATE_SUSPECT
                or pull.tries >= pull.source_count
            ):
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
            write_wide_header(
                &w, self.ring, self.table.short_id(0), self.table.epochs[0],
                self.table.incarnations[0]
            )
            write_pull(&w, &m)
            finish_packet(&w, 1)
            self.request(REQUEST_PULL, slot, pull.generation, self.table.address(source), &w)
            writer_free(&w)
        due = self.pulls.next_due()
        if due < self.pulls_armed:
            self.pulls_armed = due
            self.timers.arm(due, TIMER_PULLS, 0, 0)

    cdef bint joining(self) noexcept:
        """Whether a snapshot is under way."""
        for entry in self.waiting.values():
            if entry[0] == REQUEST_JOIN:
                return True
        return False

    cdef bytes snapshot_body(self, uint64_t wall_us):
        """All rumors whole, tombstones included, and all cards; what ``Node.load`` takes.

        The last message is the wall clock, when that is known.
        """
        cdef Writer w
        cdef uint32_t count = 0
        cdef int32_t i
        self.packets.now = self.now
        writer_init_growing(&w, SNAPSHOT_BYTES_MAX)
        write_wide_header(
            &w, self.ring, self.table.short_id(0), self.table.epochs[0], self.table.incarnations[0]
        )
        for i in range(1, self.table.rows):
            count += self.packets.put_member(&w, i)
        for i in range(self.store.slots):
            count += self.packets.put_rumor(&w, i, True)
        if wall_us:
            write_clock(&w, wall_us, 0)
            count += 1
        finish_packet(&w, count)
        try:
            return (<const char*> w.start)[:w.size]
        finally:
            writer_free(&w)

    cdef void expire(self) noexcept:
        """Give up requests that the driver never answered."""
        for request_id, entry in list(self.waiting.items()):
            if self.now - entry[3] > _REQUEST_LIFETIME_US:
                del self.waiting[request_id]
                self.tally.counts[COUNT_REQUESTS_FAILED] += 1
                if entry[0] == REQUEST_PULL:
                    self.pulls.failed(entry[1], entry[2], self.now)
