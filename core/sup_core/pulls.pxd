from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from sup_core.blobs cimport RumorBlob
from sup_core.prng cimport Prng

cdef struct Pull:
    RumorBlob* wanted       # key and version, no value; NULL: a free slot
    uint64_t name
    uint32_t value_size
    uint32_t generation
    int32_t sources[4]      # rows that announced it, first come first
    uint32_t source_generations[4]
    int source_count
    int source_next
    int tries
    bint in_flight
    int64_t due

cdef class Pulls:
    cdef Prng prng
    cdef Pull* slots
    cdef int high           # slots above it were never used
    cdef int capacity
    cdef int count
    cdef int flying
    cdef uint64_t refused
    cdef uint64_t given_up
    cdef int find(self, uint64_t name) noexcept
    cdef bint want(
        self, uint64_t name, RumorBlob* wanted, uint32_t value_size, int32_t source,
        uint32_t source_generation, int64_t now
    ) noexcept
    cdef int _free_slot(self) noexcept
    cdef bint _idle(self, int slot) noexcept
    cdef int next_start(self, int64_t now) noexcept
    cdef int64_t next_due(self) noexcept
    cdef void failed(self, int slot, uint32_t generation, int64_t now) noexcept
    cdef void end(self, int slot) noexcept
