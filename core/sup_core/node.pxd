from libc.stdint cimport int32_t
from sup_core.protocol cimport Protocol

cdef class Node(Protocol):
    cdef int32_t _row_of(self, object id) except -2
