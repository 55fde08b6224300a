"""Datagrams that wait for the driver, in order. Bounded by TRANSMIT_QUEUE_MAX; the newest is
dropped, counted.
"""
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from sup_core.identity cimport Address
from sup_core.limits cimport TRANSMIT_QUEUE_MAX


cdef class Outbox:
    """A queue of datagrams."""

    def __dealloc__(self) -> None:
        cdef Parcel* parcel
        while self.first != NULL:
            parcel = self.first
            self.first = parcel.following
            free(parcel)

    cdef bint push(self, const Address* target, const uint8_t* data, size_t size) noexcept:
        cdef Parcel* parcel
        if self.count >= TRANSMIT_QUEUE_MAX:
            self.dropped += 1
            return False
        parcel = <Parcel*> malloc(sizeof(Parcel) + size)
        if parcel == NULL:
            self.dropped += 1
            return False
        parcel.following = NULL
        parcel.target = target[0]
        parcel.size = <uint16_t> size
        memcpy(parcel.data, data, size)
        if self.last == NULL:
            self.first = parcel
        else:
            self.last.following = parcel
        self.last = parcel
        self.count += 1
        return True

    cdef Py_ssize_t pop(self, uint8_t* buffer, Address* target) noexcept:
        """Copy the oldest datagram out; 0 when there is none. ``buffer`` holds DATAGRAM_BYTES_MAX.
        """
        cdef Parcel* parcel = self.first
        cdef Py_ssize_t size
        if parcel == NULL:
            return 0
        size = parcel.size
        memcpy(buffer, parcel.data, size)
        target[0] = parcel.target
        self.first = parcel.following
        if self.first == NULL:
            self.last = NULL
        self.count -= 1
        free(parcel)
        return size
