"""The simulator's future: an event heap in C memory, and the pool its packets wait in.

The heap orders by ``(t, seq)``, where seq counts pushes: two events of one microsecond happen in
the order in which they were caused, so a run is a function of its seed and of nothing else. Events
are never cancelled; whoever pushed one recognises a stale one by its generation.

The pool hands out packet slots by index and recycles the last one first, which keeps the few slots
that a quiet ring needs in cache. It is bounded: a ring with more than ``PACKETS_MAX`` packets in
flight is in a packet storm, and a loud end is more useful than a swapping machine.
"""

cimport cython

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc, realloc

cdef enum:
    PACKETS_PER_BLOCK = 256
    BLOCKS_MAX = 4096  # 2^20 packets of 1.4 KB: 1.4 GB, far above any healthy ring

EVENTS_MAX = 1 << 26  # 2 GiB of entries
PACKETS_MAX = PACKETS_PER_BLOCK * BLOCKS_MAX


@cython.final
cdef class EventHeap:
    """A binary heap of events keyed by ``(t, seq)``; push and pop are O(log n)."""

    def __cinit__(self) -> None:
        self.capacity = 1024
        self.entries = <Entry*>malloc(self.capacity * sizeof(Entry))
        if self.entries == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        free(self.entries)

    def __len__(self) -> int:
        return self.size

    cdef int push(
        self, int64_t t, uint32_t kind, uint32_t target, uint32_t payload, uint32_t generation
    ) except -1:
        cdef Entry* grown
        cdef Entry* entries
        cdef Py_ssize_t i, parent
        if self.size == self.capacity:
            if self.capacity >= EVENTS_MAX:
                raise MemoryError(f"event heap holds {self.size} events, limit is {EVENTS_MAX}")
            grown = <Entry*>realloc(self.entries, 2 * self.capacity * sizeof(Entry))
            if grown == NULL:
                raise MemoryError
            self.entries = grown
            self.capacity *= 2
        entries = self.entries
        i = self.size
        self.size += 1
        # A new event has the highest seq, so an equal t never moves it up: strict order.
        while i > 0:
            parent = (i - 1) >> 1
            if entries[parent].t <= t:
                break
            entries[i] = entries[parent]
            i = parent
        entries[i].t = t
        entries[i].seq = self.seq
        entries[i].kind = kind
        entries[i].target = target
        entries[i].payload = payload
        entries[i].generation = generation
        self.seq += 1
        return 0

    cdef bint pop_before(self, int64_t end, Entry* out) noexcept:
        """Move the first event to `out` if it is not later than `end`; else leave it, return 0."""
        cdef Entry* entries = self.entries
        cdef Entry last
        cdef Py_ssize_t i = 0, child
        if self.size == 0 or entries[0].t > end:
            return False
        out[0] = entries[0]
        self.size -= 1
        if self.size == 0:
            return True
        last = entries[self.size]
        while True:
            child = 2 * i + 1
            if child >= self.size:
                break
            if child + 1 < self.size and earlier(&entries[child + 1], &entries[child]):
                child += 1
            if not earlier(&entries[child], &last):
                break
            entries[i] = entries[child]
            i = child
        entries[i] = last
        return True


@cython.final
cdef class PacketPool:
    """Fixed-size packet slots, addressed by index; a slot stays where it is while it is taken."""

    def __cinit__(self) -> None:
        self.blocks = <Packet**>malloc(BLOCKS_MAX * sizeof(Packet*))
        if self.blocks == NULL:
            raise MemoryError
        self.free_head = NO_PACKET

    def __dealloc__(self) -> None:
        cdef uint32_t i
        if self.blocks != NULL:
            for i in range(self.block_count):
                free(self.blocks[i])
            free(self.blocks)

    def __len__(self) -> int:
        return self.used

    cdef uint32_t take(self) except? NO_PACKET:
        cdef uint32_t index
        cdef Packet* block
        cdef Py_ssize_t i
        if self.free_head == NO_PACKET:
            if self.block_count == BLOCKS_MAX:
                raise MemoryError(
                    f"{self.used} packets are in flight, limit is {PACKETS_MAX}: a packet storm"
                )
            block = <Packet*>malloc(PACKETS_PER_BLOCK * sizeof(Packet))
            if block == NULL:
                raise MemoryError
            self.blocks[self.block_count] = block
            index = self.block_count * PACKETS_PER_BLOCK
            self.block_count += 1
            for i in range(PACKETS_PER_BLOCK - 1, -1, -1):
                block[i].next = self.free_head
                self.free_head = index + <uint32_t>i
        index = self.free_head
        self.free_head = self.at(index).next
        self.used += 1
        return index

    cdef void give(self, uint32_t index) noexcept:
        self.at(index).next = self.free_head
        self.free_head = index
        self.used -= 1

    cdef Packet* at(self, uint32_t index) noexcept:
        return &self.blocks[index // PACKETS_PER_BLOCK][index % PACKETS_PER_BLOCK]


cdef inline bint earlier(const Entry* a, const Entry* b) noexcept:
    return a.t < b.t or (a.t == b.t and a.seq < b.seq)
