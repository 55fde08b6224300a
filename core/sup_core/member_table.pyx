"""Who is known: one row per member in parallel columns of C memory, found by 8-byte short id.

A row is 33 bytes and its part of the index 5.3: the card it refers to is shared (``card_pool``),
rows and places are 16 bits, and times are in ticks of 2^14 µs (16.4 ms), read against now, so that
32 bits reach back 407 days and never wrap within them. What is older is told as that old.

Holds the one definition of precedence between pieces of evidence about a member (epoch, then
`left`, then incarnation, then alive < suspect < dead), a total order, so that merging is a
maximum: associative, commutative, idempotent. Never decides what to tell others; that is the
node's. Row 0 is the node itself. Source: SWIM, Das et al. 2002, section 4.2, with epochs and the
rule that any admitted evidence raises the stored incarnation.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from sup_core.card_pool cimport Card, CardPool, card_drop
from sup_core.identity cimport Address, address_equal
from sup_core.limits cimport EPOCH_JUMP_MAX, INCARNATION_JUMP_MAX, MEMBERS_MAX
from sup_core.prng cimport Prng

cdef enum:
    _ROW_BYTES = 8 + 4 * 4 + 3 * 2 + 3      # a card's address, and the columns by their width
    _EMPTY = 0xFFFFFFFF                     # no row is 0xFFFF

# Half of what 32 bits hold: 407 days in ticks of 16.4 ms, more than the largest tombstone floor.
cdef int64_t _TICKS_MAX = 0x80000000


cdef void* _column(
        uint8_t** at, const void* old, size_t held, size_t wanted, size_t width
) noexcept nogil:
    # Lay out one column of ``wanted`` items at ``at``, with what the old one holds.
    cdef uint8_t* column = at[0]
    if held:
        memcpy(column, old, held * width)
    at[0] = column + wanted * width
    return column


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
        # Small numbers are no good salts: it is a factor of the hash.
        self.salt = Prng(salt).draw()
        self.pool = pool
        self.successor = -2
        self.predecessor = -2
        self.free_first = NO_ROW
        if not self.grow():
            raise MemoryError

    def __dealloc__(self) -> None:
        cdef int32_t row
        for row in range(self.rows):
            card_drop(self.cards[row])
        free(self.block)

    cdef void at(self, int64_t now) noexcept:
        """Say what time it is. Times of rows that are as old as they can be told stay so old."""
        cdef int32_t row
        self.now = now
        if now - self.aged_at < _TICKS_MAX // 4 << TICK_SHIFT:
            return
        self.aged_at = now
        for row in range(self.rows):
            self.entered_at[row] = self.tick(self.since(row))
            self.heard_at[row] = self.tick(self.heard(row))

    cdef uint32_t tick(self, int64_t when) noexcept:
        """A time as it is stored: not after now, and not older than half of what can be told."""
        if when > self.now:
            when = self.now
        elif self.now - when > _TICKS_MAX << TICK_SHIFT:
            when = self.now - (_TICKS_MAX << TICK_SHIFT)
        return <uint32_t> (when >> TICK_SHIFT)

    cdef bint grow(self) noexcept:
        # All columns and the index are one block. Doubling would waste half of a large table; each
        # quarter more costs a copy of what is there, which is still O(1) per member.
        cdef int32_t wanted = self.capacity + self.capacity // 4
        cdef int32_t held = self.capacity
        cdef int32_t row
        cdef uint32_t slots
        cdef uint8_t* old = self.block
        cdef uint8_t* at
        if self.capacity < 64:
            wanted = self.capacity * 2 if self.capacity else 8
        if wanted > MEMBERS_MAX:
            wanted = MEMBERS_MAX
        slots = wanted + wanted // 3 + 4
        at = <uint8_t*> malloc(<size_t> wanted * _ROW_BYTES + slots * sizeof(uint32_t))
        if at == NULL:
            return False
        self.block = at
        self.cards = <Card**> _column(&at, self.cards, held, wanted, sizeof(Card*))
        self.epochs = <uint32_t*> _column(&at, self.epochs, held, wanted, 4)
        self.incarnations = <uint32_t*> _column(&at, self.incarnations, held, wanted, 4)
        self.entered_at = <uint32_t*> _column(&at, self.entered_at, held, wanted, 4)
        self.heard_at = <uint32_t*> _column(&at, self.heard_at, held, wanted, 4)
        self.index = <uint32_t*> _column(&at, NULL, 0, slots, 4)
        self.generations = <uint16_t*> _column(&at, self.generations, held, wanted, 2)
        self.live_rows = <uint16_t*> _column(&at, self.live_rows, held, wanted, 2)
        self.live_at = <uint16_t*> _column(&at, self.live_at, held, wanted, 2)
        self.states = <uint8_t*> _column(&at, self.states, held, wanted, 1)
        self.flags = <uint8_t*> _column(&at, self.flags, held, wanted, 1)
        self.backoff_s = <uint8_t*> _column(&at, self.backoff_s, held, wanted, 1)
        free(old)
        memset(&self.generations[held], 0, (wanted - held) * 2)
        self.capacity = wanted
        self.slots = slots
        memset(self.index, 0xFF, slots * sizeof(uint32_t))
        for row in range(self.rows):
            if self.states[row] != STATE_FREE:
                self._put(row)
        return True

    cdef size_t block_bytes(self) noexcept:
        return self.capacity * _ROW_BYTES + self.slots * sizeof(uint32_t)

    cdef void _put(self, int32_t row) noexcept:
        # There is a free slot: the index is three quarters full when all rows are in use.
        cdef uint64_t mixed = self._mixed(self.cards[row].short_id)
        cdef uint32_t at = self._home(mixed)
        while self.index[at] != _EMPTY:
            at = at + 1 if at + 1 < self.slots else 0
        self.index[at] = (<uint32_t> mixed << 16) | <uint32_t> row

    cdef void _take_out(self, int32_t row) noexcept:
        # By shifting back what would not be found behind a hole: no marks of the deleted remain.
        cdef uint32_t at = self._home(self._mixed(self.cards[row].short_id))
        cdef uint32_t hole
        cdef uint32_t home
        cdef uint32_t to_home
        cdef uint32_t to_hole
        while (self.index[at] & 0xFFFF) != <uint32_t> row:
            at = at + 1 if at + 1 < self.slots else 0
        hole = at
        while True:
            at = at + 1 if at + 1 < self.slots else 0
            if self.index[at] == _EMPTY:
                break
            home = self._home(self._mixed(self.cards[self.index[at] & 0xFFFF].short_id))
            to_home = at - home if at >= home else at + self.slots - home
            to_hole = at - hole if at >= hole else at + self.slots - hole
            if to_home >= to_hole:
                self.index[hole] = self.index[at]
                hole = at
        self.index[hole] = _EMPTY

    cdef int32_t find(self, uint64_t short_id) noexcept:
        """The row of a short id, or -1."""
        cdef uint64_t mixed = self._mixed(short_id)
        cdef uint32_t fragment = <uint32_t> mixed << 16
        cdef uint32_t at = self._home(mixed)
        cdef uint32_t entry = self.index[at]
        while entry != _EMPTY:
            # Most entries of others differ in their fragment, so that their cards are not touched.
            if (entry ^ fragment) < 0x10000 and (
                self.cards[entry & 0xFFFF].short_id == short_id
            ):
                return <int32_t> (entry & 0xFFFF)
            at = at + 1 if at + 1 < self.slots else 0
            entry = self.index[at]
        return -1

    cdef int32_t find_address(self, const Address* address) noexcept:
        """A row of another member, in any state, whose card names the address, or -1; O(rows)."""
        cdef int32_t row
        for row in range(1, self.rows):
            if self.states[row] != STATE_FREE and address_equal(self.address(row), address):
                return row
        return -1

    cdef int32_t add(self, Card* card, int64_t now) noexcept:
        """A new UNSEEN row with epoch and incarnation 0, or the one that this member has.

        The caller's reference to the card is consumed if the row is new. -1 when full, -2 when the
        short id is another's.
        """
        cdef int32_t row = self.find(card.short_id)
        if row >= 0:
            return row if memcmp(self.id_of(row), card.id.octets, 16) == 0 else -2
        if self.free_first != NO_ROW:
            row = self.free_first
            self.free_first = self.live_at[row]
            self.free_count -= 1
        else:
            if self.rows >= MEMBERS_MAX or (self.rows == self.capacity and not self.grow()):
                return -1
            row = self.rows
            self.rows += 1
        self.states[row] = STATE_UNSEEN
        self.flags[row] = 0
        self.backoff_s[row] = 0
        self.epochs[row] = 0
        self.incarnations[row] = 0
        self.generations[row] += 1
        self.set_since(row, now)
        self.hear(row, -0x3FFFFFFFFFFFFFFF)
        self.cards[row] = card
        self.live_at[row] = NO_ROW
        self._put(row)
        return row

    cdef void set_card(self, int32_t row, Card* card) noexcept:
        """Give a row another card of its member; the caller's reference is consumed."""
        card_drop(self.cards[row])
        self.cards[row] = card

    cdef void forget(self, int32_t row) noexcept:
        """Free a row; timers that name it are stale from here on."""
        self.set_state(row, STATE_UNSEEN, 0)
        self._take_out(row)
        card_drop(self.cards[row])
        self.cards[row] = NULL
        self.states[row] = STATE_FREE
        self.flags[row] = 0
        self.generations[row] += 1
        self.live_at[row] = <uint16_t> self.free_first
        self.free_first = row
        self.free_count += 1

    cdef void set_state(self, int32_t row, uint8_t state, int64_t now) noexcept:
        """Enter a state and keep the list of live rows; the order of that list depends on inputs
        only.
        """
        cdef bint live = state <= STATE_SUSPECT and row != 0
        cdef uint16_t at = self.live_at[row]
        cdef uint16_t moved
        if self.states[row] == STATE_ALIVE and row != 0 and at != NO_ROW:
            self.alive_count -= 1
        if state == STATE_ALIVE and row != 0:
            self.alive_count += 1
        if live and at == NO_ROW:
            self.live_rows[self.live_count] = <uint16_t> row
            self.live_at[row] = <uint16_t> self.live_count
            self.live_count += 1
        elif not live and at != NO_ROW:
            self.live_count -= 1
            moved = self.live_rows[self.live_count]
            self.live_rows[at] = moved
            self.live_at[moved] = at
            self.live_at[row] = NO_ROW
        self.states[row] = state
        self.set_since(row, now)
        if row != 0:
            self._neighbours_changed(row, state == STATE_ALIVE)

    cdef Admission admit(
            self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state
    ) noexcept:
        """Weigh evidence against a row, raise its epoch and incarnation; the state is not set.

        An UNSEEN row counts as alive here; only the membership decides when it is shown.
        """
        cdef uint8_t held = self.told(row)
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

        O(members) after it went, O(1) otherwise.
        """
        if self.successor == -2:
            self.successor = self._nearest(False)
        return self.successor

    cdef int32_t previous_in_order(self) noexcept:
        """The alive member whose id comes before this node's; like ``next_in_order``."""
        if self.predecessor == -2:
            self.predecessor = self._nearest(True)
        return self.predecessor

    cdef int32_t _nearest(self, bint behind) noexcept:
        cdef int32_t i
        cdef int32_t row
        cdef int32_t best = -1
        cdef uint64_t me = self.short_id(0)
        cdef uint64_t distance
        cdef uint64_t best_distance = 0
        for i in range(self.live_count):
            row = self.live_rows[i]
            if self.states[row] != STATE_ALIVE:
                continue
            distance = self.short_id(row) - me
            if behind:
                distance = <uint64_t> 0 - distance
            if best < 0 or distance < best_distance:
                best = row
                best_distance = distance
        return best

    cdef void _neighbours_changed(self, int32_t row, bint alive) noexcept:
        # Who comes may be nearer than who is nearest; who goes makes its place unknown.
        cdef uint64_t me = self.short_id(0)
        cdef uint64_t distance = self.short_id(row) - me
        if not alive:
            if row == self.successor:
                self.successor = -2
            if row == self.predecessor:
                self.predecessor = -2
            return
        if self.successor == -1 or (
            self.successor >= 0 and distance < self.short_id(self.successor) - me
        ):
            self.successor = row
        if self.predecessor == -1 or (
            self.predecessor >= 0 and distance > self.short_id(self.predecessor) - me
        ):
            self.predecessor = row
