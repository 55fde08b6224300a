"""One socket of the UDP hub in C: its numbers, its filter against foreign packets, its addresses.

Leaf functions without Python objects. The kernel's filter is the classic one
(``SO_ATTACH_FILTER``), which needs no privilege.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from sup.edge.linux_net cimport (
    AF_INET, AF_INET6, BPF_ABS, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    CLOCK_MONOTONIC, CMSG_DATA, CMSG_FIRSTHDR, SO_ATTACH_FILTER, SO_DETACH_FILTER,
    SO_RXQ_OVFL, SOL_SOCKET,
    clock_gettime, cmsghdr, htons, iovec, mmsghdr, msghdr, ntohs, setsockopt, sock_filter,
    sock_fprog, sockaddr_in, sockaddr_in6, socklen_t, timespec,
)
from sup_core.identity cimport Address


cdef enum:
    BATCH = 64                # messages per recvmmsg or sendmmsg; more gains nothing measurable
    IMMEDIATE = 4             # packets answered one by one before batching starts
    BATCHES_MAX = 4           # per socket and wake-up; a higher cap does not raise throughput
    STALL_PACKETS_MAX = 16384  # a full receive buffer of 8 MiB holds about 11,000 small packets
    EVENTS = 256
    EPOLL_ROUNDS_MAX = 4
    FLUSH_ROUNDS_MAX = 64     # 4,096 packets per input; the node's own bounds are far below
    RECEIVE_ERRORS_MAX = 64   # pending errors read off one socket per wake-up
    IN_BYTES = 2048           # above the 1400 of the protocol: a longer one shows as truncated
    OUT_BYTES = 1400          # a datagram on the wire: the node's DATAGRAM_BYTES_MAX and the tag
    TAG_BYTES = 8
    CONTROL_WORDS = 8         # 64 bytes for ancillary data, aligned
    SLOTS_MAX = 65536
    NO_SLOT = 0xFFFFFFFF
    MAGIC_BYTES_MAX = 16
    FILTER_INSTRUCTIONS_MAX = 2 * MAGIC_BYTES_MAX + 2
    UDP_HEADER_BYTES = 8      # a socket filter of UDP sees the packet from its UDP header on
    FAULTS_MAX = 16
    SHARED_SLOTS = 8          # from here on the timer is rounded up to SHARED_TICK_US
    # A wake-up costs as much as a hundred packets do in the node. No rule of the node depends on
    # the tick: one crash of a hundred is known 0.1 to 0.2 s later than with exact timers.
    SHARED_TICK_US = 20_000
    TICK_US = 1_000           # loops round to milliseconds; rounding down would spin
    FOREIGN_WINDOW_US = 1_000_000
    FOREIGN_SHOWN_MAX = 100   # per window handed to the node, so that it can say what it hears
    FOREIGN_FILTER_AT = 1000  # per window; then the kernel refuses them
    FILTER_SPELL_US = 10_000_000
    FAILED_TIMEOUT_US = 100_000
    SLEEP_US_MAX = 3_600_000_000  # a port that wants nothing is asked again in an hour

cdef struct Slot:
    int fd                    # -1: free
    uint32_t generation
    uint32_t index
    bint is_v6
    void* port                # borrowed; the hub's list of ports keeps it
    bint is_touched           # must be settled before the callback of the loop returns
    bint is_drained           # the last reading of this wake-up reached the end
    uint32_t following        # in the list of the touched
    bint filtered
    int64_t filter_until
    int64_t window_start
    uint32_t window_foreign
    uint8_t magic[MAGIC_BYTES_MAX]
    int magic_size
    int magic_offset
    uint64_t received
    uint64_t received_bytes
    uint64_t foreign
    uint64_t truncated
    uint64_t damaged          # the ring is ours, the tag is wrong
    uint64_t kernel_drops     # receive buffer full, or refused by the filter
    uint64_t receive_errors
    uint64_t sent
    uint64_t sent_bytes
    uint64_t send_dropped     # EAGAIN, ENOBUFS, or an address family the socket can't reach
    uint64_t send_refused     # EMSGSIZE, EINVAL, unreachable: that one packet only
    uint64_t filter_spells


cdef struct Scratch:
    mmsghdr incoming[BATCH]
    mmsghdr outgoing[BATCH]
    iovec in_vectors[BATCH]
    iovec out_vectors[BATCH]
    sockaddr_in6 in_names[BATCH]
    sockaddr_in6 out_names[BATCH]
    uint64_t control[BATCH][CONTROL_WORDS]
    uint8_t in_bytes[BATCH][IN_BYTES]
    uint8_t out_bytes[BATCH][OUT_BYTES]


cdef inline int64_t clock_now() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return <int64_t> moment.tv_sec * 1_000_000 + moment.tv_nsec // 1000


cdef inline uint64_t slot_handle(const Slot* slot) noexcept:
    return (<uint64_t> slot.generation << 32) | slot.index


cdef inline void note_drops(Slot* slot, msghdr* message) noexcept nogil:
    """SO_RXQ_OVFL carries the kernel's count of drops since the socket was opened (32 bits)."""
    cdef cmsghdr* control = CMSG_FIRSTHDR(message)
    cdef uint32_t drops
    if control == NULL or control.cmsg_level != SOL_SOCKET or control.cmsg_type != SO_RXQ_OVFL:
        return
    memcpy(&drops, CMSG_DATA(control), sizeof(drops))
    slot.kernel_drops += <uint32_t> (drops - <uint32_t> slot.kernel_drops)


