"""Effects of the mechanisms, in order. A mechanism never calls the node or a sibling: it leaves
effects here.

The list is drained after every call, so it is short; it grows up to a bound and refuses, counted,
above it.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

cdef enum:
    # One input makes at most a probe's helpers and a few more.
    _EFFECTS_MAX = 4096
    _KEPT_CAPACITY = 4          # a quiet node leaves one or two; a burst is given back


cdef class Effects:
    """A list that is filled by mechanisms and drained by the node."""

    def __dealloc__(self) -> None:
        free(self.list)

    cdef void add(
            self, EffectKind what, int32_t row, int32_t other, uint32_t seq, int64_t at,
            uint64_t number
    ) noexcept:
        cdef Effect* effect
        cdef int32_t wanted
        cdef void* p
        if self.count == self.capacity:
            wanted = self.capacity * 2 if self.capacity else _KEPT_CAPACITY
            p = realloc(self.list, wanted * sizeof(Effect)) if wanted <= _EFFECTS_MAX else NULL
            if p == NULL:
                self.refused += 1
                return
            self.list = <Effect*> p
            self.capacity = wanted
        effect = &self.list[self.count]
        effect.what = what
        effect.row = row
        effect.other = other
        effect.seq = seq
        effect.at = at
        effect.number = number
        self.count += 1

    cdef bint take(self, Effect* out) noexcept:
        """Move the oldest effect out; False when there is none."""
        if self.first == self.count:
            self.first = 0
            self.count = 0
            if self.capacity > _KEPT_CAPACITY:
                # A burst is over: give its memory back.
                free(self.list)
                self.list = NULL
                self.capacity = 0
            return False
        out[0] = self.list[self.first]
        self.first += 1
        return True
