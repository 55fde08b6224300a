from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum CursorError:
    CURSOR_OK = 0
    CURSOR_SHORT = 1        # the buffer ended inside a value
    CURSOR_TYPE = 2         # another type than the format wants
    CURSOR_RANGE = 3        # a number or a size over its bound
    CURSOR_DEPTH = 4        # nested deeper than NESTING_MAX

# Reading: the first error sticks, every later read returns 0 and moves nothing.
cdef struct Reader:
    const uint8_t* at
    const uint8_t* end
    CursorError error

# Writing: into a caller's buffer, or (growing) into one of its own that writer_free releases.
cdef struct Writer:
    uint8_t* start
    size_t size
    size_t capacity
    size_t limit
    bint growing
    bint full

cdef void reader_init(Reader* r, const uint8_t* data, size_t size) noexcept nogil
cdef uint64_t read_uint(Reader* r) noexcept nogil
cdef uint64_t read_uint_max(Reader* r, uint64_t bound) noexcept nogil
cdef uint32_t read_array(Reader* r) noexcept nogil
cdef uint32_t read_map(Reader* r) noexcept nogil
cdef const uint8_t* read_bin(Reader* r, uint32_t* size, uint32_t size_max) noexcept nogil
cdef const uint8_t* read_bin_exact(Reader* r, uint32_t size) noexcept nogil
cdef const uint8_t* read_str(Reader* r, uint32_t* size, uint32_t size_max) noexcept nogil
cdef bint read_nil(Reader* r) noexcept nogil
cdef void skip(Reader* r, int depth) noexcept nogil

cdef void writer_init(Writer* w, uint8_t* buffer, size_t capacity) noexcept nogil
cdef void writer_init_growing(Writer* w, size_t limit) noexcept nogil
cdef void writer_free(Writer* w) noexcept nogil
cdef void write_uint(Writer* w, uint64_t value) noexcept nogil
cdef void write_array(Writer* w, uint32_t count) noexcept nogil
cdef void write_map(Writer* w, uint32_t count) noexcept nogil
cdef void write_array16(Writer* w, uint32_t count) noexcept nogil
cdef void write_bin(Writer* w, const uint8_t* data, uint32_t size) noexcept nogil
cdef void write_str(Writer* w, const uint8_t* data, uint32_t size) noexcept nogil
cdef void write_nil(Writer* w) noexcept nogil
cdef void write_raw(Writer* w, const uint8_t* data, size_t size) noexcept nogil
