"""The cards of members: who they are, where, and with what tags; each content held once.

A card is immutable and counted. Tables and queued events refer to it, so that an event shows what
was true when it was made, without a copy. All nodes of a process may share one pool: a thousand
members that know each other then hold a thousand cards and not a million.

Counts and chains are plain memory: all nodes of a pool belong to one thread. The order of a chain
depends on what was interned before, and nobody sees it. The hash is salted and covers id and
version: who forges many contents for one of them gets as many cards into a chain as there are
tables that each hold one.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy
from sup_core.cursor cimport Reader, read_array, read_map, read_str, reader_init
from sup_core.identity cimport Address, address_equal, short_of, sip_hash
from sup_core.limits cimport (
    NAME_BYTES_MAX,
    TAG_KEY_BYTES_MAX,
    TAG_VALUE_BYTES_MAX,
    TAGS_MAX,
)
from sup_core.prng cimport Prng

cdef enum:
    _CHAINS_FIRST = 16


cdef uint32_t _hash(const Shelf* shelf, uint64_t short_id, uint64_t version) noexcept nogil:
    cdef uint64_t mixed = (short_id ^ shelf.salt) * 0x9E3779B97F4A7C15ULL
    mixed = (mixed ^ (mixed >> 32) ^ version) * (shelf.salt | 1)
    return <uint32_t> (mixed >> 32)


cdef uint16_t _zone_of(const uint8_t* data, uint32_t size) noexcept nogil:
    # Kept with the card, because the time-out of every probe asks for it. Two zones of one hash
    # only share an estimate.
    cdef Reader r
    cdef uint32_t length = 0
    cdef uint32_t _i
    cdef uint32_t pairs
    cdef const uint8_t* raw
    cdef bint wanted
    reader_init(&r, data, size)
    if read_array(&r) != 2:
        return 0
    read_str(&r, &length, NAME_BYTES_MAX)
    pairs = read_map(&r)
    for _i in range(pairs if pairs <= TAGS_MAX else 0):
        raw = read_str(&r, &length, TAG_KEY_BYTES_MAX)
        wanted = raw != NULL and length == 4 and memcmp(raw, b"zone", 4) == 0
        raw = read_str(&r, &length, TAG_VALUE_BYTES_MAX)
        if wanted and raw != NULL:
            return <uint16_t> sip_hash(1, 1, raw, length) | 1
    return 0


cdef void _grow(Shelf* shelf) noexcept nogil:
    # Twice the chains; without memory the old ones only get longer.
    cdef uint32_t size = (shelf.mask + 1) * 2
    cdef uint32_t i
    cdef Card* card
    cdef Card* following
    cdef Card** chains = <Card**> calloc(size, sizeof(Card*))
    if chains == NULL:
        return
    for i in range(shelf.mask + 1):
        card = shelf.chains[i]
        while card != NULL:
            following = card.following
            card.following = chains[card.hash & (size - 1)]
            chains[card.hash & (size - 1)] = card
            card = following
    free(shelf.chains)
    shelf.chains = chains
    shelf.mask = size - 1


cdef void _close(Shelf* shelf) noexcept nogil:
    if shelf.abandoned and shelf.count == 0:
        free(shelf.chains)
        free(shelf)


cdef void card_release(Card* card) noexcept nogil:
    """Free a card that nobody refers to."""
    cdef Shelf* shelf = card.shelf
    cdef Card** link = &shelf.chains[card.hash & shelf.mask]
    while link[0] != card:
        link = &link[0].following
    link[0] = card.following
    shelf.count -= 1
    shelf.bytes -= sizeof(Card) + card.size
    free(card)
    _close(shelf)


cdef class CardPool:
    """The cards that the nodes of one process hold; each node has its own pool unless given one."""

    def __cinit__(self, salt: int = 0) -> None:
        self.shelf = <Shelf*> calloc(1, sizeof(Shelf))
        if self.shelf == NULL:
            raise MemoryError
        # Small numbers are no good salts: it is a factor of the hash.
        self.shelf.salt = Prng(salt).draw()
        self.shelf.chains = <Card**> calloc(_CHAINS_FIRST, sizeof(Card*))
        if self.shelf.chains == NULL:
            raise MemoryError
        self.shelf.mask = _CHAINS_FIRST - 1

    def __dealloc__(self) -> None:
        if self.shelf != NULL:
            self.shelf.abandoned = True
            _close(self.shelf)

    def __len__(self) -> int:
        """How many different cards are held."""
        return self.shelf.count

    def memory_bytes(self) -> int:
        """What the cards and their index take."""
        return self.shelf.bytes + sizeof(Shelf) + (self.shelf.mask + 1) * sizeof(Card*)

    cdef Card* intern(
            self, const uint8_t* member_id, const Address* address, uint64_t version,
            const uint8_t* data, uint32_t size
    ) noexcept:
        """The card with this content and one more reference; NULL when out of memory."""
        cdef Shelf* shelf = self.shelf
        cdef uint64_t short_id = short_of(member_id)
        cdef uint32_t hash = _hash(shelf, short_id, version)
        cdef Card* card = shelf.chains[hash & shelf.mask]
        while card != NULL:
            if (
                card.short_id == short_id
                and card.version == version
                and card.size == size
                and memcmp(card.id.octets, member_id, 16) == 0
                and address_equal(&card.address, address)
                and memcmp(card.data, data, size) == 0
            ):
                card.references += 1
                return card
            card = card.following
        card = <Card*> malloc(sizeof(Card) + size)
        if card == NULL:
            return NULL
        if shelf.count > shelf.mask:
            _grow(shelf)
        card.shelf = shelf
        card.version = version
        card.short_id = short_id
        card.hash = hash
        card.references = 1
        memcpy(card.id.octets, member_id, 16)
        card.address = address[0]
        card.size = <uint16_t> size
        card.zone = _zone_of(data, size)
        memcpy(card.data, data, size)
        card.following = shelf.chains[hash & shelf.mask]
        shelf.chains[hash & shelf.mask] = card
        shelf.count += 1
        shelf.bytes += sizeof(Card) + size
        return card
