"""Addresses, member ids and the one hash function of the core.

A member id has 16 bytes; its short form is the first 8 as a big-endian number. The hash is
SipHash-1-3 (Aumasson and Bernstein 2012), keyed, so that whoever can choose names cannot choose
collisions without the key. It never depends on Python's ``hash``.
"""
from libc.stdint cimport uint8_t, uint64_t


cdef inline uint64_t _rotate(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef inline uint64_t _load(const uint8_t* data, size_t size) noexcept nogil:
    cdef uint64_t value = 0
    cdef size_t i
    for i in range(size):
        value |= (<uint64_t> data[i]) << (8 * i)
    return value


cdef inline void _round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[1] = _rotate(v[1], 13) ^ v[0]
    v[0] = _rotate(v[0], 32)
    v[2] += v[3]
    v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = _rotate(v[1], 17) ^ v[2]
    v[2] = _rotate(v[2], 32)


cdef uint64_t sip_hash(
        uint64_t key0, uint64_t key1, const uint8_t* data, size_t size
) noexcept nogil:
    """SipHash-1-3 of ``size`` bytes."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t blocks = size >> 3
    cdef size_t i
    v[0] = key0 ^ 0x736F6D6570736575ULL
    v[1] = key1 ^ 0x646F72616E646F6DULL
    v[2] = key0 ^ 0x6C7967656E657261ULL
    v[3] = key1 ^ 0x7465646279746573ULL
    for i in range(blocks):
        word = _load(data + 8 * i, 8)
        v[3] ^= word
        _round(v)
        v[0] ^= word
    word = _load(data + 8 * blocks, size & 7) | ((<uint64_t> (size & 0xFF)) << 56)
    v[3] ^= word
    _round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    _round(v)
    _round(v)
    _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef object address_bytes(const Address* address):
    """The 18 bytes that Python knows an address by."""
    cdef uint8_t raw[ADDRESS_BYTES]
    address_write(address, raw)
    return (<const char*> raw)[:ADDRESS_BYTES]


cdef str address_text(const Address* address):
    """``a.b.c.d:port`` or ``[v6]:port``, for people."""
    raw = (<const char*> address.ip)[:16]
    if raw[:12] == b"\0\0\0\0\0\0\0\0\0\0\xff\xff":
        return f"{raw[12]}.{raw[13]}.{raw[14]}.{raw[15]}:{address.port}"
    words = [f"{(raw[i] << 8) | raw[i + 1]:x}" for i in range(0, 16, 2)]
    return f"[{':'.join(words)}]:{address.port}"


def hash_bytes(data: bytes, key0: int = 0, key1: int = 0) -> int:
    """SipHash-1-3 of ``data`` as a 64-bit number."""
    return sip_hash(key0, key1, <const uint8_t*> (<const char*> data), len(data))


def ring_hash(ring: str) -> int:
    """The number that every packet of a ring carries; two rings on one network never merge."""
    return hash_bytes(ring.encode(), 0x7375702D72696E67, PROTOCOL_SALT)


PROTOCOL_SALT = 0x676F73736970
