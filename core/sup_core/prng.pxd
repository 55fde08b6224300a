from libc.stdint cimport uint32_t, uint64_t

cdef class Prng:
    cdef uint64_t s0, s1, s2, s3
    cdef uint64_t draw(self) noexcept
    cdef uint32_t draw_below(self, uint32_t bound) noexcept
