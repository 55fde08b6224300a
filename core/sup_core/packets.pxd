from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.cursor cimport Writer
from sup_core.dissemination cimport Dissemination
from sup_core.identity cimport Address
from sup_core.member_table cimport MemberTable
from sup_core.membership cimport Membership
from sup_core.outbox cimport Outbox
from sup_core.rumor_store cimport RumorStore
from sup_core.suspicion cimport Suspicion

cdef class Packets:
    cdef MemberTable table
    cdef RumorStore store
    cdef Dissemination dissemination
    cdef Suspicion suspicion
    cdef Membership membership  # knows who declared whom; it is made later
    cdef Outbox outbox
    cdef uint64_t ring
    cdef int64_t now
    cdef uint8_t* buffer
    cdef Writer w
    cdef uint32_t messages
    cdef uint64_t sent_packets
    cdef uint64_t sent_bytes
    cdef void open(self, int64_t now) noexcept
    cdef void send(self, const Address* target) noexcept
    cdef void status(self, int32_t row) noexcept
    cdef bint member(self, int32_t row) noexcept
    cdef int fill(self) noexcept
    cdef bint put_member(self, Writer* w, int32_t row) noexcept
    cdef bint put_known(self, Writer* w, int32_t row) noexcept
    cdef bint _put_card(self, Writer* w, int32_t row, uint32_t age_s) noexcept
    cdef bint put_status(self, Writer* w, int32_t row) noexcept
    cdef bint put_rumor(self, Writer* w, int32_t slot, bint whole) noexcept
    cdef uint32_t put_entries(self, Writer* w, const uint8_t* bits, uint32_t first_bucket) noexcept
