from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef struct Address:
    uint8_t ip[16]      # IPv6; IPv4 as ::ffff:a.b.c.d
    uint16_t port       # host byte order

cdef struct MemberId:
    uint8_t octets[16]

# Where wire and Python hold an address: 16 bytes and the port in network order.
cdef enum:
    ADDRESS_BYTES = 18

cdef inline void address_read(Address* out, const uint8_t* data) noexcept nogil:
    memcpy(out.ip, data, 16)
    out.port = <uint16_t> ((data[16] << 8) | data[17])

cdef inline void address_write(const Address* address, uint8_t* out) noexcept nogil:
    memcpy(out, address.ip, 16)
    out[16] = <uint8_t> (address.port >> 8)
    out[17] = <uint8_t> (address.port & 0xFF)

cdef inline bint address_equal(const Address* a, const Address* b) noexcept nogil:
    return a.port == b.port and memcmp(a.ip, b.ip, 16) == 0

cdef inline uint64_t short_of(const uint8_t* member_id) noexcept nogil:
    # The first eight bytes, big-endian, so that numbers and ids sort alike.
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = (value << 8) | member_id[i]
    return value

# Where the digest of an entry with this name goes, 0..127.
cdef inline int bucket_of(uint64_t name) noexcept nogil:
    return <int> ((name * 0x9E3779B97F4A7C15ULL) >> 57)

cdef uint64_t sip_hash(
    uint64_t key0, uint64_t key1, const uint8_t* data, size_t size
) noexcept nogil
cdef object address_bytes(const Address* address)
cdef str address_text(const Address* address)
