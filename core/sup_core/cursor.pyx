"""msgpack primitives over a buffer, read and written in place: no Python object, no allocation
per value.

Decides nothing about meaning. Every read checks the remaining size first (the bounds proof behind
the switched-off checks: no pointer is followed before ``_need`` has seen that its bytes are
inside the buffer), and the first error sticks. Accepts every width msgpack allows, writes the
shortest. Source: the msgpack specification; a property test holds it to the msgpack library.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from sup_core.limits cimport NESTING_MAX


cdef extern from "<endian.h>" nogil:
    uint64_t htobe64(uint64_t)
    uint64_t be64toh(uint64_t)


cdef void reader_init(Reader* r, const uint8_t* data, size_t size) noexcept nogil:
    r.at = data
    r.end = data + size
    r.error = CURSOR_OK


cdef inline bint _need(Reader* r, size_t size) noexcept nogil:
    if r.error != CURSOR_OK:
        return False
    if <size_t> (r.end - r.at) < size:
        r.error = CURSOR_SHORT
        return False
    return True


cdef inline uint64_t _fail(Reader* r, CursorError error) noexcept nogil:
    if r.error == CURSOR_OK:
        r.error = error
    return 0


cdef inline uint64_t _big(Reader* r, int width) noexcept nogil:
    # Width bytes, big-endian; 0 with an error when they are not there.
    cdef uint64_t value = 0
    cdef int i
    if not _need(r, width):
        return 0
    if r.end - r.at >= 8:
        # One load: the bytes after the number are the buffer's too, and are shifted out.
        memcpy(&value, r.at, 8)
        value = be64toh(value) >> (64 - 8 * width)
    else:
        for i in range(width):
            value = (value << 8) | r.at[i]
    r.at += width
    return value


cdef uint64_t read_uint(Reader* r) noexcept nogil:
    """An unsigned integer of any width."""
    cdef uint8_t tag
    if not _need(r, 1):
        return 0
    tag = r.at[0]
    if tag < 0x80:
        r.at += 1
        return tag
    if tag < 0xCC or tag > 0xCF:
        return _fail(r, CURSOR_TYPE)
    r.at += 1
    return _big(r, 1 << (tag - 0xCC))


cdef uint64_t read_uint_max(Reader* r, uint64_t bound) noexcept nogil:
    """An unsigned integer that is at most ``bound``."""
    cdef uint64_t value = read_uint(r)
    if value > bound:
        return _fail(r, CURSOR_RANGE)
    return value


cdef uint32_t read_array(Reader* r) noexcept nogil:
    """The count of an array's elements, which follow; never more than the bytes that are left."""
    cdef uint8_t tag
    cdef uint64_t count
    if not _need(r, 1):
        return 0
    tag = r.at[0]
    if tag >= 0x90 and tag <= 0x9F:
        r.at += 1
        count = tag & 0x0F
    elif tag == 0xDC or tag == 0xDD:
        r.at += 1
        count = _big(r, 2 if tag == 0xDC else 4)
    else:
        return <uint32_t> _fail(r, CURSOR_TYPE)
    if count > <uint64_t> (r.end - r.at):
        return <uint32_t> _fail(r, CURSOR_SHORT)
    return <uint32_t> count


cdef uint32_t read_map(Reader* r) noexcept nogil:
    """The count of a map's pairs, which follow."""
    cdef uint8_t tag
    cdef uint64_t count
    if not _need(r, 1):
        return 0
    tag = r.at[0]
    if tag >= 0x80 and tag <= 0x8F:
        r.at += 1
        count = tag & 0x0F
    elif tag == 0xDE or tag == 0xDF:
        r.at += 1
        count = _big(r, 2 if tag == 0xDE else 4)
    else:
        return <uint32_t> _fail(r, CURSOR_TYPE)
    if 2 * count > <uint64_t> (r.end - r.at):
        return <uint32_t> _fail(r, CURSOR_SHORT)
    return <uint32_t> count


cdef inline const uint8_t* _body(
        Reader* r, uint64_t size, uint32_t* out, uint32_t size_max
) noexcept nogil:
    cdef const uint8_t* data
    out[0] = 0
    if r.error != CURSOR_OK:
        return NULL
    if size > size_max:
        _fail(r, CURSOR_RANGE)
        return NULL
    if not _need(r, <size_t> size):
        return NULL
    data = r.at
    r.at += size
    out[0] = <uint32_t> size
    return data


