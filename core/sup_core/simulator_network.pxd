cimport cython
from libc.stdint cimport int64_t, uint32_t

from sup_core.prng cimport Prng


@cython.final
cdef class Dice(Prng):
    cdef bint chance(self, uint32_t threshold) noexcept


@cython.final
cdef class Network:
    cdef int64_t _latency_us
    cdef int _law
    cdef int64_t _sigma             # in 65,536ths
    cdef uint32_t _truncate
    cdef int _mtu_bytes
    cdef dict _zones
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
    cdef int64_t between(self, Dice dice, uint32_t source, uint32_t target) except -1
    cdef int64_t _draw(self, Dice dice, int64_t median) noexcept
    cdef int64_t stream_delay(self, Dice dice, Py_ssize_t size) noexcept
