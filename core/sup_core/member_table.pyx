"""Who is known: one row per member in parallel C arrays, found by 8-byte short id.

Holds the one definition of precedence between pieces of evidence about a member (epoch, then
`left`, then incarnation, then alive < suspect < dead), a total order, so that merging is a
maximum: associative, commutative, idempotent. Never decides what to tell others; that is the
node's. Row 0 is the node itself. Source: SWIM, Das et al. 2002, section 4.2, with epochs and the
rule that any admitted evidence raises the stored incarnation.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memset
from sup_core.card_pool cimport Card, CardPool, card_drop
from sup_core.hash_index cimport HashIndex
from sup_core.limits cimport EPOCH_JUMP_MAX, INCARNATION_JUMP_MAX, MEMBERS_MAX
from sup_core.prng cimport Prng


cdef bint evidence_above(uint32_t epoch_a, uint32_t incarnation_a, uint8_t state_a,
                         uint32_t epoch_b, uint32_t incarnation_b, uint8_t state_b) noexcept nogil:
    """Whether evidence a outranks evidence b. States are alive, suspect, dead, left."""
    if epoch_a != epoch_b:
        return epoch_a > epoch_b
    if (state_a == STATE_LEFT) != (state_b == STATE_LEFT):
        return state_a == STATE_LEFT
    if incarnation_a != incarnation_b:
        return incarnation_a > incarnation_b
    return state_a > state_b


def outranks(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    """Whether evidence ``a`` = (epoch, incarnation, state) outranks ``b``."""
    return evidence_above(a[0], a[1], a[2], b[0], b[1], b[2])


cdef class MemberTable:
    """The members that one node knows of."""

    def __cinit__(self, salt: int, CardPool pool not None) -> None:
        self.index = HashIndex(salt)
        self.pool = pool
        self.successor = -2
        if not self.grow():
            raise MemoryError

    def __dealloc__(self) -> None:
        cdef int32_t row
        for row in range(self.rows):
            card_drop(self.cards[row])
        free(self.states)
        free(self.flags)
        free(self.backoff_s)
        free(self.epochs)
        free(self.incarnations)
        free(self.generations)
        free(self.entered_at)
        free(self.heard_at)
        free(self.cards)
        free(self.live_rows)
        free(self.live_at)
        free(self.free_rows)

    cdef bint grow(self) noexcept:
        # A failed realloc leaves the others grown and the capacity as it was: still consistent.
        cdef int32_t wanted = self.capacity * 2 if self.capacity else 8
        cdef void* p
        p = realloc(self.states, wanted)
        if p == NULL:
            return False
        self.states = <uint8_t*> p
        p = realloc(self.flags, wanted)
        if p == NULL:
            return False
        self.flags = <uint8_t*> p
        p = realloc(self.backoff_s, wanted)
        if p == NULL:
            return False
        self.backoff_s = <uint8_t*> p
        p = realloc(self.epochs, wanted * sizeof(uint32_t))
        if p == NULL:
            return False
        self.epochs = <uint32_t*> p
        p = realloc(self.incarnations, wanted * sizeof(uint32_t))
        if p == NULL:
            return False
        self.incarnations = <uint32_t*> p
        p = realloc(self.generations, wanted * sizeof(uint32_t))
        if p == NULL:
            return False
        self.generations = <uint32_t*> p
        p = realloc(self.entered_at, wanted * sizeof(int64_t))
        if p == NULL:
            return False
        self.entered_at = <int64_t*> p
        p = realloc(self.heard_at, wanted * sizeof(int64_t))
        if p == NULL:
            return False
        self.heard_at = <int64_t*> p
        p = realloc(self.cards, wanted * sizeof(Card*))
        if p == NULL:
            return False
        self.cards = <Card**> p
        p = realloc(self.live_rows, wanted * sizeof(int32_t))
        if p == NULL:
            return False
        self.live_rows = <int32_t*> p
        p = realloc(self.live_at, wanted * sizeof(int32_t))
        if p == NULL:
            return False
        self.live_at = <int32_t*> p
        p = realloc(self.free_rows, wanted * sizeof(int32_t))
        if p == NULL:
            return False
        self.free_rows = <int32_t*> p
        memset(&self.generations[self.capacity], 0, (wanted - self.capacity) * sizeof(uint32_t))
        self.capacity = wanted
        return True

    cdef int32_t find(self, uint64_t short_id) noexcept:
        """The row of a short id, or -1."""
        return self.index.find(short_id)

    cdef int32_t add(self, Card* card, int64_t now) noexcept:
        """A new UNSEEN row with epoch and incarnation 0, or the one that this member has.

        The caller's reference to the card is consumed if the row is new. -1 when full, -2 when the
        short id is another's.
        """
        cdef int32_t row = self.index.find(card.short_id)
        if row >= 0:
            return row if memcmp(self.id_of(row), card.id.octets, 16) == 0 else -2
        if self.free_count:
            self.free_count -= 1
            row = self.free_rows[self.free_count]
        else:
            if self.rows >= MEMBERS_MAX or (self.rows == self.capacity and not self.grow()):
                return -1
            row = self.rows
            self.rows += 1
        if not self.index.put(card.short_id, row):
            self.free_rows[self.free_count] = row
            self.free_count += 1
            self.states[row] = STATE_FREE
            self.cards[row] = NULL
            return -1
        self.states[row] = STATE_UNSEEN
        self.flags[row] = 0
        self.backoff_s[row] = 0
        self.epochs[row] = 0
        self.incarnations[row] = 0
        self.generations[row] += 1
        self.set_since(row, now)
        self.hear(row, -0x3FFFFFFFFFFFFFFF)
        self.cards[row] = card
        self.live_at[row] = -1
        return row

    cdef void set_card(self, int32_t row, Card* card) noexcept:
        """Give a row another card of its member; the caller's reference is consumed."""
        card_drop(self.cards[row])
        self.cards[row] = card

    cdef void forget(self, int32_t row) noexcept:
        """Free a row; timers that name it are stale from here on."""
        self.set_state(row, STATE_UNSEEN, 0)
        self.index.remove(self.short_id(row))
        card_drop(self.cards[row])
        self.cards[row] = NULL
        self.states[row] = STATE_FREE
        self.flags[row] = 0
        self.generations[row] += 1
        self.free_rows[self.free_count] = row
        self.free_count += 1

    cdef void set_state(self, int32_t row, uint8_t state, int64_t now) noexcept:
        """Enter a state and keep the list of live rows; the order of that list depends on inputs
        only.
        """
        cdef bint live = state <= STATE_SUSPECT and row != 0
        cdef int32_t at = self.live_at[row]
        cdef int32_t moved
        if self.states[row] == STATE_ALIVE and row != 0 and at >= 0:
            self.alive_count -= 1
        if state == STATE_ALIVE and row != 0:
            self.alive_count += 1
        if live and at < 0:
            self.live_rows[self.live_count] = row
            self.live_at[row] = self.live_count
            self.live_count += 1
        elif not live and at >= 0:
            self.live_count -= 1
            moved = self.live_rows[self.live_count]
            self.live_rows[at] = moved
            self.live_at[moved] = at
            self.live_at[row] = -1
        self.states[row] = state
        self.set_since(row, now)
        self.successor = -2

    cdef Admission admit(
            self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state
    ) noexcept:
        """Weigh evidence against a row, raise its epoch and incarnation; the state is not set.

        An UNSEEN row counts as alive here; only the membership decides when it is shown.
        """
        cdef uint8_t held = self.states[row]
        cdef bint same_state
        if held == STATE_UNSEEN:
            held = STATE_ALIVE
        if epoch == self.epochs[row] and incarnation == self.incarnations[row] and state == held:
            return ADMIT_SAME
        if not evidence_above(
                epoch, incarnation, state, self.epochs[row], self.incarnations[row], held
        ):
            return ADMIT_STALE
        if epoch > self.epochs[row]:
            # The first evidence about a row has nothing to be measured against.
            if self.epochs[row] != 0 and epoch - self.epochs[row] > EPOCH_JUMP_MAX:
                return ADMIT_REFUSED
        elif incarnation > self.incarnations[row]:
            if incarnation - self.incarnations[row] > INCARNATION_JUMP_MAX:
                return ADMIT_REFUSED
        same_state = state == held and epoch == self.epochs[row]
        self.epochs[row] = epoch
        self.incarnations[row] = incarnation
        return ADMIT_RAISED if same_state else ADMIT_CHANGED

    cdef int32_t random_live(self, Prng prng) noexcept:
        """A live member, suspects included, or -1."""
        if self.live_count == 0:
            return -1
        return self.live_rows[prng.draw_below(<uint32_t> self.live_count)]

    cdef int32_t next_in_order(self) noexcept:
        """The alive member whose id follows this node's, around the ring; -1 when there is none.

        O(members) after a change, O(1) otherwise.
        """
        cdef int32_t i
        cdef int32_t row
        cdef int32_t best = -1
        cdef uint64_t me
        cdef uint64_t distance
        cdef uint64_t best_distance = 0
        if self.successor != -2:
            return self.successor
        me = self.short_id(0)
        for i in range(self.live_count):
            row = self.live_rows[i]
            if self.states[row] != STATE_ALIVE:
                continue
            distance = self.short_id(row) - me
            if best < 0 or distance < best_distance:
                best = row
                best_distance = distance
        self.successor = best
        return best