cdef const uint8_t* read_bin(Reader* r, uint32_t* size, uint32_t size_max) noexcept nogil:
    """Bytes of at most ``size_max``; the pointer is into the buffer."""
    cdef uint8_t tag
    size[0] = 0
    if not _need(r, 1):
        return NULL
    tag = r.at[0]
    if tag < 0xC4 or tag > 0xC6:
        _fail(r, CURSOR_TYPE)
        return NULL
    r.at += 1
    return _body(r, _big(r, 1 << (tag - 0xC4)), size, size_max)


cdef const uint8_t* read_bin_exact(Reader* r, uint32_t size) noexcept nogil:
    """Exactly ``size`` bytes."""
    cdef uint32_t found = 0
    cdef const uint8_t* data = read_bin(r, &found, size)
    if r.error == CURSOR_OK and found != size:
        _fail(r, CURSOR_RANGE)
    return data if r.error == CURSOR_OK else NULL


cdef const uint8_t* read_str(Reader* r, uint32_t* size, uint32_t size_max) noexcept nogil:
    """A text of at most ``size_max`` bytes. One that is no UTF-8 is refused: it would be passed on,
    and readers in other languages take no such text.
    """
    cdef const uint8_t* data
    cdef uint8_t tag
    size[0] = 0
    if not _need(r, 1):
        return NULL
    tag = r.at[0]
    r.at += 1
    if tag >= 0xA0 and tag <= 0xBF:
        data = _body(r, tag & 0x1F, size, size_max)
    elif tag >= 0xD9 and tag <= 0xDB:
        data = _body(r, _big(r, 1 << (tag - 0xD9)), size, size_max)
    else:
        r.at -= 1
        _fail(r, CURSOR_TYPE)
        return NULL
    if data != NULL and not _is_utf8(data, size[0]):
        _fail(r, CURSOR_RANGE)
        size[0] = 0
        return NULL
    return data


cdef bint _is_utf8(const uint8_t* data, uint32_t size) noexcept nogil:
    # RFC 3629, section 4: no overlong form, no surrogate, nothing past U+10FFFF.
    cdef uint32_t at = 0
    cdef uint32_t k
    cdef uint32_t more
    cdef uint8_t lead
    cdef uint8_t least
    cdef uint8_t most
    cdef uint64_t word
    # Nearly all texts are ASCII: eight bytes at once.
    while size - at >= 8:
        memcpy(&word, data + at, 8)
        if word & 0x8080808080808080ULL:
            break
        at += 8
    while at < size:
        lead = data[at]
        at += 1
        if lead < 0x80:
            continue
        least = 0x80
        most = 0xBF
        if lead >= 0xC2 and lead <= 0xDF:
            more = 1
        elif lead >= 0xE0 and lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                least = 0xA0
            elif lead == 0xED:
                most = 0x9F
        elif lead >= 0xF0 and lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                least = 0x90
            elif lead == 0xF4:
                most = 0x8F
        else:
            return False
        if size - at < more or data[at] < least or data[at] > most:
            return False
        for k in range(1, more):
            if data[at + k] & 0xC0 != 0x80:
                return False
        at += more
    return True


cdef bint read_nil(Reader* r) noexcept nogil:
    """Consume a nil if one is next, and say so."""
    if r.error == CURSOR_OK and r.at < r.end and r.at[0] == 0xC0:
        r.at += 1
        return True
    return False


cdef inline void _jump(Reader* r, uint64_t size) noexcept nogil:
    if r.error == CURSOR_OK and size <= <uint64_t> (r.end - r.at):
        r.at += size
    else:
        _fail(r, CURSOR_SHORT)


cdef void skip(Reader* r, int depth) noexcept nogil:
    """Step over one value of any type. Work is bounded by the bytes left, recursion by NESTING_MAX.
    """
    cdef uint8_t tag
    cdef uint64_t count = 0
    cdef uint64_t _i
    if depth >= NESTING_MAX:
        _fail(r, CURSOR_DEPTH)
        return
    if not _need(r, 1):
        return
    tag = r.at[0]
    if tag <= 0x7F or tag >= 0xE0 or tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
        r.at += 1
    elif tag <= 0x8F or tag == 0xDE or tag == 0xDF:
        count = 2 * <uint64_t> read_map(r)
    elif tag <= 0x9F or tag == 0xDC or tag == 0xDD:
        count = read_array(r)
    elif tag <= 0xBF:
        r.at += 1
        _jump(r, tag & 0x1F)
    elif tag >= 0xC4 and tag <= 0xC6:
        r.at += 1
        _jump(r, _big(r, 1 << (tag - 0xC4)))
    elif tag >= 0xC7 and tag <= 0xC9:
        r.at += 1
        _jump(r, _big(r, 1 << (tag - 0xC7)) + 1)
    elif tag == 0xCA:
        r.at += 1
        _jump(r, 4)
    elif tag == 0xCB:
        r.at += 1
        _jump(r, 8)
    elif tag >= 0xCC and tag <= 0xCF:
        r.at += 1
        _jump(r, 1 << (tag - 0xCC))
    elif tag >= 0xD0 and tag <= 0xD3:
        r.at += 1
        _jump(r, 1 << (tag - 0xD0))
    elif tag >= 0xD4 and tag <= 0xD8:
        r.at += 1
        _jump(r, 1 + (1 << (tag - 0xD4)))
    elif tag >= 0xD9 and tag <= 0xDB:
        r.at += 1
        _jump(r, _big(r, 1 << (tag - 0xD9)))
    else:
        _fail(r, CURSOR_TYPE)
    for _i in range(count):
        if r.error != CURSOR_OK:
            return
        skip(r, depth + 1)


