"""The simulator's network: how long a packet takes, and whether it arrives.

A `Network` holds the numbers that hold for every link; who may talk to whom (partitions, one-way
links) and what one member suffers (deaf, lossy, slow) is state of the simulator. Everything is
integer arithmetic on one 64-bit generator, so a seed gives the same run on every machine.

Latency: by law *uniform* half of the median plus up to a whole median; *constant*, the median;
*lognormal*, the median times e to the power of `sigma` times a normal deviate (a sum of twelve
uniform ones, so that no machine's library has a say). Between two zones it may have another median.
A fraction ``tail`` of the packets
takes a heavy-tailed multiple of that (a Pareto law with exponent 1), never above ``tail_us``.
Reordering follows from the spread. Bursty loss follows Gilbert (1960) and Elliott (1963): a
receiver falls into a bad spell at a given rate per packet and loses most of what arrives until it
ends.
"""

cimport cython

from libc.stdint cimport int64_t, uint32_t, uint64_t

from sup_core.prng cimport Prng

cdef enum:
    STREAM_SEGMENT_BYTES = 1400
    STREAM_TRIES_MAX = 6       # a TCP connection would still try; our 5 s deadline would not
    STREAM_RETRY_US = 200_000  # the kernel's minimum retransmission timeout
    # in the order of LAWS
    LAW_UNIFORM = 0
    LAW_CONSTANT = 1
    LAW_LOGNORMAL = 2

LAWS = ("uniform", "constant", "lognormal")


