"""The core's only source of chance: xoshiro256** seeded through splitmix64, from a number given
by the caller.

Same seed, same stream, on every machine. Source: Blackman and Vigna, "Scrambled linear
pseudorandom number generators", 2021. Not for secrets.
"""
from libc.stdint cimport uint32_t, uint64_t


cdef inline uint64_t _rotate(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef class Prng:
    """One stream of pseudo-random numbers."""

    def __init__(self, seed: int) -> None:
        """Seed from any integer; only its lowest 64 bits count."""
        cdef uint64_t state = <uint64_t> (seed & 0xFFFFFFFFFFFFFFFF)
        cdef uint64_t word[4]
        cdef uint64_t z
        cdef int i
        for i in range(4):
            state += 0x9E3779B97F4A7C15ULL
            z = state
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
            z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
            word[i] = z ^ (z >> 31)
        self.s0, self.s1, self.s2, self.s3 = word[0], word[1], word[2], word[3]

    cdef uint64_t draw(self) noexcept:
        cdef uint64_t result = _rotate(self.s1 * 5, 7) * 9
        cdef uint64_t t = self.s1 << 17
        self.s2 ^= self.s0
        self.s3 ^= self.s1
        self.s1 ^= self.s2
        self.s0 ^= self.s3
        self.s2 ^= t
        self.s3 = _rotate(self.s3, 45)
        return result

    cdef uint32_t draw_below(self, uint32_t bound) noexcept:
        # Multiply and shift: a bias below 2^-32 is far smaller than anything the protocol can
        # notice.
        return <uint32_t> (((self.draw() >> 32) * bound) >> 32)

    def next(self) -> int:
        """Draw 64 bits."""
        return self.draw()

    def below(self, bound: int) -> int:
        """Draw from 0..bound-1; 0 when ``bound`` is 0. ``bound`` is below 2^32."""
        return self.draw_below(bound)
