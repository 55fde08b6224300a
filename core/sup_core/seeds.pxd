from libc.stdint cimport int32_t, int64_t, uint32_t
from sup_core.effects cimport Effects
from sup_core.identity cimport Address
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings
from sup_core.timers cimport Timers

cdef struct Seed:
    Address address
    int32_t row             # the member that answered there, or -1
    uint32_t generation
    int64_t due
    int64_t wait

cdef class Seeds:
    cdef Settings* settings
    cdef MemberTable table
    cdef Timers timers
    cdef Prng prng
    cdef Effects effects
    cdef Seed* seeds
    cdef int count
    cdef int capacity
    cdef int64_t armed
    cdef void clear(self) noexcept
    cdef bint add(self, const Address* address, int64_t now) noexcept
    cdef void answered(self, const Address* source, int32_t row) noexcept
    cdef void due(self, int64_t now) noexcept
    cdef bint _alive(self, Seed* seed) noexcept
