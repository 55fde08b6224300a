from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from sup_core.effects cimport Effects
from sup_core.hash_index cimport HashIndex
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings
from sup_core.timers cimport Timers

cdef struct Flap:
    int32_t row             # -1: a free slot
    uint32_t generation
    uint32_t seq            # of the open question, 0 when it was answered
    uint16_t misses         # the latest questions, one bit each, set when it stayed unanswered
    uint8_t level           # times it was held so far
    uint8_t repeated        # the open question stands for one that ended late
    bint held
    int64_t latest          # return or acceptance
    int64_t clean_since
    int64_t returns[8]

# Deaths at about the same time, and how many were live before the first.
cdef struct Burst:
    int64_t first
    int64_t last
    int32_t deaths
    int32_t live

cdef class Flaps:
    cdef Settings* settings
    cdef MemberTable table
    cdef Timers timers
    cdef Prng prng
    cdef Effects effects
    cdef HashIndex index
    cdef Flap* slots
    cdef int32_t capacity
    cdef int32_t used       # slots ever used
    cdef Burst bursts[4]
    cdef int burst_at
    cdef uint32_t next_seq
    cdef int32_t held_count
    cdef int64_t hold_longest   # ever begun, in µs
    cdef void died(self, int64_t now) noexcept
    cdef bint returned(self, int32_t row, int64_t now) noexcept
    cdef void released(self, int32_t row, int64_t now) noexcept
    cdef void answered(self, int32_t row, uint32_t seq) noexcept
    cdef void due(self, int32_t slot, uint32_t generation, int64_t late, int64_t now) noexcept
    cdef void forget(self, int32_t row) noexcept
    cdef void sweep(self, int64_t now) noexcept
    cdef bint _among_many(self, int64_t when) noexcept
    cdef Flap* _find(self, int32_t row) noexcept
    cdef Flap* _slot(self, int32_t row) noexcept
    cdef void _free(self, Flap* flap) noexcept
    cdef void _ask(self, Flap* flap, int64_t now) noexcept
    cdef int64_t _hold(self, Flap* flap) noexcept
