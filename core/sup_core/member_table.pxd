from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from sup_core.card_pool cimport Card, CardPool
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

cdef enum:
    NO_ROW = 0xFFFF         # in columns that hold rows or places; MEMBERS_MAX is below
    TICK_SHIFT = 14         # a tick is 2^14 µs

cdef enum Flag:
    FLAG_CONTACT_ARMED = 2
    FLAG_DIGESTED = 4       # part of the digest
    FLAG_NEWS_CARD = 8      # gossip the whole card, not only the status
    FLAG_ASKED = 16         # not shown, and asked since somebody said that it is gone
    FLAG_DOUBTED = 32       # held alive on old evidence; to be probed soon
    FLAG_LISTED = 128       # in the list that is being compared
    FLAG_UNMENTIONED = 64   # not mentioned yet in the exchange that is being read
    FLAG_HELD = 1           # shown as dead until it has answered for long enough; see told()

# Precedence of evidence: epoch, then left, then incarnation, then state. One definition for
# everybody.
cdef bint evidence_above(uint32_t epoch_a, uint32_t incarnation_a, uint8_t state_a,
                         uint32_t epoch_b, uint32_t incarnation_b, uint8_t state_b) noexcept nogil

cdef class MemberTable:
    cdef int32_t rows               # rows ever used, free ones included; row 0 is this node
    cdef int32_t capacity
    cdef int32_t live_count         # rows in live_rows (alive and suspect, without row 0)
    cdef int32_t free_count
    cdef int32_t free_first         # the free rows are chained through live_at
    cdef int32_t alive_count        # alive ones among the live
    cdef int32_t successor          # cached answer of next_in_order, -2 unknown
    cdef int32_t predecessor        # the same for previous_in_order
    cdef int64_t now
    cdef int64_t aged_at            # when the times of all rows were last looked at
    cdef uint64_t salt
    cdef CardPool pool              # where the cards of the rows come from
    cdef uint8_t* block             # holds all columns and the index
    cdef uint32_t* index            # fragment of a hash << 16 | row, at the place of the hash
    cdef uint32_t slots             # of the index
    cdef Card** cards               # never NULL but in a free row
    cdef uint8_t* states
    cdef uint8_t* flags
    cdef uint8_t* backoff_s
    cdef uint32_t* epochs
    cdef uint32_t* incarnations
    # Two per use of a row, and a use lasts a tombstone floor of 10 s at least: 91 hours until a
    # number comes back, and no timer or probe that names a row waits longer than one.
    cdef uint16_t* generations
    cdef uint32_t* entered_at       # in ticks
    cdef uint32_t* heard_at
    cdef uint16_t* live_rows
    cdef uint16_t* live_at          # place in live_rows, or NO_ROW
    cdef void at(self, int64_t now) noexcept
    cdef uint32_t tick(self, int64_t when) noexcept
    cdef bint grow(self) noexcept
    cdef size_t block_bytes(self) noexcept
    cdef void _put(self, int32_t row) noexcept
    cdef void _take_out(self, int32_t row) noexcept
    cdef int32_t find(self, uint64_t short_id) noexcept
    cdef int32_t find_address(self, const Address* address) noexcept
    cdef int32_t add(self, Card* card, int64_t now) noexcept
    cdef void set_card(self, int32_t row, Card* card) noexcept
    cdef void forget(self, int32_t row) noexcept
    cdef void set_state(self, int32_t row, uint8_t state, int64_t now) noexcept
    cdef Admission admit(
        self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state
    ) noexcept
    cdef int32_t random_live(self, Prng prng) noexcept
    cdef int32_t next_in_order(self) noexcept
    cdef int32_t previous_in_order(self) noexcept
    cdef int32_t _nearest(self, bint behind) noexcept
    cdef void _neighbours_changed(self, int32_t row, bint alive) noexcept

    # Salted: whoever chooses ids cannot choose collisions. The upper half is the place in the
    # index, the lowest 16 bits are kept in the entry.
    cdef inline uint64_t _mixed(self, uint64_t short_id) noexcept:
        cdef uint64_t mixed = (short_id ^ self.salt) * 0x9E3779B97F4A7C15ULL
        return (mixed ^ (mixed >> 32)) * (self.salt | 1)

    cdef inline uint32_t _home(self, uint64_t mixed) noexcept:
        return <uint32_t> (((mixed >> 32) * self.slots) >> 32)

    # The state that the protocol goes on with: a member that is held down is alive to it.
    cdef inline uint8_t told(self, int32_t row) noexcept:
        return <uint8_t> STATE_ALIVE if self.flags[row] & FLAG_HELD else self.states[row]

    # What a row's card says; pointers are good until the row gets another card.
    cdef inline uint64_t short_id(self, int32_t row) noexcept:
        return self.cards[row].short_id

    cdef inline const uint8_t* id_of(self, int32_t row) noexcept:
        return self.cards[row].id.octets

    cdef inline const Address* address(self, int32_t row) noexcept:
        return &self.cards[row].address

    cdef inline uint64_t version(self, int32_t row) noexcept:
        return self.cards[row].version

    # When the row entered its state, and when its member was last heard from; as in ``tick``.
    cdef inline int64_t since(self, int32_t row) noexcept:
        return self._told(self.entered_at[row])

    cdef inline void set_since(self, int32_t row, int64_t when) noexcept:
        self.entered_at[row] = self.tick(when)

    cdef inline int64_t heard(self, int32_t row) noexcept:
        return self._told(self.heard_at[row])

    cdef inline void hear(self, int32_t row, int64_t now) noexcept:
        self.heard_at[row] = self.tick(now)

    cdef inline int64_t _told(self, uint32_t stored) noexcept:
        cdef int64_t ticks = self.now >> TICK_SHIFT
        return (ticks - <int64_t> (<uint32_t> ticks - stored)) << TICK_SHIFT