@cython.final
cdef class Dice(Prng):
    """The core's generator, with the questions that a network and a scenario ask."""

    def integer(self, int64_t low, int64_t high, /) -> int:
        """Return a random integer, `low` and `high` included. Raises: ValueError if high < low."""
        if high < low:
            raise ValueError(f"range {low}..{high} is empty")
        return low + <int64_t>(self.draw() % <uint64_t>(high - low + 1))

    def happens(self, double probability, /) -> bool:
        """Return True with the given probability."""
        return self.chance(threshold(probability))

    def choice(self, list items, /) -> object:
        """Return one of `items`. Raises: IndexError if there are none."""
        if not items:
            raise IndexError("nothing to choose from")
        return items[self.draw() % <uint64_t>len(items)]

    def sample(self, list items, int64_t count, /) -> list:
        """Return `count` different ones of `items` (all of them if there are fewer), shuffled."""
        cdef list pool = list(items)
        cdef Py_ssize_t i, j, n = len(pool)
        count = min(count, n)
        for i in range(count):
            j = i + <Py_ssize_t>(self.draw() % <uint64_t>(n - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]

    cdef bint chance(self, uint32_t threshold_) noexcept:
        # No draw for never or always: switching a fault off must not shift the other decisions.
        if threshold_ == 0 or threshold_ == 0xFFFFFFFF:
            return threshold_ != 0
        return <uint32_t>(self.draw() >> 32) < threshold_


@cython.final
cdef class Network:
    """What every link does to a packet. Times in microseconds, probabilities in 0..1.

    latency_us          median one-way latency, 1..10,000,000
    law, sigma          "uniform", "constant" or "lognormal", and the latter's width, 0..2
    tail, tail_us       fraction of packets with a heavy-tailed latency, and its upper end
    loss                independent loss of each packet
    burst, burst_us     probability per packet that its receiver falls into a bad spell, and how
                        long that lasts on average (uniform, half to one and a half times)
    burst_loss          loss during a bad spell
    duplicate           probability that a packet arrives twice, with its own latency each
    corrupt             probability that up to three bytes change or the end is cut off
    truncate            probability that the end of a packet is cut off; dropped or delivered as a
                        corrupt one is
    mtu_bytes           packets longer than this are lost, 64..1400: a path that forwards no
                        fragments and tells nobody
    checksum            True: a corrupt packet is dropped by its receiver's kernel, as UDP's
                        checksum does; False: it is delivered, which tests the decoder
    stream_bytes_per_s  throughput of a stream

    Raises: ValueError with the value and the bound.
    """

    def __init__(
        self,
        *,
        int64_t latency_us=300,
        str law="uniform",
        double sigma=0.5,
        double tail=0.01,
        int64_t tail_us=20_000,
        double loss=0.0,
        double burst=0.0,
        int64_t burst_us=500_000,
        double burst_loss=0.9,
        double duplicate=0.0,
        double corrupt=0.0,
        double truncate=0.0,
        int mtu_bytes=1400,
        bint checksum=True,
        int64_t stream_bytes_per_s=50_000_000,
    ) -> None:
        if latency_us < 1 or latency_us > 10_000_000:
            raise ValueError(f"latency_us is {latency_us}, bounds are 1..10000000")
        if tail_us < latency_us:
            raise ValueError(f"tail_us is {tail_us}, must not be below latency_us ({latency_us})")
        if burst_us < 2:
            raise ValueError(f"burst_us is {burst_us}, must be at least 2")
        if stream_bytes_per_s < 1:
            raise ValueError(f"stream_bytes_per_s is {stream_bytes_per_s}, must be positive")
        if law not in LAWS:
            raise ValueError(f"law is {law!r}, known are {', '.join(LAWS)}")
        if not 0.0 <= sigma <= 2.0:
            raise ValueError(f"sigma is {sigma}, bounds are 0..2")
        self._law = LAWS.index(law)
        self._sigma = <int64_t>(sigma * 65536.0)
        self._truncate = threshold(truncate)
        self.mtu_bytes = mtu_bytes
        self._zones = {}
        self._latency_us = latency_us
        self._tail_us = tail_us
        self._tail = threshold(tail)
        self._burst_us = burst_us
        self._burst_loss = threshold(burst_loss)
        self.checksum = checksum
        self.stream_bytes_per_s = stream_bytes_per_s
        self._loss = threshold(loss)
        self._burst = threshold(burst)
        self._duplicate = threshold(duplicate)
        self._corrupt = threshold(corrupt)

    @property
    def latency_us(self) -> int:
        """Median one-way latency in microseconds; a new one raises the tail's end if need be."""
        return self._latency_us

    @latency_us.setter
    def latency_us(self, int64_t value) -> None:
        if value < 1 or value > 10_000_000:
            raise ValueError(f"latency_us is {value}, bounds are 1..10000000")
        self._latency_us = value
        self._tail_us = max(self._tail_us, 4 * value)

    @property
    def loss(self) -> float:
        """Independent loss of each packet, 0..1; assign to change it while a run goes on."""
        return self._loss / 4294967295.0

    @loss.setter
    def loss(self, double value) -> None:
        self._loss = threshold(value)

    @property
    def burst(self) -> float:
        """Probability per packet that its receiver falls into a bad spell."""
        return self._burst / 4294967295.0

    @burst.setter
    def burst(self, double value) -> None:
        self._burst = threshold(value)

    @property
    def duplicate(self) -> float:
        """Probability that a packet arrives twice."""
        return self._duplicate / 4294967295.0

    @duplicate.setter
    def duplicate(self, double value) -> None:
        self._duplicate = threshold(value)

    @property
    def corrupt(self) -> float:
        """Probability that a packet is damaged on its way."""
        return self._corrupt / 4294967295.0

    @corrupt.setter
    def corrupt(self, double value) -> None:
        self._corrupt = threshold(value)

    def set_zone_latency(self, int source, int target, int64_t latency_us) -> None:
        """Give packets from one zone to another a median latency of their own, one way."""
        if not (0 <= source <= 0xFFFF and 0 <= target <= 0xFFFF):
            raise ValueError(f"zones are {source} and {target}, bounds are 0..65535")
        if not 1 <= latency_us <= 10_000_000:
            raise ValueError(f"latency_us is {latency_us}, bounds are 1..10000000")
        self._zones[(source << 16) | target] = latency_us
        self._tail_us = max(self._tail_us, 4 * latency_us)

    @property
    def mtu_bytes(self) -> int:
        """Packets longer than this are lost."""
        return self._mtu_bytes

    @mtu_bytes.setter
    def mtu_bytes(self, int value) -> None:
        if not 64 <= value <= 1400:
            raise ValueError(f"mtu_bytes is {value}, bounds are 64..1400")
        self._mtu_bytes = value

    @property
    def law(self) -> str:
        """The law of the latency."""
        return LAWS[self._law]

    @property
    def truncate(self) -> float:
        """Probability that the end of a packet is cut off."""
        return self._truncate / 4294967295.0

    @truncate.setter
    def truncate(self, double value) -> None:
        self._truncate = threshold(value)

    cdef int64_t latency(self, Dice dice) noexcept:
        """Draw a one-way latency, at least 1 µs."""
        return self._draw(dice, self._latency_us)

    cdef int64_t between(self, Dice dice, uint32_t source, uint32_t target) except -1:
        """Draw a one-way latency from one zone to another."""
        if not self._zones:
            return self._draw(dice, self._latency_us)
        return self._draw(dice, self._zones.get((source << 16) | target, self._latency_us))

    cdef int64_t _draw(self, Dice dice, int64_t median) noexcept:
        cdef int64_t us, x, whole, rest
        cdef uint64_t word
        cdef int _i
        if self._law == LAW_UNIFORM:
            us = median // 2 + dice.draw_below(<uint32_t>median + 1)
        elif self._law == LAW_CONSTANT:
            us = median
        else:
            # Twelve uniform deviates of 16 bits have variance 1 and mean 6, in 65,536ths.
            x = -6 * 65536
            for _i in range(3):
                word = dice.draw()
                x += (word & 0xFFFF) + ((word >> 16) & 0xFFFF)
                x += ((word >> 32) & 0xFFFF) + (word >> 48)
            # e^y = 2^(y / ln 2); between two powers a parabola that is off by 0.3 % at most.
            x = ((x * self._sigma) >> 16) * 94548 >> 16
            whole = x >> 16
            rest = x & 0xFFFF
            us = 65536 + ((rest * (43008 + ((22528 * rest) >> 16))) >> 16)
            us = (median * us) >> 16
            us = us << whole if whole >= 0 else us >> -whole
            if us > self._tail_us:
                us = self._tail_us
        if dice.chance(self._tail):
            us = us * 65536 // (1 + <int64_t>dice.draw_below(65536))
            if us > self._tail_us:
                us = self._tail_us
        return us if us > 0 else 1

    cdef int64_t stream_delay(self, Dice dice, Py_ssize_t size) noexcept:
        """Draw how long `size` bytes take on a stream, retransmissions included; -1: never."""
        cdef Py_ssize_t segments = 1 + size // STREAM_SEGMENT_BYTES
        cdef int64_t us = self.latency(dice) + <int64_t>size * 1_000_000 // self.stream_bytes_per_s
        cdef int64_t worst = 0, wait
        cdef int tries
        while segments > 0:
            segments -= 1
            tries = 0
            wait = STREAM_RETRY_US
            while dice.chance(self._loss):
                tries += 1
                if tries == STREAM_TRIES_MAX:
                    return -1
                if tries > 1:
                    wait *= 2
            if tries and wait > worst:
                worst = wait
        return us + worst


cdef uint32_t threshold(double probability) except? 0xFFFFFFFF:
    """Map a probability to the value that 32 random bits must stay below."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability is {probability}, bounds are 0..1")
    return <uint32_t>(probability * 4294967295.0)
