from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

# One version of one rumor; immutable, counted. ``data`` holds the key, then the value.
cdef struct RumorBlob:
    int32_t references
    uint32_t value_size
    uint64_t a
    uint64_t b
    uint64_t value_hash
    uint8_t origin[16]
    uint8_t kind
    uint8_t tombstone
    uint16_t key_size
    uint8_t data[1]

cdef RumorBlob* rumor_new(
    const uint8_t* key, uint32_t key_size, const uint8_t* value, uint32_t value_size
) noexcept nogil
cdef RumorBlob* rumor_share(RumorBlob* blob) noexcept nogil
cdef void rumor_drop(RumorBlob* blob) noexcept nogil

cdef inline const uint8_t* rumor_value(const RumorBlob* blob) noexcept nogil:
    if blob.tombstone:
        return NULL
    return <const uint8_t*> &blob.data[0] + blob.key_size
