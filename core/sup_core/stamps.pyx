"""Stamps for last-writer rumors: a hybrid logical clock.

A stamp is (
    µs of the wall clock or of the largest stamp seen, whichever is later; a counter
). It orders by
cause even between wrong clocks and is close to the wall clock otherwise. Without a wall clock (0)
it still orders: the largest stamp seen plus one. The wall clock decides nothing else in the core.
Source: Kulkarni et al., "Logical physical clocks", 2014.
"""
from libc.stdint cimport int64_t, uint64_t


cdef class Stamps:
    """The clock of one node."""

    cdef uint64_t wall_now(self, int64_t now) noexcept:
        """The wall clock at monotonic time ``now``, 0 when it is not known."""
        cdef int64_t value = self.wall + (now - self.wall_at)
        if self.wall == 0 or value < 0:
            return 0
        return <uint64_t> value

    cdef void set_wall(self, int64_t wall_us, int64_t now) noexcept:
        self.wall = wall_us
        self.wall_at = now

    cdef void next_stamp(self, int64_t now, uint64_t* a, uint64_t* b) noexcept:
        """A stamp above every stamp made or seen."""
        cdef uint64_t wall = self.wall_now(now)
        if wall > self.last_a:
            self.last_a = wall
            self.last_b = 0
        else:
            self.last_b += 1
        a[0] = self.last_a
        b[0] = self.last_b

    cdef void observe(self, uint64_t a, uint64_t b) noexcept:
        """Remember a stamp of somebody else."""
        if a > self.last_a:
            self.last_a = a
            self.last_b = b
        elif a == self.last_a and b > self.last_b:
            self.last_b = b

    cdef bint too_far_ahead(self, uint64_t a, int64_t now, int64_t ahead_us) noexcept:
        """Whether a stamp is from a future that only a wrong clock knows; never without a wall
        clock.
        """
        cdef uint64_t wall = self.wall_now(now)
        return wall != 0 and a > wall + <uint64_t> ahead_us
