from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef enum TimerKind:
    TIMER_PERIOD = 1        # the protocol period
    TIMER_GOSSIP = 2        # the gossip tick, while there is news
    TIMER_PROBE = 3         # row: a probe
    TIMER_RELAY = 4         # row: a relay
    TIMER_SUSPICION = 5     # row: a suspicion
    TIMER_CONTACT = 6       # row: a member that is dead or unseen
    TIMER_SEEDS = 7
    TIMER_SWEEP = 8         # the tombstone floor
    TIMER_PULLS = 9
    TIMER_LEAVE = 10
    TIMER_DOUBTS = 11
    TIMER_NEWCOMER = 12     # the next try for a snapshot
    TIMER_FLAP = 13         # row: a flapping member
    TIMER_EXPIRY = 14       # the next rumor that has lived out

cdef struct Timer:
    int64_t when
    uint32_t order          # ties fire in the order they were armed; it wraps
    uint32_t kind
    int32_t row
    uint32_t generation

cdef class Timers:
    cdef Timer* heap
    cdef int32_t count
    cdef int32_t capacity
    cdef uint32_t order
    cdef uint64_t refused
    cdef bint arm(self, int64_t when, uint32_t kind, int32_t row, uint32_t generation) noexcept
    cdef bint pop_due(self, int64_t now, Timer* out) noexcept
    cdef int64_t next_due(self) noexcept
