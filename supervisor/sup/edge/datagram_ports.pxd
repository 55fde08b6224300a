"""C level of what sits on the UDP hub."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from sup_core.identity cimport Address
from sup_core.node cimport Node


cdef class Port:
    cdef bint receive(
        self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now
    ) noexcept
    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept
    cdef int64_t next_due(self) except? -1
    cdef int timeout(self, int64_t now) except -1
    cdef bint has_news(self) noexcept


cdef class NodePort(Port):
    cdef readonly Node node
    cdef uint64_t _key


cdef class EchoPort(Port):
    cdef uint8_t* _data
    cdef Py_ssize_t* _sizes
    cdef Address* _targets
    cdef int _head
    cdef int _tail
    cdef bint _is_tagged
    cdef uint64_t _key
    cdef readonly uint64_t echoed
