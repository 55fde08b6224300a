from libc.stdint cimport int64_t, uint64_t

cdef class Stamps:
    cdef uint64_t last_a
    cdef uint64_t last_b
    cdef int64_t wall
    cdef int64_t wall_at
    cdef uint64_t wall_now(self, int64_t now) noexcept
    cdef void set_wall(self, int64_t wall_us, int64_t now) noexcept
    cdef void next_stamp(self, int64_t now, uint64_t* a, uint64_t* b) noexcept
    cdef void observe(self, uint64_t a, uint64_t b) noexcept
    cdef bint too_far_ahead(self, uint64_t a, int64_t now, int64_t ahead_us) noexcept
