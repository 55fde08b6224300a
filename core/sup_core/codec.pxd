from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from sup_core.cursor cimport Reader, Writer
from sup_core.identity cimport Address

# Message tags; the layouts are in the table of codec.pyx.
cdef enum Tag:
    MSG_NONE = 0
    MSG_PING = 1
    MSG_ACK = 2
    MSG_PING_REQ = 3
    MSG_NACK = 4
    MSG_RELAYED = 5
    MSG_STATUS = 6
    MSG_MEMBER = 7
    MSG_RUMOR = 8
    MSG_HEADER = 9
    MSG_JOIN = 10
    MSG_WELCOME = 11
    MSG_BUCKETS = 12
    MSG_SYNC = 13
    MSG_PULL = 14
    MSG_SYNCED = 15
    MSG_COMPARE = 16
    MSG_CLOCK = 17

cdef struct Header:
    uint64_t version
    uint64_t ring
    uint64_t sender
    uint32_t epoch
    uint32_t incarnation
    uint32_t count          # messages that follow

# One message, decoded; pointers are into the packet. Only the fields of its tag are set.
cdef struct Message:
    Tag tag
    uint32_t seq
    uint64_t digest
    uint64_t subject        # short id
    uint64_t other          # short id: the accuser
    uint32_t budget_us
    uint8_t state
    uint32_t epoch
    uint32_t incarnation
    uint64_t version        # of the card
    uint32_t age_s
    const uint8_t* id
    Address address
    const uint8_t* card     # [name, {tag: value}]
    uint32_t card_size
    uint64_t kind
    const uint8_t* key
    uint32_t key_size
    const uint8_t* origin
    uint64_t a
    uint64_t b
    uint64_t value_hash
    const uint8_t* value    # NULL: a tombstone
    uint32_t value_size
    uint32_t life_ms        # a RUMOR or HEADER expires in this time; 0: never
    const uint8_t* bits     # 128 bucket hashes, or a bit map of buckets
    const uint8_t* list     # COMPARE: names and hashes; SYNCED: names; WELCOME: addresses; or NULL
    uint32_t list_size
    uint8_t shift           # which bits of their hashes a COMPARE lists
    uint32_t window_ms      # a COMPARE of what changed in this time; 0: of everything

cdef void write_header(
    Writer* w, uint64_t ring, uint64_t sender, uint32_t epoch, uint32_t incarnation
) noexcept nogil
cdef void write_wide_header(
    Writer* w, uint64_t ring, uint64_t sender, uint32_t epoch, uint32_t incarnation
) noexcept nogil
cdef void finish_packet(Writer* w, uint32_t messages) noexcept nogil
cdef bint read_header(Reader* r, Header* out) noexcept nogil
cdef bint read_message(Reader* r, Message* out) noexcept nogil
cdef bint card_valid(const uint8_t* data, uint32_t size) noexcept nogil

cdef void write_ping(Writer* w, uint32_t seq, uint64_t digest) noexcept nogil
cdef void write_ack(Writer* w, uint32_t seq, uint64_t digest) noexcept nogil
cdef void write_ping_req(
    Writer* w, uint32_t seq, uint64_t subject, uint32_t budget_us
) noexcept nogil
cdef void write_nack(Writer* w, uint32_t seq, uint64_t subject) noexcept nogil
cdef void write_relayed(
    Writer* w, uint32_t seq, uint64_t subject, uint32_t epoch, uint32_t incarnation
) noexcept nogil
cdef void write_status(
    Writer* w, uint64_t subject, uint8_t state, uint32_t epoch, uint32_t incarnation,
    uint64_t accuser
) noexcept nogil
cdef void write_member(Writer* w, const Message* m) noexcept nogil
cdef void write_rumor(Writer* w, const Message* m) noexcept nogil
cdef void write_rumor_header(Writer* w, const Message* m) noexcept nogil
cdef void write_join(Writer* w, Tag tag, uint32_t padding) noexcept nogil
cdef void write_buckets(Writer* w, const uint64_t* hashes) noexcept nogil
cdef void write_sync(Writer* w, Tag tag, const uint8_t* bits) noexcept nogil
cdef void write_synced(
    Writer* w, const uint8_t* bits, const uint8_t* names, uint32_t size
) noexcept nogil
cdef void write_compare(
    Writer* w, const uint8_t* bits, uint8_t shift, const uint8_t* names, uint32_t size,
    uint32_t window_ms
) noexcept nogil
cdef void write_welcome(Writer* w, const uint8_t* addresses, uint32_t size) noexcept nogil
cdef void write_pull(Writer* w, const Message* m) noexcept nogil
cdef void write_clock(Writer* w, uint64_t wall_us, uint64_t up_us) noexcept nogil
