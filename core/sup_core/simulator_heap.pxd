cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sup_core.identity cimport Address

cdef enum:
    PACKET_BYTES_MAX = 1400


# Never a valid index: the pool holds at most 2^20 packets.
cdef enum:
    NO_PACKET = 0x7FFFFFFF


cdef struct Entry:
    int64_t t
    uint64_t seq
    uint32_t kind
    uint32_t target
    uint32_t payload
    uint32_t generation


cdef struct Packet:
    Address source
    uint16_t size
    uint32_t next
    uint8_t data[PACKET_BYTES_MAX]


@cython.final
cdef class EventHeap:
    cdef Entry* entries
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef uint64_t seq

    cdef int push(
        self, int64_t t, uint32_t kind, uint32_t target, uint32_t payload, uint32_t generation
    ) except -1
    cdef bint pop_before(self, int64_t end, Entry* out) noexcept


@cython.final
cdef class PacketPool:
    cdef Packet** blocks
    cdef uint32_t block_count
    cdef uint32_t free_head
    cdef uint32_t used

    cdef uint32_t take(self) except? NO_PACKET
    cdef void give(self, uint32_t index) noexcept
    cdef Packet* at(self, uint32_t index) noexcept
