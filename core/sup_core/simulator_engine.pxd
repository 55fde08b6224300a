from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sup_core.identity cimport Address
from sup_core.node cimport Node
from sup_core.simulator_hosts cimport Hosts
from sup_core.simulator_ledger cimport Ledger
from sup_core.simulator_network cimport Dice, Network


cdef class Engine(Hosts):
    cdef Dice dice
    cdef readonly Network network
    cdef Ledger _ledger
    cdef readonly bint light
    cdef dict calls
    cdef dict streams
    cdef uint32_t next_call
    cdef uint32_t next_stream
    cdef readonly uint64_t trace
    cdef readonly uint64_t steps
    cdef readonly uint64_t unroutable_packets
    cdef readonly uint64_t oversize_packets
    cdef readonly uint64_t duplicated_packets
    cdef readonly uint64_t damaged_packets
    cdef readonly uint64_t stream_count
    cdef readonly uint64_t stream_bytes
    cdef readonly uint64_t stream_failures

    cdef int _arrive(self, uint32_t index, uint32_t packet) except -1
    cdef int _receive(self, uint32_t index, uint32_t packet) except -1
    cdef int _wake(self, uint32_t index) except -1
    cdef int _timer(self, uint32_t index, uint32_t generation) except -1
    cdef int _drain(self, uint32_t index) except -1
    cdef int _drain_events(self, uint32_t index, Node node) except -1
    cdef int _drain_datagrams(self, uint32_t index, object node) except -1
    cdef int _send(self, uint32_t source, const uint8_t* data, Py_ssize_t size,
                   const Address* address) except -1
    cdef int _launch(self, uint32_t source, uint32_t target, const uint8_t* data,
                     Py_ssize_t size, uint16_t port) except -1
    cdef int _open_stream(self, uint32_t client, tuple request) except -1
    cdef int _serve(self, uint32_t server, uint32_t stream) except -1
    cdef int _answer(self, uint32_t client, uint32_t stream) except -1
