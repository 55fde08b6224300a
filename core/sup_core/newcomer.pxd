from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from sup_core.identity cimport Address
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.timers cimport Timers

cdef class Newcomer:
    cdef MemberTable table
    cdef Timers timers
    cdef Prng prng
    cdef Address contacts[16]   # CONTACTS_MAX
    cdef int count
    cdef int seen               # contacts that were ever offered: the sample is even over all
    cdef int tries
    cdef bint waiting           # for the next try
    cdef bint settled           # has a snapshot, or has given up on one
    cdef int64_t allowance      # bytes that may be given to others now
    cdef int64_t counted
    cdef uint64_t refused
    cdef void offered(self, const Address* source, const uint8_t* list, uint32_t size) noexcept
    cdef bint choose(self, Address* out) noexcept
    cdef bint failed(self, int64_t now) noexcept
    cdef bint may_give(self, int64_t now) noexcept
    cdef void gave(self, int64_t size) noexcept
    cdef uint32_t name_contacts(self, uint8_t* out, int64_t now) noexcept
    cdef void _keep(self, const Address* contact) noexcept
