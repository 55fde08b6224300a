"""Whether two members hold the same, in 8 bytes; and where not, in one datagram.

Every entry (a member or a rumor) has a 64-bit keyed hash of its name and version. A bucket's hash
is the sum of its entries' modulo 2^64, the digest is the sum of the buckets: both are kept up to
date by an addition and a subtraction per change. Suspicions, incarnations and tombstones past
half their floor are no part of it, else digests would differ for ever.

An exchange starts only when the digests have differed while nothing changed here for 0.6 s, or for
1.5 s at all: until then the gossip of the very change is still under way. At most
``exchanges_per_second`` start.
"""
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset
from sup_core.identity cimport bucket_of
from sup_core.limits cimport BUCKET_MAP_BYTES, BUCKETS

cdef enum:
    # Two ticks and a hop or two: a single change is everywhere by then.
    _QUIET_US = 600000
    _PATIENCE_US = 1500000
    # News takes this long to reach all at most, mostly far less.
    _MARGIN_US = 2000000
    _RECENT_MAX = 10
    _WINDOW_MAX_US = 60000000


cdef class AntiEntropy:
    """The digest of one node."""

    def __cinit__(self) -> None:
        self.differs_since = -1

    cdef void add(self, uint64_t name, uint64_t entry_hash, int64_t now) noexcept:
        self.hashes[bucket_of(name)] += entry_hash
        self.digest += entry_hash
        self.changed = now

    cdef void subtract(self, uint64_t name, uint64_t entry_hash, int64_t now) noexcept:
        self.hashes[bucket_of(name)] -= entry_hash
        self.digest -= entry_hash
        self.changed = now

    cdef bint should_exchange(self, uint64_t digest, int64_t now) noexcept:
        """Whether to start an exchange with a member that just sent its digest; takes a turn if so.
        """
        if digest == self.digest:
            self.differs_since = -1
            self.agreed = now
            self.recent = 0
            return False
        if self.differs_since < 0:
            self.differs_since = now
        if now - self.changed < _QUIET_US and now - self.differs_since < _PATIENCE_US:
            return False
        if not self.take_turn(now):
            return False
        # What differs after this exchange has its own patience: where members come all the time,
        # digests never agree.
        self.differs_since = now
        return True

    cdef int64_t recent_window(self, int64_t now) noexcept:
        """How far back the exchange that starts now needs to look, 0: compare the buckets.

        Only while changes come all the time: what differs in silence may be of any age.
        """
        cdef int64_t window = now - self.agreed + _MARGIN_US
        if now - self.changed >= _QUIET_US or self.recent >= _RECENT_MAX or window > _WINDOW_MAX_US:
            self.recent = 0
            return 0
        self.recent += 1
        self.agreed = now
        return window

    cdef bint take_turn(self, int64_t now) noexcept:
        """Whether this second still has an exchange to spend."""
        if now - self.window >= 1000000:
            self.window = now
            self.used = 0
        if self.used >= self.settings.exchanges_per_second:
            return False
        self.used += 1
        self.exchanges += 1
        return True

    cdef int differing(self, const uint8_t* theirs, uint8_t* bits) noexcept:
        """Set a bit for each of 128 big-endian hashes that differs; give how many do."""
        cdef int i
        cdef int k
        cdef int count = 0
        cdef uint64_t value
        memset(bits, 0, BUCKET_MAP_BYTES)
        for i in range(BUCKETS):
            value = 0
            for k in range(8):
                value = (value << 8) | theirs[8 * i + k]
            if value != self.hashes[i]:
                bits[i >> 3] |= <uint8_t> (1 << (i & 7))
                count += 1
        return count
