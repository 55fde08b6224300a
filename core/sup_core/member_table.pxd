from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.card_pool cimport Card, CardPool
from sup_core.hash_index cimport HashIndex
from sup_core.identity cimport Address
from sup_core.prng cimport Prng

# The first four are events.MemberState; UNSEEN members are known by hearsay and not shown until
# they answer.
cdef enum State:
    STATE_ALIVE = 0
    STATE_SUSPECT = 1
    STATE_DEAD = 2
    STATE_LEFT = 3
    STATE_UNSEEN = 4
    STATE_FREE = 5

cdef enum Admission:
    ADMIT_STALE = 0         # ranks below what is held
    ADMIT_SAME = 1          # is what is held
    ADMIT_RAISED = 2        # newer evidence for the same state
    ADMIT_CHANGED = 3       # the state or the epoch changed
    ADMIT_REFUSED = 4       # jumps further than a member can have got

cdef enum Flag:
    FLAG_SUSPICION_ARMED = 1
    FLAG_CONTACT_ARMED = 2
    FLAG_DIGESTED = 4       # part of the digest
    FLAG_NEWS_CARD = 8      # gossip the whole card, not only the status
    FLAG_ASKED = 16         # asked for its card since it last sent one
    FLAG_DOUBTED = 32       # held alive on old evidence; to be probed soon
    FLAG_UNMENTIONED = 64   # not mentioned yet in the exchange that is being read

# Precedence of evidence: epoch, then left, then incarnation, then state. One definition for
# everybody.
cdef bint evidence_above(uint32_t epoch_a, uint32_t incarnation_a, uint8_t state_a,
                         uint32_t epoch_b, uint32_t incarnation_b, uint8_t state_b) noexcept nogil

cdef class MemberTable:
    cdef int32_t rows               # rows ever used, free ones included; row 0 is this node
    cdef int32_t capacity
    cdef int32_t live_count         # rows in live_rows (alive and suspect, without row 0)
    cdef int32_t free_count
    cdef int32_t alive_count        # alive ones among them
    cdef int32_t successor          # cached answer of next_in_order, -2 unknown
    cdef HashIndex index
    cdef CardPool pool              # where the cards of the rows come from
    cdef uint8_t* states
    cdef uint8_t* flags
    cdef uint8_t* backoff_s
    cdef uint32_t* epochs
    cdef uint32_t* incarnations
    cdef uint32_t* generations
    cdef int64_t* entered_at
    cdef int64_t* heard_at
    cdef Card** cards               # never NULL but in a free row
    cdef int32_t* live_rows
    cdef int32_t* live_at           # position in live_rows, or -1
    cdef int32_t* free_rows
    cdef bint grow(self) noexcept
    cdef int32_t find(self, uint64_t short_id) noexcept
    cdef int32_t add(self, Card* card, int64_t now) noexcept
    cdef void set_card(self, int32_t row, Card* card) noexcept
    cdef void forget(self, int32_t row) noexcept
    cdef void set_state(self, int32_t row, uint8_t state, int64_t now) noexcept
    cdef Admission admit(
        self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state
    ) noexcept
    cdef int32_t random_live(self, Prng prng) noexcept
    cdef int32_t next_in_order(self) noexcept

    # What a row's card says; pointers are good until the row gets another card.
    cdef inline uint64_t short_id(self, int32_t row) noexcept:
        return self.cards[row].short_id

    cdef inline const uint8_t* id_of(self, int32_t row) noexcept:
        return self.cards[row].id.octets

    cdef inline const Address* address(self, int32_t row) noexcept:
        return &self.cards[row].address

    cdef inline uint64_t version(self, int32_t row) noexcept:
        return self.cards[row].version

    # When the row entered its state, and when its member was last heard from.
    cdef inline int64_t since(self, int32_t row) noexcept:
        return self.entered_at[row]

    cdef inline void set_since(self, int32_t row, int64_t when) noexcept:
        self.entered_at[row] = when

    cdef inline int64_t heard(self, int32_t row) noexcept:
        return self.heard_at[row]

    cdef inline void hear(self, int32_t row, int64_t now) noexcept:
        self.heard_at[row] = now
