from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.effects cimport Effects
from sup_core.hash_index cimport HashIndex
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings
from sup_core.timers cimport Timers

cdef struct Suspect:
    int32_t row             # -1: a free slot
    uint32_t generation
    uint8_t first_hand
    uint8_t checks          # last checks so far
    uint8_t stood           # this node stood still meanwhile, and a step was added for it
    uint64_t accuser        # short id
    int64_t deadline

cdef class Suspicion:
    cdef Settings* settings
    cdef Timers timers
    cdef Prng prng
    cdef Effects effects
    cdef HashIndex index
    cdef Suspect* slots
    cdef int32_t slot_count
    cdef int32_t capacity
    cdef int32_t* free_slots
    cdef int32_t free_count
    cdef uint32_t generation
    cdef void begin_first_hand(
        self, int32_t row, int64_t first_failed, int64_t rto, uint64_t me, int64_t now
    ) noexcept
    cdef void begin_hearsay(self, int32_t row, uint64_t accuser, int64_t rto, int64_t now) noexcept
    cdef void anew(self, int32_t row, int64_t rto, int64_t now) noexcept
    cdef void all_anew(self, int64_t rto, int64_t now) noexcept
    cdef bint over(self, int32_t row, int64_t now) noexcept
    cdef void again(self, int32_t row, int64_t when) noexcept
    cdef void end(self, int32_t row) noexcept
    cdef uint64_t accuser(self, int32_t row) noexcept
    cdef void due(self, int32_t slot, uint32_t generation, int64_t late, int64_t now) noexcept
    cdef Suspect* _slot(self, int32_t row) noexcept
    cdef void _arm(self, Suspect* suspect, int64_t now) noexcept
