"""Immutable, counted pieces of C memory: the versions of rumors.

Store, pulls and event queue share them, so that an event shows what was true when it was made
without a copy. Counts are plain integers: one node is one thread's.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef RumorBlob* rumor_new(
        const uint8_t* key, uint32_t key_size, const uint8_t* value, uint32_t value_size
) noexcept nogil:
    """A rumor with one reference and its versions 0; ``value`` NULL makes a tombstone."""
    cdef RumorBlob* blob = <RumorBlob*> malloc(sizeof(RumorBlob) + key_size + value_size)
    if blob == NULL:
        return NULL
    memset(blob, 0, sizeof(RumorBlob))
    blob.references = 1
    blob.key_size = <uint16_t> key_size
    memcpy(blob.data, key, key_size)
    if value == NULL:
        blob.tombstone = 1
    else:
        blob.value_size = value_size
        memcpy(blob.data + key_size, value, value_size)
    return blob


cdef RumorBlob* rumor_share(RumorBlob* blob) noexcept nogil:
    if blob != NULL:
        blob.references += 1
    return blob


cdef void rumor_drop(RumorBlob* blob) noexcept nogil:
    if blob != NULL:
        blob.references -= 1
        if blob.references == 0:
            free(blob)
