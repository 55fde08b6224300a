"""Random and mutated datagrams into a node at the speed of C: for the fuzz bench and the fuzz
tests.

Takes real packets as a corpus, mutates copies of them with the core's own generator (flipped
bits, overwritten, inserted and removed bytes, spliced tails, other lengths) and hands them to
``Node.receive`` without a Python object in between. In between it fires timers and drains what
the node sends and tells, as a driver would. Never used by a member of a ring.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset
from sup_core.blobs cimport rumor_drop
from sup_core.card_pool cimport card_drop
from sup_core.event_queue cimport EventRecord
from sup_core.identity cimport Address
from sup_core.limits cimport DATAGRAM_BYTES_MAX
from sup_core.node cimport Node
from sup_core.prng cimport Prng

cdef enum:
    _CORPUS_MAX = 512
    _BUFFER_BYTES = 1600            # larger than a datagram may be
    _HEADER_BYTES = 13              # array, version, ring: mostly kept, else all is foreign
    _INTERVAL_US = 50
    _DRIVE_EVERY = 16

# Bytes that open or bound msgpack values.
cdef uint8_t[24] _INTERESTING = [
    0x00, 0x01, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC4,
    0xC6, 0xC9, 0xCC, 0xCF, 0xD3, 0xD9, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xFF,
]


cdef uint32_t _mutate(
        uint8_t* data, uint32_t size, const uint8_t* other, uint32_t other_size, Prng prng
) noexcept:
    # Every write stays below _BUFFER_BYTES: positions are drawn below ``size``, insertions checked.
    cdef uint32_t rounds = 1 + prng.draw_below(4)
    cdef uint32_t first
    cdef uint32_t at
    cdef uint32_t length
    cdef uint32_t what
    cdef uint32_t _i
    for _i in range(rounds):
        first = _HEADER_BYTES if size > _HEADER_BYTES + 1 and prng.draw_below(64) else 0
        if size <= first:
            return size
        at = first + prng.draw_below(size - first)
        what = prng.draw_below(8)
        if what <= 1:
            data[at] ^= <uint8_t> (1 << prng.draw_below(8))
        elif what == 2:
            data[at] = _INTERESTING[prng.draw_below(24)]
        elif what == 3:
            data[at] = <uint8_t> prng.draw()
        elif what == 4:
            size = at
        elif what == 5:
            length = 1 + prng.draw_below(16)
            if size + length < _BUFFER_BYTES:
                memmove(data + at + length, data + at, size - at)
                size += length
                while length:
                    length -= 1
                    data[at + length] = <uint8_t> prng.draw()
        elif what == 6:
            length = 1 + prng.draw_below(16)
            if length > size - at:
                length = size - at
            memmove(data + at, data + at + length, size - at - length)
            size -= length
        elif other_size > at:
            memcpy(data + at, other + at, other_size - at)
            size = other_size
    return size


def fuzz(
        node: Node, corpus: list[bytes], count: int, seed: int, now: int, random_share: int = 8
) -> int:
    """Feed ``count`` datagrams, one in ``random_share`` of pure chance; give the time after it.

    ``corpus`` holds up to 512 packets of at most DATAGRAM_BYTES_MAX bytes.
    """
    cdef Node n = node
    cdef Prng prng = Prng(seed)
    cdef uint8_t* samples
    cdef uint32_t sizes[_CORPUS_MAX]
    cdef uint8_t buffer[_BUFFER_BYTES]
    cdef uint8_t out[DATAGRAM_BYTES_MAX]
    cdef Address source
    cdef Address target
    cdef EventRecord record
    cdef uint32_t kinds = <uint32_t> min(len(corpus), _CORPUS_MAX)
    cdef uint32_t size
    cdef uint32_t pick
    cdef uint32_t other
    cdef uint32_t i
    cdef uint32_t k
    cdef uint32_t share = random_share
    cdef int64_t moment = now
    cdef uint64_t total = count
    cdef uint64_t done = 0
    cdef bytes raw
    samples = <uint8_t*> malloc(_CORPUS_MAX * DATAGRAM_BYTES_MAX)
    if samples == NULL:
        raise MemoryError
    memset(&source, 0, sizeof(source))
    try:
        for i in range(kinds):
            raw = corpus[i]
            if len(raw) > DATAGRAM_BYTES_MAX:
                raise ValueError(f"packet {i} is {len(raw)} bytes, limit is {DATAGRAM_BYTES_MAX}")
            sizes[i] = <uint32_t> len(raw)
            memcpy(samples + i * DATAGRAM_BYTES_MAX, <const char*> raw, sizes[i])
        source.ip[10] = 0xFF
        source.ip[11] = 0xFF
        source.ip[12] = 10
        while done < total:
            done += 1
            moment += _INTERVAL_US
            source.ip[15] = <uint8_t> prng.draw_below(16)
            source.port = 9638
            if kinds == 0 or prng.draw_below(share) == 0:
                size = prng.draw_below(_BUFFER_BYTES)
                if prng.draw_below(2):
                    size = size & 63
                for k in range(size):
                    buffer[k] = <uint8_t> prng.draw()
            else:
                pick = prng.draw_below(kinds)
                other = prng.draw_below(kinds)
                size = sizes[pick]
                memcpy(buffer, samples + pick * DATAGRAM_BYTES_MAX, size)
                size = _mutate(
                    buffer, size, samples + other * DATAGRAM_BYTES_MAX, sizes[other], prng
                )
            n.receive(buffer, size, &source, moment)
            if done % _DRIVE_EVERY == 0:
                if n.next_due() <= moment:
                    n.timeout(moment)
                while n.transmit(out, &target):
                    pass
                while n.events.pop(&record):
                    card_drop(record.card)
                    rumor_drop(record.rumor)
                    rumor_drop(record.previous)
                while n.exchanges.queue:
                    number = n.exchanges.queue.popleft()[0]
                    n.handle_response(number, None, moment)
    finally:
        free(samples)
    return moment
