from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef class HashIndex:
    cdef uint64_t* keys
    cdef int32_t* values
    cdef uint64_t salt
    cdef uint32_t mask
    cdef uint32_t count
    cdef bint grow(self) noexcept
    cdef uint32_t home(self, uint64_t key) noexcept
    cdef int32_t find(self, uint64_t key) noexcept
    cdef bint put(self, uint64_t key, int32_t value) noexcept
    cdef void change(self, uint64_t key, int32_t value) noexcept
    cdef void remove(self, uint64_t key) noexcept
