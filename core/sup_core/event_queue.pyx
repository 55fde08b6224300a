"""Events that wait for the driver, as C records that become Python values only when polled.

In order, once per transition. Bounded by EVENT_QUEUE_MAX records and EVENT_BYTES_MAX of what they
keep alive: when the reader is that late the newest
is dropped and counted, and one ``events_dropped`` tells the reader to re-read everything.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from sup_core.blobs cimport rumor_drop
from sup_core.card_pool cimport card_drop
from sup_core.limits cimport EVENT_BYTES_MAX, EVENT_QUEUE_MAX

cdef enum:
    _KEPT_CAPACITY = 4          # a member of a quiet ring has no event for hours

SELF_NAMES = (
    "cut_off",
    "reachable",
    "duplicate_id",
    "short_id_clash",
    "foreign_ring",
    "clock",
    "events_dropped",
    "own_rumor",
)

REASONS = (
    "",
    "probe failed",
    "accused",
    "last check failed",
    "told that it is dead",
    "told that it left",
    "answered",
    "started again",
    "new card",
    "synchronisation",
    "silent for longer than the tombstone floor",
    "news",
    "goes and comes, held down until it answers for long enough",
    "answered for long enough",
)


cdef class EventQueue:
    """A ring of event records that grows up to its bound."""

    def __dealloc__(self) -> None:
        cdef EventRecord record
        while self.pop(&record):
            card_drop(record.card)
            rumor_drop(record.rumor)
            rumor_drop(record.previous)
        free(self.ring)

    cdef EventRecord* push(self) noexcept:
        """A zeroed record at the end for the caller to fill, or NULL when the queue is full."""
        cdef int32_t wanted
        cdef int32_t i
        cdef EventRecord* grown
        cdef EventRecord* record
        if self.held >= EVENT_BYTES_MAX:
            self.dropped += 1
            self.told = False
            return NULL
        if self.count == self.capacity:
            wanted = self.capacity * 2 if self.capacity else _KEPT_CAPACITY
            grown = NULL
            if wanted <= EVENT_QUEUE_MAX:
                grown = <EventRecord*> malloc(wanted * sizeof(EventRecord))
            if grown == NULL:
                self.dropped += 1
                self.told = False
                return NULL
            for i in range(self.count):
                grown[i] = self.ring[(self.first + i) % self.capacity]
            free(self.ring)
            self.ring = grown
            self.capacity = wanted
            self.first = 0
        record = &self.ring[(self.first + self.count) % self.capacity]
        memset(record, 0, sizeof(EventRecord))
        self.count += 1
        return record

    cdef void charge(self, const EventRecord* record) noexcept:
        """Count what a filled record keeps alive; called once for each."""
        self.held += _kept_bytes(record)

    cdef bint pop(self, EventRecord* out) noexcept:
        """Move the oldest record out; its references go with it."""
        if self.count == 0:
            return False
        out[0] = self.ring[self.first]
        self.held -= _kept_bytes(out)
        self.first = (self.first + 1) % self.capacity
        self.count -= 1
        if self.count == 0 and self.capacity > _KEPT_CAPACITY:
            # A burst is over: give its memory back.
            free(self.ring)
            self.ring = NULL
            self.capacity = 0
            self.first = 0
        return True


cdef int64_t _kept_bytes(const EventRecord* record) noexcept:
    # Several records may share a rumor; counted for each, so that the sum is a bound.
    cdef int64_t size = 0
    if record.card != NULL:
        size += record.card.size
    if record.rumor != NULL:
        size += record.rumor.key_size + record.rumor.value_size
    if record.previous != NULL:
        size += record.previous.key_size + record.previous.value_size
    return size
