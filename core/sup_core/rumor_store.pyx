"""Every rumor this node holds, one version per store key, merged by the rule of its kind.

- owner, last writer: the larger version wins. Versions of one key are totally ordered by (a, b,
  origin, content hash), so that two offers of equal rank are the same rumor.
- union, maxima: the values are merged bytewise and the version is computed from the result.

Bounded three ways, each refusal told to the caller by its own code: rumors and bytes per origin,
rumors in all, bytes in all. Retracted rumors stay as tombstones until the node drops them past
the floor; an expired one stays for a while as a mark that refuses the version it had.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy
from sup_core.blobs cimport RumorBlob, rumor_drop, rumor_new
from sup_core.hash_index cimport HashIndex
from sup_core.identity cimport sip_hash
from sup_core.kinds cimport RULE_MAXIMA, RULE_NONE, RULE_OWNER, RULE_UNION, Rule, rule_of
from sup_core.limits cimport (
    KEY_BYTES_MAX,
    ORIGIN_BYTES_MAX,
    ORIGIN_RUMORS_MAX,
    RUMOR_BYTES_MAX,
    RUMORS_MAX,
)

cdef enum:
    _OVERHEAD = 96          # what an entry costs beside its key and value, for the byte quotas


cdef bint version_above(const RumorBlob* a, const RumorBlob* b) noexcept nogil:
    """Whether version a is larger than version b of the same key."""
    cdef int order
    if a.a != b.a:
        return a.a > b.a
    if a.b != b.b:
        return a.b > b.b
    order = memcmp(a.origin, b.origin, 16)
    if order != 0:
        return order > 0
    if a.value_hash != b.value_hash:
        return a.value_hash > b.value_hash
    return a.tombstone > b.tombstone


cdef class RumorStore:
    """The rumors of one node."""

    def __cinit__(self, salt: int, key0: int, key1: int) -> None:
        self.key0 = <uint64_t> key0
        self.key1 = <uint64_t> key1
        self.index = HashIndex(salt)
        self.origins = HashIndex(salt ^ 0x5DEECE66D)

    def __dealloc__(self) -> None:
        cdef int32_t slot
        for slot in range(self.slots):
            rumor_drop(self.entries[slot].blob)
        free(self.entries)
        free(self.free_slots)
        free(self.quotas)
        free(self.free_quotas)

    cdef uint64_t name_of(
            self, uint8_t kind, const uint8_t* key, uint32_t key_size, const uint8_t* origin
    ) noexcept:
        """The hash of a store key: (kind, key), with the origin for owner kinds."""
        cdef uint8_t raw[KEY_BYTES_MAX + 17]
        cdef uint32_t size = 1 + key_size
        raw[0] = kind
        memcpy(raw + 1, key, key_size)
        if rule_of(kind) == RULE_OWNER:
            memcpy(raw + size, origin, 16)
            size += 16
        return sip_hash(self.key0, self.key1, raw, size)

    cdef uint64_t value_hash(self, const uint8_t* value, uint32_t size) noexcept:
        return 0 if value == NULL else sip_hash(self.key1, self.key0, value, size)

    cdef int32_t find(
            self, uint8_t kind, const uint8_t* key, uint32_t key_size, const uint8_t* origin
    ) noexcept:
        """The slot of a store key, or -1; -2 when another key has its 64-bit name."""
        cdef int32_t slot = self.index.find(self.name_of(kind, key, key_size, origin))
        cdef RumorBlob* blob
        if slot < 0:
            return -1
        blob = self.entries[slot].blob
        if blob.kind != kind or blob.key_size != key_size or memcmp(blob.data, key, key_size) != 0:
            return -2
        if rule_of(kind) == RULE_OWNER and memcmp(blob.origin, origin, 16) != 0:
            return -2
        return slot

    cdef Offer weigh(self, const RumorBlob* blob, int32_t slot) noexcept:
        """What ``offer`` would say by version alone; the value need not be there."""
        cdef RumorBlob* held
        if slot < 0:
            return OFFER_TAKEN
        held = self.entries[slot].blob
        if version_above(blob, held):
            return OFFER_TAKEN
        return OFFER_STALE if version_above(held, blob) else OFFER_SAME

    cdef Offer offer(
            self, RumorBlob* blob, int64_t now, int32_t* slot, RumorBlob** previous
    ) noexcept:
        """Merge ``blob`` (whose reference is consumed) and say what became of it.

        ``slot`` is the entry's, -1 if none. When taken, ``previous`` gets the replaced version with
        its reference, or NULL for a new key.
        """
        cdef Rule rule = rule_of(blob.kind)
        cdef int32_t at
        cdef int32_t quota
        cdef Entry* entry
        cdef RumorBlob* merged
        cdef uint32_t cost
        cdef uint32_t freed = 0
        cdef Offer verdict
        previous[0] = NULL
        slot[0] = -1
        if rule == RULE_NONE:
            rumor_drop(blob)
            return OFFER_KIND
        if rule == RULE_UNION or rule == RULE_MAXIMA:
            # The version is computed here and nowhere else; what came over the wire does not count.
            if blob.tombstone or (rule == RULE_MAXIMA and blob.value_size % 8):
                rumor_drop(blob)
                return OFFER_KIND
        at = self.find(blob.kind, blob.data, blob.key_size, blob.origin)
        if at == -2:
            rumor_drop(blob)
            return OFFER_FULL
        slot[0] = at
        if rule == RULE_UNION or rule == RULE_MAXIMA:
            merged = self._join(blob, self.entries[at].blob if at >= 0 else NULL, rule)
            rumor_drop(blob)
            if merged == NULL:
                return OFFER_FULL
            blob = merged
            if at >= 0 and _same_value(blob, self.entries[at].blob):
                rumor_drop(blob)
                return OFFER_SAME
        elif at >= 0:
            verdict = self.weigh(blob, at)
            if verdict != OFFER_TAKEN:
                rumor_drop(blob)
                return verdict
        cost = _OVERHEAD + blob.key_size + blob.value_size
        quota = self._quota_of(blob.origin)
        if quota < 0:
            rumor_drop(blob)
            return OFFER_FULL
        if at >= 0:
            freed = _OVERHEAD + self.entries[at].blob.key_size + self.entries[at].blob.value_size
        if (
            (at < 0 or self.entries[at].quota != quota)
            and self.quotas[quota].rumors >= ORIGIN_RUMORS_MAX
        ):
            verdict = OFFER_QUOTA
        elif self.quotas[quota].size + cost > ORIGIN_BYTES_MAX:
            verdict = OFFER_QUOTA
        elif at < 0 and self.count >= RUMORS_MAX:
            verdict = OFFER_FULL
        elif self.size + cost - freed > RUMOR_BYTES_MAX:
            verdict = OFFER_FULL
        elif at < 0 and self.free_count == 0 and self.slots == self.capacity and not self._grow():
            verdict = OFFER_FULL
        else:
            verdict = OFFER_TAKEN
        if verdict != OFFER_TAKEN:
            if self.quotas[quota].rumors == 0:
                self._free_quota(quota)
            rumor_drop(blob)
            return verdict
        if at >= 0:
            entry = &self.entries[at]
            previous[0] = entry.blob
            self.quotas[quota].rumors += 1
            self.quotas[quota].size += cost
            self._release(entry.quota, freed)
        else:
            if self.free_count:
                self.free_count -= 1
                at = self.free_slots[self.free_count]
            else:
                at = self.slots
                self.slots += 1
                self.entries[at].generation = 0
            entry = &self.entries[at]
            entry.name = self.name_of(blob.kind, blob.data, blob.key_size, blob.origin)
            entry.digested = 0
            entry.generation += 1
            if not self.index.put(entry.name, at):
                entry.blob = NULL
                self.free_slots[self.free_count] = at
                self.free_count += 1
                if self.quotas[quota].rumors == 0:
                    self._free_quota(quota)
                rumor_drop(blob)
                return OFFER_FULL
            self.count += 1
            self.quotas[quota].rumors += 1
            self.quotas[quota].size += cost
        entry.blob = blob
        entry.quota = quota
        entry.changed = now
        entry.expires = 0
        self.size += cost
        self.size -= freed
        slot[0] = at
        return OFFER_TAKEN

    cdef RumorBlob* _join(self, const RumorBlob* a, const RumorBlob* b, Rule rule) noexcept:
        # The merge of two values with the version that follows from the result. NULL: out of
        # memory.
        cdef const uint8_t* x = a.data + a.key_size
        cdef const uint8_t* y = NULL
        cdef uint32_t y_size = 0
        cdef uint32_t size = a.value_size
        cdef uint32_t i
        cdef uint32_t k
        cdef uint64_t total = 0
        cdef uint64_t word
        cdef bint second
        cdef uint8_t value
        cdef uint8_t* out
        cdef RumorBlob* result
        if b != NULL:
            y = b.data + b.key_size
            y_size = b.value_size
            if y_size > size:
                size = y_size
        result = rumor_new(a.data, a.key_size, NULL, size)
        if result == NULL:
            return NULL
        result.tombstone = 0
        result.kind = a.kind
        result.value_size = size
        # Who wrote is not part of a join: the smallest writer, so that the quota has one
        # deterministic payer.
        memcpy(result.origin, a.origin, 16)
        if b != NULL and memcmp(b.origin, a.origin, 16) < 0:
            memcpy(result.origin, b.origin, 16)
        out = result.data + result.key_size
        if rule == RULE_UNION:
            for i in range(size):
                value = 0
                if i < a.value_size:
                    value |= x[i]
                if i < y_size:
                    value |= y[i]
                out[i] = value
                while value:
                    total += value & 1
                    value >>= 1
        else:
            for i in range(0, size, 8):
                second = False
                if i + 8 > a.value_size:
                    second = True
                elif i + 8 <= y_size:
                    second = memcmp(y + i, x + i, 8) > 0
                memcpy(out + i, (y if second else x) + i, 8)
                word = 0
                for k in range(8):
                    word = (word << 8) | out[i + k]
                word &= 0x0FFFFFFFFFFFFFFFULL
                total = (total + word) & 0x7FFFFFFFFFFFFFFFULL
        result.a = total
        result.b = 0
        result.value_hash = self.value_hash(out, size)
        return result

    cdef RumorBlob* expire(self, int32_t slot, int64_t now) noexcept:
        """Keep of a version that has lived out only its name and rank; give what was held, with
        its reference. NULL: out of memory, and nothing is changed.

        The mark has the hash of the value it had, so it ranks above its own version and below every
        other that did.
        """
        cdef Entry* entry = &self.entries[slot]
        cdef RumorBlob* held = entry.blob
        cdef RumorBlob* mark = rumor_new(held.data, held.key_size, NULL, 0)
        if mark == NULL:
            return NULL
        mark.kind = held.kind
        mark.a = held.a
        mark.b = held.b
        mark.value_hash = held.value_hash
        memcpy(mark.origin, held.origin, 16)
        self.quotas[entry.quota].size -= held.value_size
        self.size -= held.value_size
        entry.blob = mark
        entry.changed = now
        return held

    cdef void drop(self, int32_t slot) noexcept:
        """Forget an entry altogether."""
        cdef Entry* entry = &self.entries[slot]
        cdef uint32_t cost = _OVERHEAD + entry.blob.key_size + entry.blob.value_size
        self.index.remove(entry.name)
        self._release(entry.quota, cost)
        self.size -= cost
        self.count -= 1
        rumor_drop(entry.blob)
        entry.blob = NULL
        entry.generation += 1
        self.free_slots[self.free_count] = slot
        self.free_count += 1

    cdef uint64_t entry_hash(self, int32_t slot) noexcept:
        """What an entry adds to the digest: its name and version."""
        cdef uint64_t words[5]
        cdef RumorBlob* blob = self.entries[slot].blob
        words[0] = self.entries[slot].name
        words[1] = blob.a
        words[2] = blob.b
        words[3] = blob.value_hash
        words[4] = blob.tombstone
        return sip_hash(self.key0, self.key1, <const uint8_t*> words, sizeof(words))

    cdef bint _grow(self) noexcept:
        cdef int32_t wanted = self.capacity * 2 if self.capacity else 8
        cdef void* p
        p = realloc(self.entries, wanted * sizeof(Entry))
        if p == NULL:
            return False
        self.entries = <Entry*> p
        p = realloc(self.free_slots, wanted * sizeof(int32_t))
        if p == NULL:
            return False
        self.free_slots = <int32_t*> p
        self.capacity = wanted
        return True

    cdef int32_t _quota_of(self, const uint8_t* origin) noexcept:
        cdef uint64_t name = sip_hash(self.key0, ~self.key1, origin, 16)
        cdef int32_t row = self.origins.find(name)
        cdef int32_t wanted
        cdef void* p
        if row >= 0:
            return row
        if self.free_quota_count:
            self.free_quota_count -= 1
            row = self.free_quotas[self.free_quota_count]
        else:
            if self.quota_rows == self.quota_capacity:
                wanted = self.quota_capacity * 2 if self.quota_capacity else 8
                p = realloc(self.quotas, wanted * sizeof(Quota))
                if p == NULL:
                    return -1
                self.quotas = <Quota*> p
                p = realloc(self.free_quotas, wanted * sizeof(int32_t))
                if p == NULL:
                    return -1
                self.free_quotas = <int32_t*> p
                self.quota_capacity = wanted
            row = self.quota_rows
            self.quota_rows += 1
        self.quotas[row].name = name
        self.quotas[row].rumors = 0
        self.quotas[row].size = 0
        if not self.origins.put(name, row):
            self.free_quotas[self.free_quota_count] = row
            self.free_quota_count += 1
            return -1
        return row

    cdef void _free_quota(self, int32_t row) noexcept:
        self.origins.remove(self.quotas[row].name)
        self.free_quotas[self.free_quota_count] = row
        self.free_quota_count += 1

    cdef void _release(self, int32_t quota, uint32_t size) noexcept:
        # Give one rumor back; an origin that holds none is forgotten, so origins are bounded by
        # rumors.
        self.quotas[quota].rumors -= 1
        self.quotas[quota].size -= size
        if self.quotas[quota].rumors == 0:
            self._free_quota(quota)


cdef bint _same_value(const RumorBlob* a, const RumorBlob* b) noexcept:
    return (
        a.value_size == b.value_size
        and memcmp(a.origin, b.origin, 16) == 0
        and memcmp(a.data + a.key_size, b.data + b.key_size, a.value_size) == 0
    )
