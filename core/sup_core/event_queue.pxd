from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.blobs cimport RumorBlob
from sup_core.card_pool cimport Card
from sup_core.identity cimport Address, MemberId

cdef enum EventWhat:
    EVENT_MEMBER = 0
    EVENT_RUMOR = 1
    EVENT_SELF = 2

# In the order of events.MemberChange.
cdef enum Change:
    CHANGE_JOINED = 0
    CHANGE_UPDATED = 1
    CHANGE_SUSPECTED = 2
    CHANGE_REFUTED = 3
    CHANGE_DIED = 4
    CHANGE_LEFT = 5
    CHANGE_RETURNED = 6
    CHANGE_FORGOTTEN = 7

# In the order of event_queue.SELF_NAMES.
cdef enum SelfCode:
    SELF_CUT_OFF = 0
    SELF_REACHABLE = 1
    SELF_DUPLICATE_ID = 2
    SELF_SHORT_ID_CLASH = 3
    SELF_FOREIGN_RING = 4
    SELF_CLOCK = 5
    SELF_EVENTS_DROPPED = 6
    SELF_OWN_RUMOR = 7
    SELF_CODES = 8

# In the order of event_queue.REASONS.
cdef enum Reason:
    REASON_NONE = 0
    REASON_PROBE_FAILED = 1
    REASON_ACCUSED = 2
    REASON_LAST_CHECK = 3
    REASON_TOLD_DEAD = 4
    REASON_TOLD_LEFT = 5
    REASON_ANSWERED = 6
    REASON_NEW_EPOCH = 7
    REASON_CARD = 8
    REASON_SYNC = 9
    REASON_FLOOR = 10
    REASON_NEWS = 11
    REASON_HELD = 12
    REASON_STEADY = 13

cdef struct EventRecord:
    EventWhat what
    int code                # Change or SelfCode
    Reason reason
    uint64_t other          # accuser's short id, or a number of the detail
    MemberId id
    Address address
    uint8_t state
    uint8_t local
    uint32_t epoch
    uint32_t incarnation
    uint64_t version
    int64_t since
    Card* card
    RumorBlob* rumor
    RumorBlob* previous

cdef class EventQueue:
    cdef EventRecord* ring
    cdef int32_t capacity
    cdef int32_t first
    cdef int32_t count
    cdef uint64_t dropped
    cdef int64_t held       # bytes of the rumors and cards that records refer to
    cdef bint told
    cdef EventRecord* push(self) noexcept
    cdef void charge(self, const EventRecord* record) noexcept
    cdef bint pop(self, EventRecord* out) noexcept
