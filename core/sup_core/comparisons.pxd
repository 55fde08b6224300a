from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.codec cimport Message
from sup_core.cursor cimport Writer
from sup_core.doubts cimport Doubts
from sup_core.exchanges cimport Exchanges
from sup_core.identity cimport Address
from sup_core.member_table cimport MemberTable
from sup_core.membership cimport Membership
from sup_core.packets cimport Packets
from sup_core.prng cimport Prng
from sup_core.rumor_store cimport RumorStore

cdef class Comparisons:
    cdef MemberTable table
    cdef RumorStore store
    cdef Packets packets
    cdef Membership membership
    cdef Exchanges exchanges
    cdef Doubts doubts
    cdef Prng prng
    cdef uint64_t ring
    cdef int64_t now
    cdef const uint8_t* wanted  # names in the answer that is being read, or NULL
    cdef uint32_t wanted_size
    cdef uint32_t listed        # entries in the last list that was sent
    cdef void ask(
        self, const Address* target, const uint8_t* bits, bint joins, int64_t window_us
    ) noexcept
    cdef bytes answer(self, Message* m, bint joins)
    cdef void answered(self, Message* m, bint doubting) noexcept
    cdef bint wants_most(self) noexcept
    cdef void push(self, const Address* target) noexcept
    cdef uint32_t put_named(self, Writer* w, uint64_t name) noexcept
    cdef uint32_t _list(
        self, Writer* w, const uint8_t* bits, int shift, int64_t after, int32_t first_row
    ) noexcept
    cdef uint32_t _put_unlisted(
        self, Writer* w, const uint8_t* bits, uint32_t first, int64_t after
    ) noexcept
    cdef int32_t _slot_of(self, uint64_t name) noexcept
