"""How long a suspect has to answer, and who may declare it dead.

A member that failed to reach the suspect itself (first-hand) waits the pause tolerance and three
time-outs from its first failed probe, asking the suspect about three times a second, directly and
through one other member; every such ping carries the suspicion, so that any answer is a refutation.
Who only heard of it waits
`bystander_wait_us` longer, plus a random part so that not everybody asks at once. When the time
is up the node runs a last check; nothing is declared here. The wait does not grow with the ring:
accuser and suspect talk to each other directly. Sources: SWIM, Das et al. 2002, section 4.2;
Lifeguard's buddy system, Dadgar et al. 2017, section IV-C. A wait that shrinks with confirmations
(section IV-B) is left out: it never helps rings of two or three.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from sup_core.effects cimport EFFECT_EXPIRED, EFFECT_REMIND, Effects
from sup_core.hash_index cimport HashIndex
from sup_core.prng cimport Prng
from sup_core.timers cimport TIMER_SUSPICION, Timers

cdef enum:
    _ASK_INTERVAL_US = 330000
    _WAIT_STEP_US = 1000000     # a third of the wait of bystanders, whose slack it uses
    _KEPT_CAPACITY = 16


cdef class Suspicion:
    """The suspicions of one node, at most one per row of its table."""

    def __cinit__(
            self, Timers timers not None, Prng prng not None, Effects effects not None
    ) -> None:
        self.timers = timers
        self.prng = prng
        self.effects = effects
        self.index = HashIndex(0)
        # One count for all slots: a slot that was given back and is used again has a new number.
        self.generation = 0

    def __dealloc__(self) -> None:
        free(self.slots)
        free(self.free_slots)

    cdef Suspect* _slot(self, int32_t row) noexcept:
        # The suspect's slot, a new one if there is none; NULL when out of memory.
        cdef int32_t at = self.index.find(<uint64_t> row)
        cdef int32_t wanted
        cdef void* p
        if at >= 0:
            return &self.slots[at]
        if self.free_count:
            self.free_count -= 1
            at = self.free_slots[self.free_count]
        else:
            if self.slot_count == self.capacity:
                wanted = self.capacity * 2 if self.capacity else 4
                p = realloc(self.slots, wanted * sizeof(Suspect))
                if p == NULL:
                    return NULL
                self.slots = <Suspect*> p
                p = realloc(self.free_slots, wanted * sizeof(int32_t))
                if p == NULL:
                    return NULL
                self.free_slots = <int32_t*> p
                self.capacity = wanted
            at = self.slot_count
            self.slot_count += 1
        if not self.index.put(<uint64_t> row, at):
            self.free_slots[self.free_count] = at
            self.free_count += 1
            self.slots[at].row = -1
            return NULL
        self.slots[at].row = row
        self.generation += 1
        self.slots[at].generation = self.generation
        self.slots[at].first_hand = 0
        self.slots[at].stood = 0
        self.slots[at].checks = 0
        self.slots[at].accuser = 0
        self.slots[at].deadline = 0
        return &self.slots[at]

    cdef void _arm(self, Suspect* suspect, int64_t now) noexcept:
        cdef int64_t when = suspect.deadline
        self.generation += 1
        suspect.generation = self.generation
        # In steps, for a clock that jumps within one counts for a step at most.
        cdef int64_t step = _ASK_INTERVAL_US if suspect.first_hand else _WAIT_STEP_US
        if when > now + step:
            when = now + step
        self.timers.arm(when, TIMER_SUSPICION, <int32_t> (suspect - self.slots), suspect.generation)

    cdef void begin_first_hand(
            self, int32_t row, int64_t first_failed, int64_t rto, uint64_t me, int64_t now
    ) noexcept:
        """This node failed to reach the member; a hearsay suspicion becomes first-hand."""
        cdef Suspect* suspect = self._slot(row)
        cdef int64_t deadline = first_failed + self.settings.pause_tolerance_us + 3 * rto
        if suspect == NULL:
            return
        if not suspect.first_hand or deadline < suspect.deadline:
            suspect.deadline = deadline if deadline > now else now
        suspect.first_hand = 1
        if suspect.accuser == 0:
            suspect.accuser = me
        self.effects.add(EFFECT_REMIND, row, -1, 0, now, 0)
        self._arm(suspect, now)

    cdef void begin_hearsay(self, int32_t row, uint64_t accuser, int64_t rto, int64_t now) noexcept:
        """Somebody else suspects the member; a first-hand suspicion stays what it is."""
        cdef Suspect* suspect
        cdef uint32_t spread
        if self.index.find(<uint64_t> row) >= 0:
            return
        suspect = self._slot(row)
        if suspect == NULL:
            return
        suspect.accuser = accuser
        spread = <uint32_t> (self.settings.bystander_wait_us * 2 // 3)
        suspect.deadline = now + self.settings.pause_tolerance_us + 3 * rto
        suspect.deadline += self.settings.bystander_wait_us + self.prng.draw_below(spread + 1)
        self._arm(suspect, now)

    cdef void anew(self, int32_t row, int64_t rto, int64_t now) noexcept:
        """What was asked so far says nothing about the suspect: its time starts again."""
        cdef int32_t at = self.index.find(<uint64_t> row)
        if at >= 0:
            self.slots[at].deadline = now + self.settings.pause_tolerance_us + 3 * rto
            self._arm(&self.slots[at], now)

    cdef void all_anew(self, int64_t rto, int64_t now) noexcept:
        """This node heard nobody for long: that says nothing about any suspect."""
        cdef int32_t at
        for at in range(self.slot_count):
            if self.slots[at].row >= 0:
                self.slots[at].deadline = now + self.settings.pause_tolerance_us + 3 * rto
                self._arm(&self.slots[at], now)

    cdef bint over(self, int32_t row, int64_t now) noexcept:
        """Whether a suspect's time is up, and has not been given anew during its last check."""
        cdef int32_t at = self.index.find(<uint64_t> row)
        return at < 0 or self.slots[at].deadline <= now

    cdef void again(self, int32_t row, int64_t when) noexcept:
        """The last check proved nothing: expire once more at ``when``."""
        cdef int32_t at = self.index.find(<uint64_t> row)
        if at >= 0:
            self.slots[at].deadline = when
            self.generation += 1
            self.slots[at].generation = self.generation
            self.timers.arm(when, TIMER_SUSPICION, at, self.slots[at].generation)

    cdef void end(self, int32_t row) noexcept:
        """The member is no suspect any more."""
        cdef int32_t at = self.index.find(<uint64_t> row)
        if at < 0:
            return
        self.index.remove(<uint64_t> row)
        self.slots[at].row = -1
        self.free_slots[self.free_count] = at
        self.free_count += 1
        if self.free_count == self.slot_count and self.capacity > _KEPT_CAPACITY:
            # The last of many: give their memory back.
            free(self.slots)
            free(self.free_slots)
            self.slots = NULL
            self.free_slots = NULL
            self.slot_count = 0
            self.free_count = 0
            self.capacity = 0

    cdef uint64_t accuser(self, int32_t row) noexcept:
        """Short id of the first accuser, 0 when the row is not suspected."""
        cdef int32_t at = self.index.find(<uint64_t> row)
        return self.slots[at].accuser if at >= 0 else 0

    cdef void due(self, int32_t slot, uint32_t generation, int64_t late, int64_t now) noexcept:
        """Ask the suspect again, or say that its time is up.

        ``late``: for how long this node stood still; that time is not the suspect's.
        """
        cdef Suspect* suspect
        if slot >= self.slot_count:
            return
        suspect = &self.slots[slot]
        if suspect.row < 0 or suspect.generation != generation:
            return
        if late:
            suspect.deadline += late
            if not suspect.stood:
                # Nor is the step before it: nobody knows how much of that the node stood still.
                # Once only, or a node whose timers are always late would never be done.
                suspect.stood = 1
                suspect.deadline += _ASK_INTERVAL_US if suspect.first_hand else _WAIT_STEP_US
        if now >= suspect.deadline:
            self.effects.add(
                EFFECT_EXPIRED, suspect.row, -1, suspect.checks, now, suspect.first_hand
            )
            if suspect.checks < 255:
                suspect.checks += 1
            return
        if suspect.first_hand:
            self.effects.add(EFFECT_REMIND, suspect.row, -1, 0, now, 0)
        self._arm(suspect, now)
