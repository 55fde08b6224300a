"""The packet format, and the only place that knows it.

A packet (datagram, stream request or response) is one msgpack array

    [protocol version, ring hash, sender's short id, its epoch, its incarnation, message, ...]

and every message is an array that opens with its integer tag:

    1 PING      seq, digest
    2 ACK       seq, digest                    10 JOIN     (the sender's MEMBER follows)
    3 PING-REQ  seq, subject, budget µs        11 WELCOME  [addresses] (its MEMBER follows)
    4 NACK      seq, subject                   12 BUCKETS  128 hashes of 8 bytes
    5 RELAYED   seq, subject, epoch, inc.      13 SYNC     bit map of buckets; entries follow
    6 STATUS    subject, state, epoch, inc., accuser       14 PULL  kind, key, origin, a, b, hash
    7 MEMBER    id, state, epoch, inc., card version, address, [name, tags], age s
    8 RUMOR     kind, key, origin, a, b, value or nil, age s, [life ms]
    9 HEADER    kind, key, origin, a, b, size, hash, [life ms]
   15 SYNCED    bit map of buckets, [names wanted]; entries follow
   16 COMPARE   bit map of buckets, shift, names with 4 bytes of their entries' hashes, [window ms]
   17 CLOCK     wall µs or 0, µs since its start or 0

In brackets is what may be missing. The age of a living MEMBER is how long its teller has known it
so, plus one second, or 0: not said. A rumor with a life expires that much later, at every
holder by its own clock; who relays it says what is left.

Elements after those a reader knows are skipped, and so are messages with a tag it does not know:
a newer member may say more. A JOIN is padded by such an element. Every count and size is checked
against ``limits`` before it is used.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from sup_core.cursor cimport (
    CURSOR_OK,
    CURSOR_RANGE,
    Reader,
    Writer,
    read_array,
    read_bin,
    read_bin_exact,
    read_map,
    read_nil,
    read_str,
    read_uint,
    read_uint_max,
    reader_init,
    skip,
    write_array,
    write_array16,
    write_bin,
    write_nil,
    write_raw,
    write_uint,
)
from sup_core.identity cimport ADDRESS_BYTES, address_read, address_write
from sup_core.limits cimport (
    BUCKET_MAP_BYTES,
    BUCKETS,
    CARD_BYTES_MAX,
    CONTACTS_MAX,
    JOIN_BYTES_MIN,
    KEY_BYTES_MAX,
    NAME_BYTES_MAX,
    PROTOCOL_VERSION,
    STREAM_BYTES_MAX,
    TAG_KEY_BYTES_MAX,
    TAG_VALUE_BYTES_MAX,
    TAGS_MAX,
    VALUE_BYTES_MAX,
)

cdef enum:
    _HEAD = 5               # elements before the messages
    _STATE_MAX = 3
    _U32 = 0xFFFFFFFF


cdef void write_header(
        Writer* w, uint64_t ring, uint64_t sender, uint32_t epoch, uint32_t incarnation
) noexcept nogil:
    """Open a packet; ``finish_packet`` patches the count. The packet starts at the buffer's start.
    """
    write_array16(w, _HEAD)
    _write_head(w, ring, sender, epoch, incarnation)


cdef void write_wide_header(
        Writer* w, uint64_t ring, uint64_t sender, uint32_t epoch, uint32_t incarnation
) noexcept nogil:
    """Open a stream body, which may hold more than 65,535 messages."""
    write_array(w, 0x10000)
    _write_head(w, ring, sender, epoch, incarnation)


cdef void _write_head(
        Writer* w, uint64_t ring, uint64_t sender, uint32_t epoch, uint32_t incarnation
) noexcept nogil:
    write_uint(w, PROTOCOL_VERSION)
    write_uint(w, ring)
    write_uint(w, sender)
    write_uint(w, epoch)
    write_uint(w, incarnation)


cdef void finish_packet(Writer* w, uint32_t messages) noexcept nogil:
    """Write the count of elements into the head of the array."""
    cdef uint32_t count = _HEAD + messages
    cdef int width = 4 if w.size and w.start[0] == 0xDD else 2
    cdef int i
    if w.size > <size_t> width:
        for i in range(width):
            w.start[1 + i] = <uint8_t> (count >> (8 * (width - 1 - i)))


cdef bint read_header(Reader* r, Header* out) noexcept nogil:
    """Read up to the first message. False when it is no packet."""
    cdef uint32_t count = read_array(r)
    if r.error != CURSOR_OK or count < _HEAD:
        return False
    out.version = read_uint(r)
    out.ring = read_uint(r)
    out.sender = read_uint(r)
    out.epoch = <uint32_t> read_uint_max(r, _U32)
    out.incarnation = <uint32_t> read_uint_max(r, _U32)
    out.count = count - _HEAD
    return r.error == CURSOR_OK


cdef uint32_t _seq(Reader* r) noexcept nogil:
    return <uint32_t> read_uint_max(r, _U32)


cdef bint card_valid(const uint8_t* data, uint32_t size) noexcept nogil:
    """Whether the bytes are exactly one ``[name, {tag: value}]`` within its bounds."""
    cdef Reader r
    reader_init(&r, data, size)
    _card(&r)
    return r.error == CURSOR_OK and r.at == r.end


cdef void _card(Reader* r) noexcept nogil:
    cdef uint32_t size = 0
    cdef uint32_t pairs
    cdef uint32_t _i
    if read_array(r) != 2:
        r.error = CURSOR_RANGE
        return
    read_str(r, &size, NAME_BYTES_MAX)
    pairs = read_map(r)
    if pairs > TAGS_MAX:
        r.error = CURSOR_RANGE
        return
    for _i in range(pairs):
        read_str(r, &size, TAG_KEY_BYTES_MAX)
        read_str(r, &size, TAG_VALUE_BYTES_MAX)


cdef uint32_t _read_member(Reader* r, Message* out) noexcept nogil:
    cdef const uint8_t* raw
    out.id = read_bin_exact(r, 16)
    out.state = <uint8_t> read_uint_max(r, _STATE_MAX)
    out.epoch = <uint32_t> read_uint_max(r, _U32)
    out.incarnation = <uint32_t> read_uint_max(r, _U32)
    out.version = read_uint(r)
    raw = read_bin_exact(r, ADDRESS_BYTES)
    if raw != NULL:
        address_read(&out.address, raw)
    out.card = r.at
    _card(r)
    out.card_size = <uint32_t> (r.at - out.card)
    if out.card_size > CARD_BYTES_MAX:
        r.error = CURSOR_RANGE
    out.age_s = <uint32_t> read_uint_max(r, _U32)
    return 9


cdef uint32_t _read_rumor_name(Reader* r, Message* out) noexcept nogil:
    out.kind = read_uint(r)
    out.key = read_bin(r, &out.key_size, KEY_BYTES_MAX)
    out.origin = read_bin_exact(r, 16)
    out.a = read_uint_max(r, 0x7FFFFFFFFFFFFFFF)
    out.b = read_uint_max(r, 0x7FFFFFFFFFFFFFFF)
    return 6


cdef uint32_t _read_life(Reader* r, Message* out, bint there) noexcept nogil:
    out.life_ms = 0
    if there:
        out.life_ms = <uint32_t> read_uint_max(r, _U32)
        if out.life_ms == 0:
            # Said, so it does expire.
            out.life_ms = 1
    return there


cdef uint32_t _read_list(Reader* r, Message* out, bint there, uint32_t size_max) noexcept nogil:
    # Optional bytes at the end of a message; gives how many elements they are.
    out.list = NULL
    out.list_size = 0
    if there:
        out.list = read_bin(r, &out.list_size, size_max)
    return there


cdef bint read_message(Reader* r, Message* out) noexcept nogil:
    """Read the next message; an unknown one has the tag MSG_NONE. False on the first malformed
    byte.
    """
    cdef uint32_t count = read_array(r)
    cdef uint32_t used = 1
    cdef uint64_t tag
    out.tag = MSG_NONE
    if r.error != CURSOR_OK or count < 1:
        return False
    tag = read_uint(r)
    if r.error != CURSOR_OK:
        return False
    if tag == MSG_PING or tag == MSG_ACK:
        out.seq = _seq(r)
        out.digest = read_uint(r)
        used = 3
    elif tag == MSG_PING_REQ:
        out.seq = _seq(r)
        out.subject = read_uint(r)
        out.budget_us = <uint32_t> read_uint_max(r, 60_000_000)
        used = 4
    elif tag == MSG_NACK:
        out.seq = _seq(r)
        out.subject = read_uint(r)
        used = 3
    elif tag == MSG_RELAYED:
        out.seq = _seq(r)
        out.subject = read_uint(r)
        out.epoch = <uint32_t> read_uint_max(r, _U32)
        out.incarnation = <uint32_t> read_uint_max(r, _U32)
        used = 5
    elif tag == MSG_STATUS:
        out.subject = read_uint(r)
        out.state = <uint8_t> read_uint_max(r, _STATE_MAX)
        out.epoch = <uint32_t> read_uint_max(r, _U32)
        out.incarnation = <uint32_t> read_uint_max(r, _U32)
        out.other = read_uint(r)
        used = 6
    elif tag == MSG_MEMBER:
        used = _read_member(r, out)
    elif tag == MSG_RUMOR:
        used = _read_rumor_name(r, out)
        out.value = NULL
        out.value_size = 0
        if not read_nil(r):
            out.value = read_bin(r, &out.value_size, VALUE_BYTES_MAX)
        out.age_s = <uint32_t> read_uint_max(r, _U32)
        used += 2
        used += _read_life(r, out, count > used)
    elif tag == MSG_HEADER:
        used = _read_rumor_name(r, out)
        out.value_size = <uint32_t> read_uint_max(r, VALUE_BYTES_MAX)
        out.value_hash = read_uint(r)
        used += 2
        used += _read_life(r, out, count > used)
    elif tag == MSG_PULL:
        used = _read_rumor_name(r, out)
        out.value_hash = read_uint(r)
        used += 1
    elif tag == MSG_BUCKETS:
        out.bits = read_bin_exact(r, BUCKETS * 8)
        used = 2
    elif tag == MSG_SYNC:
        out.bits = read_bin_exact(r, BUCKET_MAP_BYTES)
        used = 2
    elif tag == MSG_SYNCED:
        out.bits = read_bin_exact(r, BUCKET_MAP_BYTES)
        used = 2 + _read_list(r, out, count > 2, STREAM_BYTES_MAX)
    elif tag == MSG_COMPARE:
        out.bits = read_bin_exact(r, BUCKET_MAP_BYTES)
        out.shift = <uint8_t> read_uint_max(r, 32)
        used = 3 + _read_list(r, out, True, STREAM_BYTES_MAX)
        out.window_ms = 0
        if count > used:
            out.window_ms = <uint32_t> read_uint_max(r, _U32)
            used += 1
    elif tag == MSG_CLOCK:
        out.a = read_uint_max(r, 0x7FFFFFFFFFFFFFFF)
        out.b = read_uint_max(r, 0x7FFFFFFFFFFFFFFF)
        used = 3
    elif tag == MSG_JOIN:
        used = 1
    elif tag == MSG_WELCOME:
        used = 1 + _read_list(r, out, count > 1, CONTACTS_MAX * ADDRESS_BYTES)
    else:
        tag = MSG_NONE
    if r.error != CURSOR_OK or count < used:
        return False
    while used < count:
        skip(r, 0)
        if r.error != CURSOR_OK:
            return False
        used += 1
    out.tag = <Tag> tag
    return True


cdef void write_ping(Writer* w, uint32_t seq, uint64_t digest) noexcept nogil:
    write_array(w, 3)
    write_uint(w, MSG_PING)
    write_uint(w, seq)
    write_uint(w, digest)


cdef void write_ack(Writer* w, uint32_t seq, uint64_t digest) noexcept nogil:
    write_array(w, 3)
    write_uint(w, MSG_ACK)
    write_uint(w, seq)
    write_uint(w, digest)


cdef void write_ping_req(
        Writer* w, uint32_t seq, uint64_t subject, uint32_t budget_us
) noexcept nogil:
    write_array(w, 4)
    write_uint(w, MSG_PING_REQ)
    write_uint(w, seq)
    write_uint(w, subject)
    write_uint(w, budget_us)


cdef void write_nack(Writer* w, uint32_t seq, uint64_t subject) noexcept nogil:
    write_array(w, 3)
    write_uint(w, MSG_NACK)
    write_uint(w, seq)
    write_uint(w, subject)


cdef void write_relayed(
        Writer* w, uint32_t seq, uint64_t subject, uint32_t epoch, uint32_t incarnation
) noexcept nogil:
    write_array(w, 5)
    write_uint(w, MSG_RELAYED)
    write_uint(w, seq)
    write_uint(w, subject)
    write_uint(w, epoch)
    write_uint(w, incarnation)


cdef void write_status(
        Writer* w, uint64_t subject, uint8_t state, uint32_t epoch, uint32_t incarnation,
        uint64_t accuser
) noexcept nogil:
    write_array(w, 6)
    write_uint(w, MSG_STATUS)
    write_uint(w, subject)
    write_uint(w, state)
    write_uint(w, epoch)
    write_uint(w, incarnation)
    write_uint(w, accuser)


cdef void write_member(Writer* w, const Message* m) noexcept nogil:
    cdef uint8_t raw[ADDRESS_BYTES]
    address_write(&m.address, raw)
    write_array(w, 9)
    write_uint(w, MSG_MEMBER)
    write_bin(w, m.id, 16)
    write_uint(w, m.state)
    write_uint(w, m.epoch)
    write_uint(w, m.incarnation)
    write_uint(w, m.version)
    write_bin(w, raw, ADDRESS_BYTES)
    write_raw(w, m.card, m.card_size)
    write_uint(w, m.age_s)


cdef void _write_rumor_name(Writer* w, const Message* m, Tag tag, uint32_t count) noexcept nogil:
    write_array(w, count)
    write_uint(w, tag)
    write_uint(w, m.kind)
    write_bin(w, m.key, m.key_size)
    write_bin(w, m.origin, 16)
    write_uint(w, m.a)
    write_uint(w, m.b)


cdef void write_rumor(Writer* w, const Message* m) noexcept nogil:
    _write_rumor_name(w, m, MSG_RUMOR, 9 if m.life_ms else 8)
    if m.value == NULL:
        write_nil(w)
    else:
        write_bin(w, m.value, m.value_size)
    write_uint(w, m.age_s)
    if m.life_ms:
        write_uint(w, m.life_ms)


cdef void write_rumor_header(Writer* w, const Message* m) noexcept nogil:
    _write_rumor_name(w, m, MSG_HEADER, 9 if m.life_ms else 8)
    write_uint(w, m.value_size)
    write_uint(w, m.value_hash)
    if m.life_ms:
        write_uint(w, m.life_ms)


cdef void write_pull(Writer* w, const Message* m) noexcept nogil:
    _write_rumor_name(w, m, MSG_PULL, 7)
    write_uint(w, m.value_hash)


cdef void write_join(Writer* w, Tag tag, uint32_t padding) noexcept nogil:
    """``padding`` zero bytes, at most JOIN_BYTES_MIN, are an element that every reader skips."""
    cdef uint8_t zeros[JOIN_BYTES_MIN]
    write_array(w, 2 if padding else 1)
    write_uint(w, tag)
    if padding:
        memset(zeros, 0, sizeof(zeros))
        write_bin(w, zeros, padding if padding < JOIN_BYTES_MIN else JOIN_BYTES_MIN)


cdef void write_buckets(Writer* w, const uint64_t* hashes) noexcept nogil:
    cdef uint8_t raw[BUCKETS * 8]
    cdef int i
    cdef int k
    for i in range(BUCKETS):
        for k in range(8):
            raw[8 * i + k] = <uint8_t> (hashes[i] >> (56 - 8 * k))
    write_array(w, 2)
    write_uint(w, MSG_BUCKETS)
    write_bin(w, raw, BUCKETS * 8)


cdef void write_sync(Writer* w, Tag tag, const uint8_t* bits) noexcept nogil:
    write_array(w, 2)
    write_uint(w, tag)
    write_bin(w, bits, BUCKET_MAP_BYTES)


cdef void write_synced(
        Writer* w, const uint8_t* bits, const uint8_t* names, uint32_t size
) noexcept nogil:
    """``names``, of 8 bytes each, are the entries that the answerer wants."""
    write_array(w, 3)
    write_uint(w, MSG_SYNCED)
    write_bin(w, bits, BUCKET_MAP_BYTES)
    write_bin(w, names, size)


cdef void write_compare(
        Writer* w, const uint8_t* bits, uint8_t shift, const uint8_t* names, uint32_t size,
        uint32_t window_ms
) noexcept nogil:
    """``names`` are 12 bytes each: a name, and its entry's hash from bit ``shift`` on.

    With a window the list holds only what changed within it, and so does the answer.
    """
    write_array(w, 5 if window_ms else 4)
    write_uint(w, MSG_COMPARE)
    write_bin(w, bits, BUCKET_MAP_BYTES)
    write_uint(w, shift)
    write_bin(w, names, size)
    if window_ms:
        write_uint(w, window_ms)


cdef void write_welcome(Writer* w, const uint8_t* addresses, uint32_t size) noexcept nogil:
    """``addresses`` are of live members that have a snapshot to give."""
    write_array(w, 2 if size else 1)
    write_uint(w, MSG_WELCOME)
    if size:
        write_bin(w, addresses, size)


cdef void write_clock(Writer* w, uint64_t wall_us, uint64_t up_us) noexcept nogil:
    """When a snapshot was written, or for how long the teller has been running."""
    write_array(w, 3)
    write_uint(w, MSG_CLOCK)
    write_uint(w, wall_us)
    write_uint(w, up_us)
