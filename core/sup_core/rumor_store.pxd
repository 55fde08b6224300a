from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.blobs cimport RumorBlob
from sup_core.hash_index cimport HashIndex
from sup_core.kinds cimport Rule

cdef enum Offer:
    OFFER_STALE = 0         # ranks below what is held
    OFFER_SAME = 1          # is what is held
    OFFER_TAKEN = 2         # stored: a new key or a newer version
    OFFER_QUOTA = 3         # over the quota of its origin
    OFFER_FULL = 4          # the store is full
    OFFER_KIND = 5          # no merge rule for this kind, or a value its rule cannot merge

cdef struct Entry:
    RumorBlob* blob         # NULL: a free slot
    uint64_t name           # hash of the store key
    int64_t changed
    int64_t expires         # 0: never; with a tombstone: it has expired
    uint32_t generation
    int32_t quota           # row in quotas
    uint8_t digested

cdef struct Quota:
    uint64_t name
    uint32_t rumors
    uint32_t size

cdef class RumorStore:
    cdef uint64_t key0
    cdef uint64_t key1
    cdef HashIndex index
    cdef HashIndex origins
    cdef Entry* entries
    cdef int32_t slots
    cdef int32_t capacity
    cdef int32_t* free_slots
    cdef int32_t free_count
    cdef int32_t count
    cdef uint64_t size
    cdef Quota* quotas
    cdef int32_t quota_rows
    cdef int32_t quota_capacity
    cdef int32_t* free_quotas
    cdef int32_t free_quota_count
    cdef uint64_t name_of(
        self, uint8_t kind, const uint8_t* key, uint32_t key_size, const uint8_t* origin
    ) noexcept
    cdef uint64_t value_hash(self, const uint8_t* value, uint32_t size) noexcept
    cdef int32_t find(
        self, uint8_t kind, const uint8_t* key, uint32_t key_size, const uint8_t* origin
    ) noexcept
    cdef Offer offer(
        self, RumorBlob* blob, int64_t now, int32_t* slot, RumorBlob** previous
    ) noexcept
    cdef Offer weigh(self, const RumorBlob* blob, int32_t slot) noexcept
    cdef RumorBlob* expire(self, int32_t slot, int64_t now) noexcept
    cdef void drop(self, int32_t slot) noexcept
    cdef uint64_t entry_hash(self, int32_t slot) noexcept
    cdef bint _grow(self) noexcept
    cdef int32_t _quota_of(self, const uint8_t* origin) noexcept
    cdef RumorBlob* _join(self, const RumorBlob* a, const RumorBlob* b, Rule rule) noexcept
    cdef void _free_quota(self, int32_t row) noexcept
    cdef void _release(self, int32_t quota, uint32_t size) noexcept

cdef bint version_above(const RumorBlob* a, const RumorBlob* b) noexcept nogil
