from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t
from sup_core.identity cimport Address

cdef struct Parcel:
    Parcel* following
    Address target
    uint16_t size
    uint8_t data[1]

cdef class Outbox:
    cdef Parcel* first
    cdef Parcel* last
    cdef int32_t count
    cdef uint64_t dropped
    cdef bint push(self, const Address* target, const uint8_t* data, size_t size) noexcept
    cdef Py_ssize_t pop(self, uint8_t* buffer, Address* target) noexcept
