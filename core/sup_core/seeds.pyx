"""The addresses this node was told to join at, greeted for ever until a member there is known
alive.

The first waits are short (half a second, doubling), then as long as those of the contacts with
dead members, each with ±25 % of jitter. A seed is an address, not a member: whoever answers
there counts, and so does a live member whose card names the address.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from sup_core.effects cimport EFFECT_GREET, Effects
from sup_core.identity cimport Address, address_equal
from sup_core.limits cimport SEEDS_MAX
from sup_core.member_table cimport STATE_SUSPECT, MemberTable
from sup_core.prng cimport Prng
from sup_core.timers cimport TIMER_SEEDS, Timers

cdef enum:
    _WAIT_FIRST_US = 500000

cdef int64_t _NEVER = 0x7FFFFFFFFFFFFFFF


cdef class Seeds:
    """The seeds of one node."""

    def __cinit__(
            self, MemberTable table not None, Timers timers not None, Prng prng not None,
            Effects effects not None
    ) -> None:
        self.table = table
        self.timers = timers
        self.prng = prng
        self.effects = effects
        self.armed = _NEVER

    cdef void clear(self) noexcept:
        self.count = 0

    cdef void add(self, const Address* address, int64_t now) noexcept:
        """A seed to greet at once; beyond SEEDS_MAX it is ignored, the caller checks."""
        cdef Seed* seed = &self.seeds[self.count]
        if self.count >= SEEDS_MAX:
            return
        self.count += 1
        seed.address = address[0]
        seed.row = -1
        seed.due = now
        seed.wait = _WAIT_FIRST_US

    cdef void answered(self, const Address* source, int32_t row) noexcept:
        """Somebody greeted back from ``source``."""
        cdef int i
        for i in range(self.count):
            if address_equal(&self.seeds[i].address, source):
                self.seeds[i].row = row
                self.seeds[i].generation = self.table.generations[row]

    cdef bint _alive(self, Seed* seed) noexcept:
        cdef int32_t k
        cdef int32_t row = seed.row
        if (
            row > 0
            and self.table.generations[row] == seed.generation
            and self.table.states[row] <= STATE_SUSPECT
        ):
            return True
        for k in range(self.table.live_count):
            row = self.table.live_rows[k]
            if address_equal(self.table.address(row), &seed.address):
                seed.row = row
                seed.generation = self.table.generations[row]
                return True
        return False

    cdef void due(self, int64_t now) noexcept:
        """Greet the seeds whose wait is over, and arm the next moment."""
        cdef int i
        cdef Seed* seed
        cdef int64_t next_due = _NEVER
        if self.armed <= now:
            self.armed = _NEVER
        for i in range(self.count):
            seed = &self.seeds[i]
            if seed.due <= now:
                if self._alive(seed):
                    seed.wait = self.settings.contact_min_us
                else:
                    self.effects.add(EFFECT_GREET, i, -1, 0, now, 0)
                seed.due = now + seed.wait * 3 // 4
                seed.due += self.prng.draw_below(<uint32_t> (seed.wait // 2) + 1)
                seed.wait *= 2
                if seed.wait > self.settings.contact_max_us:
                    seed.wait = self.settings.contact_max_us
            if seed.due < next_due:
                next_due = seed.due
        if next_due < self.armed:
            self.armed = next_due
            self.timers.arm(next_due, TIMER_SEEDS, 0, 0)
