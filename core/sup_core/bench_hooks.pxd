from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.codec cimport Message
from sup_core.event_queue cimport EventRecord
from sup_core.identity cimport Address
from sup_core.node cimport Node
from sup_core.prng cimport Prng

cdef struct Peer:
    uint8_t id[16]
    Address address
    uint32_t incarnation
    uint32_t card_count

cdef struct Mark:
    int32_t what            # EVENT_MEMBER or EVENT_RUMOR
    int32_t code
    int32_t reporter
    uint64_t subject
    int64_t at

cdef class PacketBench:
    cdef Node node
    cdef Prng prng
    cdef Peer* peers
    cdef int members
    cdef int64_t now
    cdef bytes card
    cdef readonly int64_t bytes_in      # per packet, of the last measurement
    cdef readonly int64_t bytes_out
    cdef int64_t _packet(self, int what) noexcept
    cdef void _idle(self) noexcept
    cdef Py_ssize_t _make(self, uint8_t* data, int what, Peer* sender) noexcept
    cdef void _describe(self, Peer* peer, Message* m) noexcept
    cdef void _introduce(self, int index) noexcept
    cdef void _queue_news(self, bint with_cards) noexcept
    cdef void _forget_news(self) noexcept

cdef class Watch:
    cdef uint64_t changes[8]
    cdef readonly uint64_t self_events
    cdef Mark* marks
    cdef size_t mark_count
    cdef size_t mark_capacity
    cdef uint64_t marks_lost
    cdef void _mark(
        self, EventRecord* record, int reporter, uint64_t subject, int64_t now
    ) noexcept
