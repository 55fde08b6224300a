"""Immutable, counted pieces of C memory: a member's card and a version of a rumor.

The tables and the event queue share them, so that an event shows what was true when it was made
without a copy. Counts are plain integers: one node is one thread's.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef Card* card_new(const uint8_t* data, uint32_t size) noexcept nogil:
    """A card with one reference, or NULL when out of memory."""
    cdef Card* card = <Card*> malloc(sizeof(Card) + size)
    if card != NULL:
        card.references = 1
        card.size = <uint16_t> size
        memcpy(card.data, data, size)
    return card


cdef Card* card_share(Card* card) noexcept nogil:
    if card != NULL:
        card.references += 1
    return card


cdef void card_drop(Card* card) noexcept nogil:
    if card != NULL:
        card.references -= 1
        if card.references == 0:
            free(card)


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
