"""Who goes and comes: from the third return from the dead in ten minutes on, a member is held down.

A member that is reachable by turns makes everybody's view change at every turn. Each observer
counts the returns that it sees itself. A return that is one too many is not shown: the member
stays dead to the layers above, while the protocol goes on with it as alive, so that news of it
travel and digests agree. It is shown again when it has answered this node for
``flap_hold_us``, twice as long each further time.

Clean answers are acks of questions that this node puts to it, every tenth of the hold: a member
that cannot hear sends packets all the same, and one that cannot speak hears them. Two unanswered
questions of the latest ten start the time anew; one is what 1 or 2 % of loss does.

Not counted: a new start of the member, which says that somebody looked after it; and deaths that
came in numbers, a quarter of the live members within half a minute, which is a split of the
network. Decides nothing about death, tells nobody. Source: the dampening of routes in BGP, RFC
2439, reduced to a count and a doubling hold.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from sup_core.effects cimport EFFECT_ACCEPT, EFFECT_PING, Effects
from sup_core.hash_index cimport HashIndex
from sup_core.limits cimport FLAPS_MAX
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.timers cimport TIMER_FLAP, Timers

cdef enum:
    _RETURNS_KEPT = 8           # as many as ``flap_returns`` may be
    _LEVEL_MAX = 4              # 16 times the first hold
    _QUESTIONS = 10             # per hold of the first level, and the memory for misses
    _BURSTS = 4
    _BURST_US = 30000000        # a split of hundreds is noticed within this
    _BURST_DEATHS_MIN = 3
    _ROUNDED_US = 1000000       # the table keeps the time of a death rounded down
    _BURST_SHARE = 4
    _SEQ_FIRST = 0x10000        # above those of probes


cdef class Flaps:
    """The flapping members that one node knows."""

    def __cinit__(
            self, MemberTable table not None, Timers timers not None, Prng prng not None,
            Effects effects not None
    ) -> None:
        self.table = table
        self.timers = timers
        self.prng = prng
        self.effects = effects
        self.index = HashIndex(0)
        memset(self.bursts, 0, sizeof(self.bursts))

    def __dealloc__(self) -> None:
        free(self.slots)

    cdef void died(self, int64_t now) noexcept:
        """Another member was declared dead; it still counts as live."""
        cdef Burst* burst = &self.bursts[self.burst_at]
        if burst.deaths == 0 or now - burst.first > _BURST_US:
            self.burst_at = (self.burst_at + 1) % _BURSTS
            burst = &self.bursts[self.burst_at]
            burst.first = now
            burst.deaths = 0
            burst.live = self.table.live_count
        burst.deaths += 1
        burst.last = now

    cdef bint _among_many(self, int64_t when) noexcept:
        # Whether the death at this time was one of many. Older ones than are remembered are not.
        cdef int i
        cdef Burst* burst
        for i in range(_BURSTS):
            burst = &self.bursts[i]
            if burst.deaths and burst.first - _ROUNDED_US <= when <= burst.last:
                return (
                    burst.deaths >= _BURST_DEATHS_MIN
                    and burst.deaths * _BURST_SHARE >= burst.live
                )
        return False

    cdef bint returned(self, int32_t row, int64_t now) noexcept:
        """A dead member is alive again, of the same start. True when it is to be held down."""
        cdef Flap* flap
        cdef int i
        cdef int counted = 0
        cdef int oldest = 0
        if self.settings.flap_hold_us == 0 or self._among_many(self.table.since(row)):
            return False
        flap = self._slot(row)
        if flap == NULL:
            return False
        for i in range(_RETURNS_KEPT):
            if flap.returns[i] < flap.returns[oldest]:
                oldest = i
        flap.returns[oldest] = now
        for i in range(_RETURNS_KEPT):
            if now - flap.returns[i] < self.settings.flap_window_us:
                counted += 1
        if counted < self.settings.flap_returns and (
            flap.level == 0 or now - flap.latest >= self.settings.flap_window_us
        ):
            flap.latest = now
            flap.level = 0
            return False
        flap.latest = now
        flap.level += 1 if flap.level <= _LEVEL_MAX else 0
        if not flap.held:
            self.held_count += 1
        flap.held = True
        if self._hold(flap) > self.hold_longest:
            self.hold_longest = self._hold(flap)
        flap.clean_since = now
        flap.misses = 0
        flap.seq = 0
        flap.repeated = 0
        self._ask(flap, now)
        return True

    cdef int64_t _hold(self, Flap* flap) noexcept:
        return self.settings.flap_hold_us << (flap.level - 1)

    cdef void released(self, int32_t row, int64_t now) noexcept:
        """The member is not held any more: accepted, dead again, left or started anew."""
        cdef Flap* flap = self._find(row)
        if flap != NULL and flap.held:
            flap.held = False
            self.held_count -= 1
            flap.latest = now
            flap.generation += 1

    cdef void _ask(self, Flap* flap, int64_t now) noexcept:
        cdef int64_t wait = self.settings.flap_hold_us // _QUESTIONS
        self.next_seq = (self.next_seq + 1) & 0xFFFF
        flap.seq = _SEQ_FIRST + self.next_seq
        flap.generation += 1
        self.effects.add(EFFECT_PING, flap.row, -1, flap.seq, now, 0)
        # Jitter: all observers hold it from the same moment on.
        self.timers.arm(
            now + wait - wait // 8 + self.prng.draw_below(<uint32_t> (wait // 4) + 1), TIMER_FLAP,
            <int32_t> (flap - self.slots), flap.generation
        )

    cdef void answered(self, int32_t row, uint32_t seq) noexcept:
        """The member answered a ping itself."""
        cdef Flap* flap
        if seq < _SEQ_FIRST:
            return
        flap = self._find(row)
        if flap != NULL and flap.seq == seq:
            flap.seq = 0

    cdef void due(self, int32_t slot, uint32_t generation, int64_t late, int64_t now) noexcept:
        """Judge the open question and ask the next, or accept the member.

        A question that ended late is asked once more, for this node stood still; if that ends late
        too it counts, or a node whose timers are always late would hold the member for ever.
        """
        cdef Flap* flap = &self.slots[slot]
        cdef uint32_t bits
        if flap.row < 0 or not flap.held or flap.generation != generation:
            return
        flap.clean_since += late
        if late and not flap.repeated:
            flap.repeated = 1
        else:
            flap.repeated = 0
            flap.misses = (flap.misses << 1) & ((1 << _QUESTIONS) - 1)
            if flap.seq:
                flap.misses |= 1
            bits = flap.misses
            if bits & (bits - 1):
                flap.clean_since = now
                flap.misses = 0
            elif flap.seq == 0 and now - flap.clean_since >= self._hold(flap):
                self.effects.add(EFFECT_ACCEPT, flap.row, -1, 0, now, 0)
                return
        self._ask(flap, now)

    cdef void forget(self, int32_t row) noexcept:
        """The row is another member's from here on."""
        cdef Flap* flap = self._find(row)
        if flap != NULL:
            self._free(flap)

    cdef void sweep(self, int64_t now) noexcept:
        """Forget who has not returned for a window."""
        cdef int32_t i
        for i in range(self.used):
            if self.slots[i].row >= 0 and not self.slots[i].held:
                if now - self.slots[i].latest >= self.settings.flap_window_us:
                    self._free(&self.slots[i])

    cdef Flap* _find(self, int32_t row) noexcept:
        cdef int32_t at
        if self.used == 0:
            return NULL
        at = self.index.find(<uint64_t> row)
        return &self.slots[at] if at >= 0 else NULL

    cdef Flap* _slot(self, int32_t row) noexcept:
        # The member's slot, a new one if there is none; NULL when there are too many.
        cdef Flap* flap = self._find(row)
        cdef int32_t at
        cdef int32_t wanted
        cdef uint32_t generation = 0
        cdef void* p
        if flap != NULL:
            return flap
        for at in range(self.used):
            if self.slots[at].row < 0:
                generation = self.slots[at].generation
                break
        else:
            at = self.used
            if at == self.capacity:
                wanted = self.capacity * 2 if self.capacity else 4
                p = NULL
                if wanted <= FLAPS_MAX:
                    p = realloc(self.slots, wanted * sizeof(Flap))
                if p == NULL:
                    return NULL
                self.slots = <Flap*> p
                self.capacity = wanted
            self.slots[at].row = -1
            self.used += 1
        if not self.index.put(<uint64_t> row, at):
            return NULL
        flap = &self.slots[at]
        memset(flap, 0, sizeof(Flap))
        flap.row = row
        flap.generation = generation + 1
        for at in range(_RETURNS_KEPT):
            flap.returns[at] = -0x3FFFFFFFFFFFFFFF
        return flap

    cdef void _free(self, Flap* flap) noexcept:
        self.index.remove(<uint64_t> flap.row)
        flap.row = -1
        if flap.held:
            self.held_count -= 1
        flap.held = False
        flap.generation += 1
