"""Who is held alive on old evidence, and is asked about it soon instead of when its turn comes.

A member that was cut off holds everybody as they were. Those who died meanwhile and are forgotten
by all others are accused by nobody, and the round robin comes to them after minutes. So there are
two reasons for a doubt: this node was cut off and is reachable again (everybody), or a
synchronisation of some buckets did not mention a member that this node holds alive and has not
heard from lately. The doubted are probed one after the other, ``questions_per_second`` at most,
with jitter; who was heard from since is left out. Decides nothing: a probe that fails is what
counts.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from sup_core.effects cimport EFFECT_PROBE, Effects
from sup_core.identity cimport bucket_of
from sup_core.member_table cimport (
    FLAG_DOUBTED,
    FLAG_UNMENTIONED,
    STATE_ALIVE,
    MemberTable,
)
from sup_core.prng cimport Prng
from sup_core.timers cimport TIMER_DOUBTS, Timers

cdef enum:
    # News younger than this may just not have reached the other side of an exchange.
    _FRESH_US = 10000000


cdef class Doubts:
    """The doubts of one node."""

    def __cinit__(
            self, MemberTable table not None, Timers timers not None, Prng prng not None,
            Effects effects not None
    ) -> None:
        self.table = table
        self.timers = timers
        self.prng = prng
        self.effects = effects

    cdef void everybody(self, int64_t now) noexcept:
        """This node is reachable again: doubt all live members."""
        cdef int32_t i
        for i in range(self.table.live_count):
            self.table.flags[self.table.live_rows[i]] |= FLAG_DOUBTED
        self.since = now
        self._arm(now)

    cdef void expect(self, const uint8_t* bits, int64_t now) noexcept:
        """An exchange of these buckets begins: their settled live members should be mentioned."""
        cdef int32_t i
        cdef int32_t row
        cdef int bucket
        for i in range(self.table.live_count):
            row = self.table.live_rows[i]
            bucket = bucket_of(self.table.short_id(row))
            if (
                bits[bucket >> 3] & (1 << (bucket & 7))
                and self.table.states[row] == STATE_ALIVE
                and now - self.table.since(row) > _FRESH_US
                and now - self.table.heard(row) > _FRESH_US
            ):
                self.table.flags[row] |= FLAG_UNMENTIONED

    cdef void unmentioned(self, int64_t now) noexcept:
        """The exchange is over: doubt who was expected and not mentioned."""
        cdef int32_t i
        cdef int32_t row
        cdef bint found = False
        for i in range(self.table.live_count):
            row = self.table.live_rows[i]
            if self.table.flags[row] & FLAG_UNMENTIONED:
                self.table.flags[row] &= ~FLAG_UNMENTIONED
                self.table.flags[row] |= FLAG_DOUBTED
                found = True
        if found:
            if not self.armed:
                self.since = now
            self._arm(now)

    cdef void mentioned(self) noexcept:
        """The exchange says nothing about who was not mentioned."""
        cdef int32_t i
        for i in range(self.table.live_count):
            self.table.flags[self.table.live_rows[i]] &= ~FLAG_UNMENTIONED

    cdef void due(self, int64_t now) noexcept:
        """Ask the next one."""
        cdef int32_t _i
        cdef int32_t row
        self.armed = False
        for _i in range(self.table.live_count):
            self.cursor = (self.cursor + 1) % self.table.live_count
            row = self.table.live_rows[self.cursor]
            if not self.table.flags[row] & FLAG_DOUBTED:
                continue
            self.table.flags[row] &= ~FLAG_DOUBTED
            if self.table.states[row] != STATE_ALIVE or self.table.heard(row) >= self.since:
                continue
            self.effects.add(EFFECT_PROBE, row, -1, 0, now, 0)
            self._arm(now)
            return

    cdef void _arm(self, int64_t now) noexcept:
        cdef int64_t wait = 1000000 // self.settings.questions_per_second
        if self.armed:
            return
        # Jitter: a whole segment that is reachable again must not ask in step.
        wait += self.prng.draw_below(<uint32_t> (wait // 2) + 1)
        self.armed = self.timers.arm(now + wait, TIMER_DOUBTS, 0, 0)
