from libc.stdint cimport uint64_t

cdef class LocalHealth:
    cdef int score
    cdef int silent_probes
    cdef bint cut_off
    cdef uint64_t unanswered
    cdef bint answered(self) noexcept
    cdef bint nobody_answered(self) noexcept
    cdef void refuted(self) noexcept
    cdef int stretch(self) noexcept
