from libc.stdint cimport int64_t, uint8_t, uint64_t
from sup_core.settings cimport Settings

cdef class AntiEntropy:
    cdef Settings* settings
    cdef uint64_t hashes[128]
    cdef uint64_t digest
    cdef int64_t changed
    cdef int64_t differs_since
    cdef int64_t window
    cdef int used
    cdef uint64_t exchanges
    cdef int64_t agreed         # when what is held was last compared, or found equal
    cdef int recent             # comparisons of recent changes since the last one of everything
    cdef void add(self, uint64_t name, uint64_t entry_hash, int64_t now) noexcept
    cdef void subtract(self, uint64_t name, uint64_t entry_hash, int64_t now) noexcept
    cdef int64_t recent_window(self, int64_t now) noexcept
    cdef bint should_exchange(self, uint64_t digest, int64_t now) noexcept
    cdef bint take_turn(self, int64_t now) noexcept
    cdef int differing(self, const uint8_t* theirs, uint8_t* bits) noexcept
