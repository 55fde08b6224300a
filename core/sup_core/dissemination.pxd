from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings

cdef enum NewsClass:
    NEWS_MEMBERS = 0        # index: a row of the member table
    NEWS_RUMORS = 1         # index: a slot of the rumor store
    NEWS_CLASSES = 2

cdef enum:
    LEVELS = 32             # copies sent so far; the transmit limit is below

cdef enum:
    NO_ITEM = 0xFFFF        # rows and slots are below

cdef struct Item:
    uint16_t following
    uint16_t previous
    uint8_t place           # level + 1; 0: not queued

cdef struct Lane:
    Item* items             # by index; none while the lane is empty
    int32_t capacity
    uint16_t first[32]
    uint16_t last[32]
    int32_t count
    int64_t deficit

cdef struct Picked:
    uint8_t lane
    int8_t level
    int32_t index

cdef class Dissemination:
    cdef Settings* settings
    cdef MemberTable table
    cdef Prng prng
    cdef Lane lanes[2]
    cdef Picked* picked
    cdef int picked_count
    cdef int64_t last_tick
    cdef bint armed
    cdef int copies             # of a batch that count: to targets that are not suspected
    cdef bint behind            # the neighbour of the last tick was the one before
    cdef int turn
    cdef uint64_t dropped[2]    # by lane
    cdef void enqueue(self, int lane, int32_t index) noexcept
    cdef void remove(self, int lane, int32_t index) noexcept
    cdef void heard_again(self, int lane, int32_t index) noexcept
    cdef bint pending(self) noexcept
    cdef bint queued(self, int lane, int32_t index) noexcept
    cdef int transmit_limit(self) noexcept
    cdef int choose_targets(self, int32_t* out) noexcept
    cdef void open_batch(self) noexcept
    cdef bint pick(self, int lane, int32_t* index) noexcept
    cdef void put_back(self) noexcept
    cdef void close_batch(self, int copies) noexcept
    cdef void _append(self, Lane* lane, int32_t index, int level, bint at_front) noexcept
    cdef void _unlink(self, Lane* lane, int32_t index) noexcept
    cdef void _give_back(self, Lane* lane) noexcept
