from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from sup_core.simulator_heap cimport EventHeap, PacketPool

cdef enum EventKind:
    EVENT_DELIVER = 1
    EVENT_TIMER = 2
    EVENT_WAKE = 3
    EVENT_CALL = 4
    EVENT_REQUEST = 5
    EVENT_RESPONSE = 6


cdef struct Slot:
    # who
    bint running
    bint host_up
    uint16_t port
    uint32_t life
    # clock
    int64_t offset_us
    int64_t drift_ppm
    # timer
    int64_t armed_us
    uint32_t timer_generation
    uint32_t spins
    int64_t last_timer_us
    # faults
    int64_t paused_until
    int64_t stalled_until
    int64_t busy_until
    int64_t service_us
    int64_t grain_us
    int64_t burst_until
    uint32_t group
    uint32_t zone
    uint32_t loss_in
    uint32_t loss_out
    # socket buffer
    uint32_t inbox_head
    uint32_t inbox_tail
    int64_t inbox_bytes
    # counters
    uint64_t sent_packets
    uint64_t sent_bytes
    uint64_t received_packets
    uint64_t received_bytes
    uint64_t lost_packets
    uint64_t overflowed_packets
    uint64_t unheard_packets


cdef class Hosts:
    cdef Slot* slots
    cdef Py_ssize_t capacity
    cdef readonly Py_ssize_t size
    cdef EventHeap heap
    cdef PacketPool pool
    cdef list nodes
    cdef set cuts
    cdef dict link_losses
    cdef int64_t now

    cdef int _check(self, Py_ssize_t index) except -1
    cdef int64_t _clock(self, Slot* slot) noexcept
    cdef bint _cut(self, uint32_t source, uint32_t target) noexcept
    cdef int _arm(self, uint32_t index) except -1


cdef bytes address_of(uint32_t index, uint16_t port)


cdef inline void write_ip(uint8_t* ip, uint32_t index) noexcept:
    """Write ``::ffff:10.x.y.z``, where x.y.z is the index + 1."""
    memset(ip, 0, 10)
    ip[10] = 0xFF
    ip[11] = 0xFF
    ip[12] = 10
    ip[13] = <uint8_t>((index + 1) >> 16)
    ip[14] = <uint8_t>((index + 1) >> 8)
    ip[15] = <uint8_t>(index + 1)


cdef inline int64_t index_of(const uint8_t* ip) noexcept:
    if ip[10] != 0xFF or ip[11] != 0xFF or ip[12] != 10:
        return -1
    return ((<int64_t>ip[13] << 16) | (<int64_t>ip[14] << 8) | ip[15]) - 1
