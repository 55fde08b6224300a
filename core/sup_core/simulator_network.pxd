cimport cython
from libc.stdint cimport int64_t, uint32_t

from sup_core.prng cimport Prng


@cython.final
cdef class Dice(Prng):
    cdef bint chance(self, uint32_t threshold) noexcept


@cython.final
cdef class Network:
    cdef int64_t _latency_us
    cdef int64_t _tail_us
    cdef uint32_t _tail
    cdef uint32_t _loss
    cdef uint32_t _burst
    cdef uint32_t _burst_loss
    cdef int64_t _burst_us
    cdef uint32_t _duplicate
    cdef uint32_t _corrupt
    cdef readonly bint checksum
    cdef readonly int64_t stream_bytes_per_s

    cdef int64_t latency(self, Dice dice) noexcept
    cdef int64_t stream_delay(self, Dice dice, Py_ssize_t size) noexcept
