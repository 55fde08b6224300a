from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

# What a mechanism wants done; the node drains the list after every call into one.
cdef enum EffectKind:
    EFFECT_PING = 1         # ping ``row`` with ``seq`` (0: any answer is welcome, none is awaited)
    EFFECT_PING_REQ = 2     # ask helper ``row`` to ping ``other``; ``number`` is the budget in µs
    EFFECT_NACK = 3         # tell ``row`` that ``other`` did not answer its request ``seq``
    EFFECT_RELAYED = 4      # tell ``row`` that ``other`` answered its request ``seq``
    EFFECT_FAILED = 5       # ``row`` failed a probe and the second look; ``at``: the first failure
    EFFECT_SILENT = 6       # a probe of ``row`` ended without an answer from anybody
    EFFECT_CHECKED = 7      # the last check of ``row`` failed: declare it dead; ``number``: answers
    EFFECT_UNCHECKED = 8    # the last check of ``row`` proved nothing
    EFFECT_EXPIRED = 9      # ``row``'s suspicion ran out; ``seq``: checks; ``number``: first-hand
    EFFECT_ASK = 10         # ``row`` is said dead at ``number`` = epoch << 32 | incarnation: ask it
    EFFECT_GREET = 11       # greet seed ``row``
    EFFECT_PROBE = 12       # probe ``row`` out of turn
    EFFECT_ACCEPT = 13      # ``row`` has answered for long enough: show it as alive again
    EFFECT_REMIND = 14      # ask suspect ``row`` both directly and through somebody else

# How a piece of evidence reached this node.
cdef enum Source:
    SOURCE_GOSSIP = 0       # a datagram's news
    SOURCE_SYNC = 1         # an anti-entropy exchange: old news, asked about before believed
    SOURCE_SNAPSHOT = 2     # the exchange of a join: believed, there is nothing to compare with
    SOURCE_DISK = 3         # an own snapshot: contacted, not believed
    SOURCE_SELF = 4         # the member itself

cdef struct Effect:
    EffectKind what
    int32_t row
    int32_t other
    uint32_t seq
    int64_t at
    uint64_t number

cdef class Effects:
    cdef Effect* list
    cdef int32_t first
    cdef int32_t count
    cdef int32_t capacity
    cdef uint64_t refused
    cdef void add(
        self, EffectKind what, int32_t row, int32_t other, uint32_t seq, int64_t at, uint64_t number
    ) noexcept
    cdef bint take(self, Effect* out) noexcept
