cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from sup_core.event_queue cimport EventRecord

cdef enum:
    CHANGES = 8


# The truth about one member id, and how many hold what of it.
cdef struct Person:
    uint8_t id[16]
    uint32_t host
    uint32_t ring
    uint32_t epoch
    bint running
    bint left
    bint told               # some viewer's row has an entry
    int64_t excused_until
    uint32_t fresh          # members that hold it alive at its present epoch
    uint32_t unaware        # members that hold it alive or suspect at all
    uint32_t aware          # members that told its end, since it ended
    int64_t ended_us
    int64_t first_us
    int64_t median_us
    int64_t last_us
    int64_t everybody_us
    uint32_t suspicions
    uint32_t refutations
    uint32_t deaths


# One host as a viewer: a byte for each member id.
cdef struct Viewer:
    uint8_t* row
    bint present
    bint cut_off
    uint32_t ring
    uint32_t group
    uint32_t life
    uint32_t wrong          # entries of the row that differ from the truth


@cython.final
cdef class Spread:
    cdef readonly int kind
    cdef readonly bytes key
    cdef readonly int64_t start_us
    cdef int64_t* first
    cdef uint32_t* heard
    cdef Py_ssize_t hosts

    cdef int room(self, Py_ssize_t hosts) except -1
    cdef void packet(self, uint32_t host, const uint8_t* data, Py_ssize_t size) noexcept


cdef class Ledger:
    cdef Person* persons
    cdef Viewer* viewers
    cdef readonly Py_ssize_t lives
    cdef Py_ssize_t width       # bytes of a row
    cdef readonly Py_ssize_t hosts
    cdef Py_ssize_t viewer_room
    cdef int64_t* slots         # hash table from id to life
    cdef Py_ssize_t slot_count
    cdef uint64_t counts[CHANGES]
    cdef readonly int64_t now_us
    cdef readonly uint64_t wrong
    cdef readonly uint64_t strangers
    cdef readonly uint64_t odd_changes
    cdef readonly uint64_t overflows
    cdef readonly uint64_t false_deaths
    cdef readonly uint64_t healthy_deaths
    cdef readonly uint64_t ghost_returns
    cdef readonly list deaths
    cdef readonly str odd
    cdef list spreads
    cdef object judge

    cdef int64_t find(self, const uint8_t* id) noexcept
    cdef int see(self, uint32_t viewer, const EventRecord* record, int64_t now) except -1
    cdef int member(
        self, uint32_t viewer, const uint8_t* id, int change, int state, uint32_t epoch,
        int64_t now
    ) except -1
    cdef int rumor(
        self, uint32_t viewer, int kind, const uint8_t* key, Py_ssize_t size, int64_t now
    ) except -1
    cdef int delivered(self, uint32_t host, const uint8_t* data, Py_ssize_t size) except -1
    cdef int _death(self, uint32_t viewer, int64_t life, int64_t now) except -1
    cdef void _put(self, uint32_t viewer, int64_t life, uint8_t held) noexcept
    cdef bint _truth(self, Viewer* viewer, int64_t life) noexcept
    cdef int _widen(self) except -1
    cdef int _rehash(self) except -1
    cdef int _known(self, Py_ssize_t life) except -1
    cdef void _absent(self, Viewer* viewer) noexcept
    cdef void _column(self, int64_t life, bint present) noexcept
    cdef void _enter_slot(self, Py_ssize_t life) noexcept