cdef void writer_init(Writer* w, uint8_t* buffer, size_t capacity) noexcept nogil:
    w.start = buffer
    w.size = 0
    w.capacity = capacity
    w.limit = capacity
    w.growing = False
    w.full = False


cdef void writer_init_growing(Writer* w, size_t limit) noexcept nogil:
    w.start = NULL
    w.size = 0
    w.capacity = 0
    w.limit = limit
    w.growing = True
    w.full = False


cdef void writer_free(Writer* w) noexcept nogil:
    if w.growing:
        free(w.start)
        w.start = NULL
        w.capacity = 0
        w.size = 0


cdef inline bint _room(Writer* w, size_t size) noexcept nogil:
    # Overflow sticks: the writer stays full until its owner rewinds ``size`` and ``full``.
    cdef size_t wanted
    cdef uint8_t* grown
    if w.full:
        return False
    if w.size + size <= w.capacity:
        return True
    if w.growing and w.size + size <= w.limit:
        wanted = w.capacity * 2 if w.capacity else 2048
        while wanted < w.size + size:
            wanted *= 2
        grown = <uint8_t*> realloc(w.start, wanted)
        if grown != NULL:
            w.start = grown
            w.capacity = wanted
            return True
    w.full = True
    return False


cdef inline void _put(Writer* w, uint8_t tag, uint64_t value, int width) noexcept nogil:
    cdef int i
    if not _room(w, 1 + width):
        return
    w.start[w.size] = tag
    if width == 8:
        value = htobe64(value)
        memcpy(w.start + w.size + 1, &value, 8)
    else:
        for i in range(width):
            w.start[w.size + 1 + i] = <uint8_t> (value >> (8 * (width - 1 - i)))
    w.size += 1 + width


cdef void write_uint(Writer* w, uint64_t value) noexcept nogil:
    if value < 0x80:
        _put(w, <uint8_t> value, 0, 0)
    elif value <= 0xFF:
        _put(w, 0xCC, value, 1)
    elif value <= 0xFFFF:
        _put(w, 0xCD, value, 2)
    elif value <= 0xFFFFFFFFULL:
        _put(w, 0xCE, value, 4)
    else:
        _put(w, 0xCF, value, 8)


cdef void write_array(Writer* w, uint32_t count) noexcept nogil:
    if count < 16:
        _put(w, <uint8_t> (0x90 | count), 0, 0)
    elif count <= 0xFFFF:
        _put(w, 0xDC, count, 2)
    else:
        _put(w, 0xDD, count, 4)


cdef void write_map(Writer* w, uint32_t count) noexcept nogil:
    if count < 16:
        _put(w, <uint8_t> (0x80 | count), 0, 0)
    else:
        _put(w, 0xDE, count, 2)


cdef void write_array16(Writer* w, uint32_t count) noexcept nogil:
    """An array head of fixed width, to be patched when the count is known."""
    _put(w, 0xDC, count, 2)


cdef void write_raw(Writer* w, const uint8_t* data, size_t size) noexcept nogil:
    if size and _room(w, size):
        memcpy(w.start + w.size, data, size)
        w.size += size


cdef void write_bin(Writer* w, const uint8_t* data, uint32_t size) noexcept nogil:
    if size <= 0xFF:
        _put(w, 0xC4, size, 1)
    elif size <= 0xFFFF:
        _put(w, 0xC5, size, 2)
    else:
        _put(w, 0xC6, size, 4)
    write_raw(w, data, size)


cdef void write_str(Writer* w, const uint8_t* data, uint32_t size) noexcept nogil:
    if size < 32:
        _put(w, <uint8_t> (0xA0 | size), 0, 0)
    elif size <= 0xFF:
        _put(w, 0xD9, size, 1)
    else:
        _put(w, 0xDA, size, 2)
    write_raw(w, data, size)


cdef void write_nil(Writer* w) noexcept nogil:
    _put(w, 0xC0, 0, 0)
