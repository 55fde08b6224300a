"""Which large values are announced but not held, and from whom to fetch them.

A value over INLINE_BYTES_MAX travels as a header; its body is pulled by stream from the first
announcer, then from the others, a few at a time. Only a member that holds the body announces it
again, so whoever is asked has it. After PULL_TRIES_MAX failures the pull is given up (counted):
anti-entropy will announce it again. Bounded by PULLS_MAX.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from sup_core.blobs cimport RumorBlob, rumor_drop
from sup_core.limits cimport PULL_TRIES_MAX, PULLS_MAX
from sup_core.prng cimport Prng
from sup_core.rumor_store cimport version_above

cdef enum:
    _FLYING_MAX = 8
    _SOURCES = 4
    _RETRY_US = 300000


cdef class Pulls:
    """The pulls of one node."""

    def __cinit__(self, Prng prng not None) -> None:
        self.prng = prng

    def __dealloc__(self) -> None:
        cdef int i
        if self.slots != NULL:
            for i in range(self.high):
                rumor_drop(self.slots[i].wanted)
            free(self.slots)

    cdef int find(self, uint64_t name) noexcept:
        """The pull of a store key, or -1."""
        cdef int i
        for i in range(self.high):
            if self.slots[i].wanted != NULL and self.slots[i].name == name:
                return i
        return -1

    cdef bint want(
            self, uint64_t name, RumorBlob* wanted, uint32_t value_size, int32_t source,
            uint32_t source_generation, int64_t now
    ) noexcept:
        """An announcement by ``source``. Consumes the reference to ``wanted``. False when there is
        no room.
        """
        cdef int i = self.find(name)
        cdef int k
        cdef Pull* pull
        if i >= 0:
            pull = &self.slots[i]
            if version_above(pull.wanted, wanted):
                rumor_drop(wanted)
                return True
            if not version_above(wanted, pull.wanted):
                rumor_drop(wanted)
                for k in range(pull.source_count):
                    if pull.sources[k] == source:
                        return True
                if pull.source_count < _SOURCES:
                    pull.sources[pull.source_count] = source
                    pull.source_generations[pull.source_count] = source_generation
                    pull.source_count += 1
                return True
            self.end(i)
        i = self._free_slot()
        if i < 0:
            self.refused += 1
            rumor_drop(wanted)
            return False
        pull = &self.slots[i]
        pull.wanted = wanted
        pull.name = name
        pull.value_size = value_size
        pull.generation += 1
        pull.sources[0] = source
        pull.source_generations[0] = source_generation
        pull.source_count = 1
        pull.source_next = 0
        pull.tries = 0
        pull.in_flight = False
        pull.due = now
        self.count += 1
        return True

    cdef int _free_slot(self) noexcept:
        # The table grows with use up to PULLS_MAX: a ring without large values has none.
        cdef int i
        cdef int wanted
        cdef void* p
        for i in range(self.high):
            if self.slots[i].wanted == NULL:
                return i
        if self.high == self.capacity:
            wanted = self.capacity * 2 if self.capacity else 4
            if wanted > PULLS_MAX:
                return -1
            p = realloc(self.slots, wanted * sizeof(Pull))
            if p == NULL:
                return -1
            self.slots = <Pull*> p
            self.capacity = wanted
        memset(&self.slots[self.high], 0, sizeof(Pull))
        self.high += 1
        return self.high - 1

    cdef bint _idle(self, int slot) noexcept:
        return self.slots[slot].wanted != NULL and not self.slots[slot].in_flight

    cdef int next_start(self, int64_t now) noexcept:
        """A pull to start now, marked as in flight; -1 when there is none. Its source is
        ``source_next``.
        """
        cdef int i
        if self.flying >= _FLYING_MAX:
            return -1
        for i in range(self.high):
            if self._idle(i) and self.slots[i].due <= now:
                self.slots[i].in_flight = True
                self.flying += 1
                return i
        return -1

    cdef int64_t next_due(self) noexcept:
        """When the next pull may start; the largest number when none waits."""
        cdef int i
        cdef int64_t due = 0x7FFFFFFFFFFFFFFF
        if self.flying >= _FLYING_MAX:
            return due
        for i in range(self.high):
            if self._idle(i) and self.slots[i].due < due:
                due = self.slots[i].due
        return due

    cdef void failed(self, int slot, uint32_t generation, int64_t now) noexcept:
        """The source had it not, or did not answer: try the next one after a moment."""
        cdef Pull* pull = &self.slots[slot]
        if pull.wanted == NULL or pull.generation != generation:
            return
        if pull.in_flight:
            pull.in_flight = False
            self.flying -= 1
        pull.tries += 1
        pull.source_next = (pull.source_next + 1) % pull.source_count
        pull.due = now + _RETRY_US + self.prng.draw_below(_RETRY_US)
        if pull.tries >= PULL_TRIES_MAX:
            self.given_up += 1
            self.end(slot)

    cdef void end(self, int slot) noexcept:
        """The value is held, or is wanted no more."""
        cdef Pull* pull = &self.slots[slot]
        if pull.in_flight:
            self.flying -= 1
        rumor_drop(pull.wanted)
        pull.wanted = NULL
        pull.in_flight = False
        pull.generation += 1
        self.count -= 1
