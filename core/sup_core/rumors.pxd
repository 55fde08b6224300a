from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.blobs cimport RumorBlob
from sup_core.codec cimport Message
from sup_core.counters cimport Tally
from sup_core.dissemination cimport Dissemination
from sup_core.kinds cimport Rule
from sup_core.member_table cimport MemberTable
from sup_core.notices cimport Notices
from sup_core.pulls cimport Pulls
from sup_core.rumor_store cimport RumorStore
from sup_core.settings cimport Settings
from sup_core.stamps cimport Stamps

cdef class Rumors:
    cdef Settings* settings
    cdef MemberTable table
    cdef RumorStore store
    cdef Stamps stamps
    cdef Pulls pulls
    cdef Dissemination dissemination
    cdef AntiEntropy anti_entropy
    cdef Notices notices
    cdef Tally tally
    cdef int64_t now
    cdef uint64_t own_seq
    cdef int32_t uncounted      # owner rumors that are not digested because of their owner
    cdef int32_t orphans        # those whose owner is not in the member table
    cdef int64_t orphan_bytes
    cdef int64_t recounted
    cdef bint stale_count
    cdef int64_t expiry         # when to look for what has lived out
    cdef uint64_t expired
    cdef int64_t away           # how old the snapshot is that is being loaded
    cdef bint own_only          # only what nobody else can have retracted is loaded from it
    cdef void rumor_message(self, Message* m, int32_t source, int how) noexcept
    cdef void header_message(self, Message* m, int32_t source) noexcept
    cdef bint _aged_well(self, Message* m, Rule rule) noexcept
    cdef bint wanted(self, Message* m, int how) noexcept
    cdef bint take(
        self, RumorBlob* blob, uint32_t age_s, int64_t life_us, bint news
    ) noexcept
    cdef void overrule(self, Message* m) noexcept
    cdef object publish(self, object kind, object key, object value, int64_t life_us)
    cdef void expire(self) noexcept
    cdef bint _expire(self, int32_t slot) noexcept
    cdef int _standing(self, const RumorBlob* blob) noexcept
    cdef void owners_changed(self) noexcept
    cdef void recount(self) noexcept
    cdef bint _aged(self, int32_t slot) noexcept
    cdef void drop(self, int32_t slot) noexcept
    cdef void drop_of(self, const uint8_t* origin) noexcept
    cdef void sweep(self) noexcept
