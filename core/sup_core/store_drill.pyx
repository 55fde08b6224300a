"""The stores without a node around them, for tests: what they promise is checked against dicts.

Each drill owns one store and hands Python values through; it adds nothing. Never used by a member
of a ring.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.card_pool cimport Card, CardPool, card_drop
from sup_core.hash_index cimport HashIndex
from sup_core.identity cimport ADDRESS_BYTES, Address, address_bytes, address_read
from sup_core.member_table cimport MemberTable
from sup_core.timers cimport TIMER_CONTACT, Timer, Timers


cdef Card* _intern(
        CardPool pool, bytes member_id, bytes address, uint64_t version, bytes card
) except NULL:
    cdef Address where
    cdef Card* found
    if len(member_id) != 16 or len(address) != ADDRESS_BYTES or len(card) > 0xFFFF:
        raise ValueError(f"an id of {len(member_id)}, an address of {len(address)} bytes")
    address_read(&where, <const uint8_t*> (<const char*> address))
    found = pool.intern(
        <const uint8_t*> (<const char*> member_id), &where, version,
        <const uint8_t*> (<const char*> card), <uint32_t> len(card)
    )
    if found == NULL:
        raise MemoryError
    return found


cdef class TableDrill:
    """A member table; rows are what ``add`` gave."""

    cdef MemberTable table

    def __cinit__(self, salt: int, CardPool pool=None) -> None:
        self.table = MemberTable(salt, CardPool(salt) if pool is None else pool)

    def at(self, now: int) -> None:
        self.table.at(now)

    def add(self, bytes member_id, bytes card=b"") -> int:
        """The row, -1 when the table is full, -2 when the short id is another's."""
        cdef Card* held = _intern(self.table.pool, member_id, bytes(ADDRESS_BYTES), 1, card)
        cdef int32_t known = self.table.rows - self.table.free_count
        cdef int32_t row = self.table.add(held, self.table.now)
        if self.table.rows - self.table.free_count == known:
            card_drop(held)
        return row

    def find(self, short_id: int) -> int:
        return self.table.find(<uint64_t> short_id)

    def forget(self, row: int) -> None:
        self.table.forget(row)

    def enter(self, row: int, state: int) -> None:
        self.table.set_state(row, state, self.table.now)

    def state(self, row: int) -> int:
        return self.table.states[<int32_t> row]

    def live(self) -> list[int]:
        """The live rows in their order."""
        return [self.table.live_rows[i] for i in range(self.table.live_count)]

    def since(self, row: int) -> int:
        return self.table.since(row)

    def set_since(self, row: int, when: int) -> None:
        self.table.set_since(row, when)

    def heard(self, row: int) -> int:
        return self.table.heard(row)

    def hear(self, row: int, when: int) -> None:
        self.table.hear(row, when)

    def place(self, short_id: int) -> float:
        """Where in the index this is looked for first, 0 to 1."""
        return <double> self.table._home(self.table._mixed(<uint64_t> short_id)) / self.table.slots

    def memory_bytes(self) -> int:
        return self.table.block_bytes()


cdef class PoolDrill:
    """References to the cards of a pool; a card is named by its address."""

    cdef CardPool pool

    def __cinit__(self, CardPool pool not None) -> None:
        self.pool = pool

    def intern(self, bytes member_id, bytes address, version: int, bytes card) -> int:
        """One more reference to the card with this content."""
        return <uint64_t> _intern(self.pool, member_id, address, version, card)

    def drop(self, card: int) -> None:
        """One reference less."""
        card_drop(<Card*> <uint64_t> card)

    def content(self, card: int) -> tuple[bytes, bytes, int, bytes]:
        """What a card says."""
        cdef Card* c = <Card*> <uint64_t> card
        return (
            (<const char*> c.id.octets)[:16], address_bytes(&c.address), c.version,
            (<const char*> c.data)[:c.size],
        )


cdef class IndexDrill:
    """A hash index."""

    cdef HashIndex index

    def __cinit__(self, salt: int) -> None:
        self.index = HashIndex(salt)

    def put(self, key: int, value: int) -> bool:
        return self.index.put(<uint64_t> key, value)

    def find(self, key: int) -> int:
        return self.index.find(<uint64_t> key)

    def change(self, key: int, value: int) -> None:
        self.index.change(<uint64_t> key, value)

    def remove(self, key: int) -> None:
        self.index.remove(<uint64_t> key)

    def places(self) -> int:
        """How many entries there is memory for."""
        return self.index.mask + 1 if self.index.mask else 0


cdef class TimersDrill:
    """The deadlines of a node."""

    cdef Timers timers

    def __cinit__(self, armed_before: int = 0) -> None:
        self.timers = Timers()
        self.timers.order = <uint32_t> armed_before

    def arm(self, when: int, generation: int) -> bool:
        return self.timers.arm(when, TIMER_CONTACT, 0, generation)

    def pop(self, now: int) -> tuple[int, int] | None:
        """The next deadline that is due, with its generation."""
        cdef Timer timer
        if not self.timers.pop_due(<int64_t> now, &timer):
            return None
        return timer.when, timer.generation

    def next_due(self) -> int:
        return self.timers.next_due()

    def capacity(self) -> int:
        """How many there is memory for."""
        return self.timers.capacity


def spread(drill: TableDrill, short_ids, shares: int) -> list[int]:
    """How many of these ids are looked for first in each of so many equal shares of the index."""
    found = [0] * shares
    for short_id in short_ids:
        found[int(drill.place(short_id) * shares)] += 1
    return found
