from libc.stdint cimport int64_t, uint64_t
from sup_core.event_queue cimport EventQueue, SelfCode
from sup_core.identity cimport Address

cdef class Notices:
    cdef EventQueue events
    cdef int64_t told_at[8]
    cdef void tell(self, SelfCode code, uint64_t other, const Address* source, int64_t now) noexcept
