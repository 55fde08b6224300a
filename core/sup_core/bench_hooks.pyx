"""What a benchmark needs at the level of C: packets made and timed, events counted.

``PacketBench`` makes datagrams as other members would send them, hands them to a node and takes
its answers in a loop of C, so that the times it gives hold no Python call and the allocation tests
see only what the node does. ``Watch`` drains the events of many nodes into counts and marks,
without a Python value per event. Never used by a member of a ring.
"""
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from sup_core.blobs cimport rumor_drop
from sup_core.card_pool cimport card_drop
from sup_core.codec cimport (
    Message,
    finish_packet,
    write_header,
    write_member,
    write_ping,
    write_status,
)
from sup_core.counters cimport COUNT_RUMOR_STALE
from sup_core.cursor cimport Writer, writer_init
from sup_core.dissemination cimport NEWS_MEMBERS
from sup_core.event_queue cimport (
    CHANGE_DIED,
    CHANGE_SUSPECTED,
    EVENT_MEMBER,
    EVENT_RUMOR,
    EventRecord,
)
from sup_core.identity cimport Address, short_of
from sup_core.limits cimport DATAGRAM_BYTES_MAX
from sup_core.member_table cimport FLAG_NEWS_CARD, STATE_ALIVE
from sup_core.node cimport Node
from sup_core.prng cimport Prng
from sup_core.views cimport card_bytes

from array import array

CASES = ("quiet", "known", "raised", "cards", "new_cards", "build", "build_cards", "clock")

cdef enum:
    _QUIET = 0          # a ping without news; the ack has none either
    _KNOWN = 1          # six statuses that are held already; the ack carries six
    _RAISED = 2         # six statuses with a new incarnation each: taken and queued; six in the ack
    _CARDS = 3          # six members with cards that are held; the ack carries six cards
    _NEW_CARDS = 4      # the same with a new version of each card
    _BUILD = 5          # no packet in: a ping with six statuses is made
    _BUILD_CARDS = 6    # the same with six cards
    _CLOCK = 7          # nothing: what two readings of the clock cost
    _NEWS = 6
    _TAG_BYTES = 40
    _MARKS_MAX = 4_000_000
    # Between packets: 1,000 a second, so that timers and the limits per second run as they do.
    _STEP_US = 1000


cdef inline int64_t _nanoseconds() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return <int64_t> moment.tv_sec * 1000000000 + moment.tv_nsec


cdef inline void _release(EventRecord* record) noexcept:
    card_drop(record.card)
    rumor_drop(record.rumor)
    rumor_drop(record.previous)


