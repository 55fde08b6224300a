from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.codec cimport Message
from sup_core.counters cimport Tally
from sup_core.cursor cimport Writer
from sup_core.identity cimport Address
from sup_core.member_table cimport MemberTable
from sup_core.packets cimport Packets
from sup_core.prng cimport Prng
from sup_core.pulls cimport Pulls
from sup_core.rumor_store cimport RumorStore
from sup_core.timers cimport Timers

cdef enum RequestKind:
    REQUEST_SYNC = 1
    REQUEST_JOIN = 2
    REQUEST_PULL = 3
    REQUEST_PUSH = 4

cdef class Exchanges:
    cdef MemberTable table
    cdef RumorStore store
    cdef Packets packets
    cdef Pulls pulls
    cdef Prng prng
    cdef Timers timers
    cdef Tally tally
    cdef uint64_t ring
    cdef int64_t now
    cdef int64_t pulls_armed
    cdef uint32_t request_id
    cdef dict waiting           # request id -> (kind, slot, generation, asked at, address)
    cdef list queue             # (request id, address, bytes) for the driver
    cdef void request(
        self, int purpose, int slot, uint32_t generation, const Address* target, Writer* w
    ) noexcept
    cdef bytes sync_body(self, bytes bits, int tag)
    cdef bytes pull_answer(self, Message* m)
    cdef void start_pulls(self) noexcept
    cdef bint joining(self) noexcept
    cdef bytes snapshot_body(self, uint64_t wall_us)
    cdef void expire(self) noexcept