cdef inline bint is_foreign(const Slot* slot, const uint8_t* data, Py_ssize_t size) noexcept nogil:
    """True if the packet does not carry the magic of the port."""
    return slot.magic_size > 0 and (
        size < slot.magic_offset + slot.magic_size
        or memcmp(data + slot.magic_offset, slot.magic, slot.magic_size) != 0
    )


cdef inline void lift_filter(Slot* slot) noexcept nogil:
    """Let the kernel pass foreign packets again, so that the node can hear who they are from."""
    cdef int off = 0
    setsockopt(slot.fd, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof(off))
    slot.filtered = False


cdef inline bint show_foreign(Slot* slot, int64_t now) noexcept nogil:
    """Count a foreign packet; True if the node should see it. Many of them raise the filter."""
    slot.foreign += 1
    if now - slot.window_start >= FOREIGN_WINDOW_US:
        slot.window_start = now
        slot.window_foreign = 0
    slot.window_foreign += 1
    if slot.window_foreign >= FOREIGN_FILTER_AT and not slot.filtered:
        if _raise_filter(slot):
            slot.filtered = True
            slot.filter_spells += 1
        slot.filter_until = now + FILTER_SPELL_US
        slot.window_foreign = 0
    return slot.window_foreign <= FOREIGN_SHOWN_MAX


cdef inline bint _raise_filter(Slot* slot) noexcept nogil:
    """Attach a filter that accepts packets with the magic only. A load past the end refuses."""
    cdef sock_filter code[FILTER_INSTRUCTIONS_MAX]
    cdef sock_fprog program
    cdef int position = 0, length = 0, width, number
    cdef uint32_t value
    while position < slot.magic_size:
        width = 4 if slot.magic_size - position >= 4 else 1
        value = 0
        for number in range(width):
            value = value << 8 | slot.magic[position + number]
        code[length].code = BPF_LD | (BPF_W if width == 4 else BPF_B) | BPF_ABS
        code[length].jt = code[length].jf = 0
        code[length].k = UDP_HEADER_BYTES + slot.magic_offset + position
        code[length + 1].code = BPF_JMP | BPF_JEQ | BPF_K
        code[length + 1].jt = 0
        code[length + 1].k = value
        length += 2
        position += width
    code[length].code = code[length + 1].code = BPF_RET | BPF_K
    code[length].jt = code[length].jf = code[length + 1].jt = code[length + 1].jf = 0
    code[length].k = 0xFFFFFFFF
    code[length + 1].k = 0
    for number in range(1, length, 2):
        code[number].jf = <uint8_t> (length - number)  # to the refusal, the last instruction
    program.len = length + 2
    program.filter = code
    return setsockopt(slot.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0


cdef inline bint from_socket(const sockaddr_in6* name, Address* out) noexcept nogil:
    """Fill ``out``, IPv4 as ::ffff:a.b.c.d; False for a family that is not ours."""
    cdef const sockaddr_in* v4
    if name.sin6_family == AF_INET6:
        memcpy(out.ip, name.sin6_addr.s6_addr, 16)
        out.port = ntohs(name.sin6_port)
        return True
    if name.sin6_family == AF_INET:
        v4 = <const sockaddr_in*> name
        memset(out.ip, 0, 10)
        out.ip[10] = out.ip[11] = 0xFF
        memcpy(out.ip + 12, &v4.sin_addr.s_addr, 4)
        out.port = ntohs(v4.sin_port)
        return True
    return False


cdef inline socklen_t to_socket(
    const Slot* slot, const Address* target, sockaddr_in6* out
) noexcept nogil:
    """Fill ``out`` for the family of the socket; 0 if it can't reach such an address."""
    cdef sockaddr_in* v4
    cdef int number
    if slot.is_v6:
        memset(out, 0, sizeof(sockaddr_in6))
        out.sin6_family = <uint16_t> AF_INET6
        out.sin6_port = htons(target.port)
        memcpy(out.sin6_addr.s6_addr, target.ip, 16)
        return sizeof(sockaddr_in6)
    for number in range(10):
        if target.ip[number] != 0:
            return 0
    if target.ip[10] != 0xFF or target.ip[11] != 0xFF:
        return 0
    v4 = <sockaddr_in*> out
    memset(v4, 0, sizeof(sockaddr_in))
    v4.sin_family = <uint16_t> AF_INET
    v4.sin_port = htons(target.port)
    memcpy(&v4.sin_addr.s_addr, target.ip + 12, 4)
    return sizeof(sockaddr_in)