cdef class PacketBench:
    """A node among ``members`` others, who say what a case asks for."""

    def __cinit__(self, Node node not None, int members, *, int seed=1, int tag_bytes=_TAG_BYTES):
        """Make the node know the members, in the order in which they are made."""
        cdef int i
        if members < 2 * _NEWS:
            raise ValueError(f"there are {members} members, at least {2 * _NEWS} are needed")
        self.node = node
        self.prng = Prng(seed)
        self.members = members
        self.now = node.now + 1
        self.card = card_bytes("a-member-of-the-ring", {"zone": "x" * tag_bytes})
        self.peers = <Peer*> malloc(members * sizeof(Peer))
        if self.peers == NULL:
            raise MemoryError
        memset(self.peers, 0, members * sizeof(Peer))
        for i in range(members):
            self._introduce(i)
        if node.table.live_count != members:
            raise RuntimeError(f"the node shows {node.table.live_count} of {members} members")
        # What the introductions left to tell is none of the cases'.
        self._forget_news()

    def __dealloc__(self):
        free(self.peers)

    def measure(self, case: str, int count):
        """Nanoseconds of each of ``count`` packets, in an array; its median is the figure.

        Between two packets the next one is made, the clock goes on and what the node did beside
        the answer (timers, events) is taken from it: untimed.
        """
        cdef int what = CASES.index(case)
        cdef object times = array("q", bytes(8 * count))
        cdef int64_t[::1] into = times
        cdef int i
        self.bytes_in = self.bytes_out = 0
        for i in range(count):
            into[i] = self._packet(what)
        self.bytes_in //= count
        self.bytes_out //= count
        return times

    def replay(self, case: str, int count):
        """The same without an array of times: for who counts allocations."""
        cdef int what = CASES.index(case)
        cdef int _i
        for _i in range(count):
            self._packet(what)

    cdef int64_t _packet(self, int what) noexcept:
        cdef Node node = self.node
        cdef uint8_t data[DATAGRAM_BYTES_MAX]
        cdef uint8_t answer[DATAGRAM_BYTES_MAX]
        cdef Address target
        cdef int64_t start, took
        cdef Py_ssize_t size = 0, got
        cdef int32_t row
        # Each time somebody else, so that no lookup is of the one before.
        cdef Peer* sender = &self.peers[self.prng.draw_below(<uint32_t> self.members)]
        self.now += _STEP_US
        self._idle()
        if what < _BUILD:
            size = self._make(data, what, sender)
        if what == _KNOWN or what == _RAISED or what == _BUILD:
            self._queue_news(False)
        elif what != _QUIET and what != _CLOCK:
            self._queue_news(True)
        if what == _CLOCK:
            start = _nanoseconds()
            return _nanoseconds() - start
        if what >= _BUILD:
            row = node.table.find(short_of(sender.id))
            node._at(self.now)
            start = _nanoseconds()
            node._ping(row, 1)
        else:
            start = _nanoseconds()
            node.receive(data, size, &sender.address, self.now)
        got = node.transmit(answer, &target)
        took = _nanoseconds() - start
        self.bytes_in += size
        self.bytes_out += got
        return took

    cdef void _idle(self) noexcept:
        """What the driver does besides: timers, sends, events."""
        cdef Node node = self.node
        cdef uint8_t buffer[DATAGRAM_BYTES_MAX]
        cdef Address target
        cdef EventRecord record
        if node.next_due() <= self.now:
            node.timeout(self.now)
        while node.transmit(buffer, &target):
            pass
        while node.events.pop(&record):
            _release(&record)

    cdef Py_ssize_t _make(self, uint8_t* data, int what, Peer* sender) noexcept:
        """One packet of ``sender``'s; the order of its messages is that of the node's own."""
        cdef Writer w
        cdef Message m
        cdef Peer* peer
        cdef uint32_t first, i
        cdef int messages = 1
        writer_init(&w, data, DATAGRAM_BYTES_MAX)
        write_header(&w, self.node.ring, short_of(sender.id), 1, sender.incarnation)
        write_ping(&w, <uint32_t> self.prng.draw(), self.node.anti_entropy.digest)
        if what != _QUIET:
            first = self.prng.draw_below(<uint32_t> self.members)
            for i in range(_NEWS):
                # Far apart in memory, as the subjects of real news are.
                peer = &self.peers[(first + i * (self.members // _NEWS)) % self.members]
                if what == _RAISED:
                    peer.incarnation += 1
                elif what == _NEW_CARDS:
                    peer.card_count += 1
                if what == _KNOWN or what == _RAISED:
                    write_status(&w, short_of(peer.id), STATE_ALIVE, 1, peer.incarnation, 0)
                else:
                    self._describe(peer, &m)
                    write_member(&w, &m)
                messages += 1
        finish_packet(&w, messages)
        return w.size

    cdef void _describe(self, Peer* peer, Message* m) noexcept:
        memset(m, 0, sizeof(Message))
        m.state = STATE_ALIVE
        m.id = peer.id
        m.epoch = 1
        m.incarnation = peer.incarnation
        m.version = (1 << 16) + peer.card_count
        m.address = peer.address
        m.card = <const uint8_t*> (<const char*> self.card)
        m.card_size = <uint32_t> len(self.card)

    cdef void _introduce(self, int index) noexcept:
        cdef Peer* peer = &self.peers[index]
        cdef uint8_t data[DATAGRAM_BYTES_MAX]
        cdef Writer w
        cdef Message m
        cdef int i
        for i in range(16):
            peer.id[i] = <uint8_t> self.prng.draw()
        peer.address.ip[10] = peer.address.ip[11] = 0xFF
        peer.address.ip[12] = 10
        peer.address.ip[13] = <uint8_t> (index >> 16)
        peer.address.ip[14] = <uint8_t> (index >> 8)
        peer.address.ip[15] = <uint8_t> index
        peer.address.port = <uint16_t> 9638
        writer_init(&w, data, DATAGRAM_BYTES_MAX)
        write_header(&w, self.node.ring, short_of(peer.id), 1, 0)
        self._describe(peer, &m)
        write_member(&w, &m)
        finish_packet(&w, 1)
        self.node.receive(data, w.size, &peer.address, self.now)
        self._idle()

    cdef void _queue_news(self, bint with_cards) noexcept:
        """Six members to tell, so that the next packet carries them."""
        cdef int32_t row
        cdef uint32_t first = self.prng.draw_below(<uint32_t> self.members)
        cdef uint32_t i
        self._forget_news()
        for i in range(_NEWS):
            row = self.node.table.find(
                short_of(self.peers[(first + i * (self.members // _NEWS)) % self.members].id)
            )
            if with_cards:
                self.node.table.flags[row] |= FLAG_NEWS_CARD
            else:
                self.node.table.flags[row] &= ~FLAG_NEWS_CARD
            self.node.dissemination.enqueue(NEWS_MEMBERS, row)

    cdef void _forget_news(self) noexcept:
        cdef int32_t row
        self.node.dissemination.open_batch()
        while self.node.dissemination.pick(NEWS_MEMBERS, &row):
            if self.node.dissemination.picked_count == 200:
                self.node.dissemination.open_batch()
        self.node.dissemination.open_batch()


cdef class Watch:
    """Counts of the events of many nodes, and marks (who learnt what when) while it is ``marking``.
    """

    def __dealloc__(self):
        free(self.marks)

    def drain(self, Node node not None, int reporter, int64_t now):
        """Take all events of a node; deaths, suspicions and rumors are marked with ``now``."""
        cdef EventRecord record
        while node.events.pop(&record):
            if record.what == EVENT_MEMBER:
                self.changes[record.code] += 1
                if record.code == CHANGE_DIED or record.code == CHANGE_SUSPECTED:
                    self._mark(&record, reporter, short_of(record.id.octets), now)
            elif record.what == EVENT_RUMOR:
                self._mark(&record, reporter, 0, now)
            else:
                self.self_events += 1
            _release(&record)

    cdef void _mark(
            self, EventRecord* record, int reporter, uint64_t subject, int64_t now
    ) noexcept:
        cdef size_t wanted
        cdef void* grown
        cdef Mark* mark
        if self.mark_count == self.mark_capacity:
            wanted = self.mark_capacity * 2 if self.mark_capacity else 1024
            grown = realloc(self.marks, wanted * sizeof(Mark)) if wanted <= _MARKS_MAX else NULL
            if grown == NULL:
                self.marks_lost += 1
                return
            self.marks = <Mark*> grown
            self.mark_capacity = wanted
        mark = &self.marks[self.mark_count]
        mark.what = record.what
        mark.code = record.code
        mark.reporter = reporter
        mark.subject = subject
        mark.at = now
        self.mark_count += 1

    def count(self, int change):
        """How often members changed so, by the number of ``events.MemberChange``'s order."""
        if not 0 <= change < 8:
            raise ValueError(f"change is {change}, bounds are 0..7")
        return self.changes[change]

    def mark_total(self):
        """How many marks there are."""
        return self.mark_count

    def take(self):
        """All marks as (is rumor, change, reporter, short id of the subject, time); they are gone.

        Raises:
            RuntimeError: marks were lost, four million are held.
        """
        cdef size_t i
        if self.marks_lost:
            raise RuntimeError(f"{self.marks_lost} marks were lost, limit is {_MARKS_MAX}")
        taken = [
            (
                self.marks[i].what == EVENT_RUMOR, self.marks[i].code, self.marks[i].reporter,
                self.marks[i].subject, self.marks[i].at,
            )
            for i in range(self.mark_count)
        ]
        self.mark_count = 0
        return taken


def smallest_view(nodes: list) -> int:
    """The fewest live members that any of the nodes shows, itself included."""
    cdef Node node
    cdef int32_t fewest = INT32_MAX
    for node in nodes:
        fewest = min(fewest, node.table.live_count + 1)
    return fewest


def stale_rumors(nodes: list) -> int:
    """How many copies of rumors came to who held them."""
    cdef Node node
    cdef uint64_t total = 0
    for node in nodes:
        total += node.tally.counts[COUNT_RUMOR_STALE]
    return total
