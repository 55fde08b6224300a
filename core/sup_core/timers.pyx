"""A binary heap of deadlines. Timers are never cancelled: who armed one checks its generation
when it fires.

O(log n) to arm and to pop. Equal deadlines fire in the order they were armed, so that a run
replays. Bounded by TIMERS_MAX; what does not fit is refused and counted. A flood of suspicions
leaves stale ones behind and can get there: the last few places are kept for the node's own rhythm.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from sup_core.limits cimport TIMERS_MAX, TIMERS_RESERVED


cdef enum:
    _KEPT_CAPACITY = 8


cdef inline bint _before(const Timer* a, const Timer* b) noexcept nogil:
    if a.when != b.when:
        return a.when < b.when
    return <int32_t> (a.order - b.order) < 0


cdef class Timers:
    """All deadlines of one node."""

    def __dealloc__(self) -> None:
        free(self.heap)

    cdef bint arm(self, int64_t when, uint32_t kind, int32_t row, uint32_t generation) noexcept:
        cdef Timer timer
        cdef int32_t at
        cdef int32_t parent
        cdef int32_t wanted
        cdef Timer* grown
        cdef bint own = (
            kind == TIMER_PERIOD or kind == TIMER_GOSSIP or kind == TIMER_SEEDS
            or kind == TIMER_SWEEP or kind == TIMER_PULLS or kind == TIMER_LEAVE
            or kind == TIMER_DOUBTS or kind == TIMER_EXPIRY
        )
        if self.count >= (TIMERS_MAX if own else TIMERS_MAX - TIMERS_RESERVED):
            self.refused += 1
            return False
        if self.count == self.capacity:
            wanted = self.capacity * 2 if self.capacity else 8
            grown = <Timer*> realloc(self.heap, wanted * sizeof(Timer))
            if grown == NULL:
                self.refused += 1
                return False
            self.heap = grown
            self.capacity = wanted
        timer.when = when
        timer.order = self.order
        timer.kind = kind
        timer.row = row
        timer.generation = generation
        self.order += 1
        at = self.count
        self.count += 1
        while at > 0:
            parent = (at - 1) >> 1
            if not _before(&timer, &self.heap[parent]):
                break
            self.heap[at] = self.heap[parent]
            at = parent
        self.heap[at] = timer
        return True

    cdef bint pop_due(self, int64_t now, Timer* out) noexcept:
        cdef Timer last
        cdef Timer* shrunk
        cdef int32_t at = 0
        cdef int32_t child
        if self.count == 0 or self.heap[0].when > now:
            return False
        out[0] = self.heap[0]
        self.count -= 1
        last = self.heap[self.count]
        while True:
            child = 2 * at + 1
            if child >= self.count:
                break
            if child + 1 < self.count and _before(&self.heap[child + 1], &self.heap[child]):
                child += 1
            if not _before(&self.heap[child], &last):
                break
            self.heap[at] = self.heap[child]
            at = child
        self.heap[at] = last
        if self.count < self.capacity // 4 and self.capacity > _KEPT_CAPACITY:
            # A burst is over: give half of the memory back. A shrinking block stays where it is or
            # is copied; if neither works the old one is still good.
            shrunk = <Timer*> realloc(self.heap, self.capacity // 2 * sizeof(Timer))
            if shrunk != NULL:
                self.heap = shrunk
                self.capacity //= 2
        return True

    cdef int64_t next_due(self) noexcept:
        """The earliest deadline, or the largest number when there is none."""
        return self.heap[0].when if self.count else 0x7FFFFFFFFFFFFFFF
