from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from sup_core.identity cimport Address, MemberId

# Who a member is, as it came over the wire: never changed, counted, one per content in its pool.
cdef struct Card:
    Card* following         # the next one of its chain
    Shelf* shelf            # where it goes back to
    uint64_t version        # epoch << 16 | count
    uint64_t short_id       # of ``id``
    uint32_t hash
    uint32_t references
    MemberId id
    Address address
    uint16_t size           # of ``data``: [name, {tag: value}]
    uint16_t zone           # hash of the tag "zone", 0 without one
    uint8_t data[1]

# A pool's memory: it outlives its object for as long as somebody holds a card of it.
cdef struct Shelf:
    Card** chains
    uint64_t salt
    uint64_t bytes          # of the cards
    uint32_t mask
    uint32_t count
    bint abandoned

cdef void card_release(Card* card) noexcept nogil

cdef inline Card* card_share(Card* card) noexcept nogil:
    if card != NULL:
        card.references += 1
    return card

cdef inline void card_drop(Card* card) noexcept nogil:
    if card != NULL:
        card.references -= 1
        if card.references == 0:
            card_release(card)

cdef class CardPool:
    cdef Shelf* shelf
    cdef Card* intern(
        self, const uint8_t* member_id, const Address* address, uint64_t version,
        const uint8_t* data, uint32_t size
    ) noexcept
