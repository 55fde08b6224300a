from libc.stdint cimport int32_t, int64_t, uint8_t
from sup_core.effects cimport Effects
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings
from sup_core.timers cimport Timers

cdef class Doubts:
    cdef Settings* settings
    cdef MemberTable table
    cdef Timers timers
    cdef Prng prng
    cdef Effects effects
    cdef int64_t since      # when the round began; who was heard from after it is beyond doubt
    cdef int32_t cursor
    cdef bint armed
    cdef void everybody(self, int64_t now) noexcept
    cdef void expect(self, const uint8_t* bits, int64_t now) noexcept
    cdef void missed(self, int32_t row, int64_t now) noexcept
    cdef void unmentioned(self, int64_t now) noexcept
    cdef void mentioned(self) noexcept
    cdef void due(self, int64_t now) noexcept
    cdef void _arm(self, int64_t now) noexcept
