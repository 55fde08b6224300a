"""An open-addressed map from 64-bit keys to row numbers, in C memory.

Linear probing, at most half full, deletion by shifting back: no tombstones, so a lookup stays
short after any amount of churn. Empty it has no memory. The salt comes from the node's seed:
whoever chooses keys cannot choose collisions.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from sup_core.prng cimport Prng

cdef enum:
    _KEPT_SIZE = 64


cdef class HashIndex:
    """Maps a key to a row >= 0; ``find`` gives -1 for an unknown key."""

    def __cinit__(self, salt: int) -> None:
        # Small numbers are no good salts: it is a factor of the hash.
        self.salt = Prng(salt).draw() | 1
        # Memory comes with the first key: most nodes hold no suspicion, many no rumor.

    def __dealloc__(self) -> None:
        free(self.keys)
        free(self.values)

    cdef bint grow(self) noexcept:
        cdef uint32_t size = (self.mask + 1) * 2 if self.mask else 16
        cdef uint64_t* keys = <uint64_t*> malloc(size * sizeof(uint64_t))
        cdef int32_t* values = <int32_t*> malloc(size * sizeof(int32_t))
        cdef uint64_t* old_keys = self.keys
        cdef int32_t* old_values = self.values
        cdef uint32_t old_size = self.mask + 1 if self.mask else 0
        cdef uint32_t i
        cdef uint32_t at
        if keys == NULL or values == NULL:
            free(keys)
            free(values)
            return False
        for i in range(size):
            values[i] = -1
        self.keys = keys
        self.values = values
        self.mask = size - 1
        for i in range(old_size):
            if old_values[i] >= 0:
                at = self.home(old_keys[i])
                while values[at] >= 0:
                    at = (at + 1) & self.mask
                keys[at] = old_keys[i]
                values[at] = old_values[i]
        free(old_keys)
        free(old_values)
        return True

    cdef uint32_t home(self, uint64_t key) noexcept:
        cdef uint64_t mixed = (key ^ self.salt) * 0x9E3779B97F4A7C15ULL
        mixed = (mixed ^ (mixed >> 32)) * (self.salt | 1)
        return <uint32_t> (mixed >> 32) & self.mask

    cdef int32_t find(self, uint64_t key) noexcept:
        cdef uint32_t at
        if self.count == 0:
            return -1
        at = self.home(key)
        while self.values[at] >= 0:
            if self.keys[at] == key:
                return self.values[at]
            at = (at + 1) & self.mask
        return -1

    cdef bint put(self, uint64_t key, int32_t value) noexcept:
        """Add a key that is not there yet; False when out of memory."""
        cdef uint32_t at
        if (self.mask == 0 or 2 * (self.count + 1) > self.mask + 1) and not self.grow():
            return False
        at = self.home(key)
        while self.values[at] >= 0:
            at = (at + 1) & self.mask
        self.keys[at] = key
        self.values[at] = value
        self.count += 1
        return True

    cdef void change(self, uint64_t key, int32_t value) noexcept:
        """Give a key that is there another value."""
        cdef uint32_t at = self.home(key)
        while self.keys[at] != key or self.values[at] < 0:
            at = (at + 1) & self.mask
        self.values[at] = value

    cdef void remove(self, uint64_t key) noexcept:
        cdef uint32_t at
        cdef uint32_t hole
        cdef uint32_t home
        if self.count == 0:
            return
        at = self.home(key)
        while self.values[at] >= 0 and self.keys[at] != key:
            at = (at + 1) & self.mask
        if self.values[at] < 0:
            return
        self.count -= 1
        if self.count == 0 and self.mask >= _KEPT_SIZE:
            # What made it large is over: give its memory back.
            free(self.keys)
            free(self.values)
            self.keys = NULL
            self.values = NULL
            self.mask = 0
            return
        hole = at
        while True:
            at = (at + 1) & self.mask
            if self.values[at] < 0:
                break
            home = self.home(self.keys[at])
            # Move back only what would still be found: its home is not between the hole and it.
            if ((at - home) & self.mask) >= ((at - hole) & self.mask):
                self.keys[hole] = self.keys[at]
                self.values[hole] = self.values[at]
                hole = at
        self.values[hole] = -1
