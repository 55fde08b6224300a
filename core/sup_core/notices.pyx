"""What the node says about itself, at most once in ten seconds for whatever can be provoked from
outside.
"""
from libc.stdint cimport int64_t, uint64_t
from sup_core.event_queue cimport (
    EVENT_SELF,
    SELF_CODES,
    SELF_CUT_OFF,
    SELF_REACHABLE,
    EventQueue,
    EventRecord,
    SelfCode,
)
from sup_core.identity cimport Address

cdef enum:
    _SELF_EVENT_INTERVAL_US = 10000000


cdef class Notices:
    """The events of one node."""

    def __cinit__(self, EventQueue events not None) -> None:
        cdef int i
        self.events = events
        for i in range(SELF_CODES):
            self.told_at[i] = -0x3FFFFFFFFFFFFFFF

    cdef void tell(
            self, SelfCode code, uint64_t other, const Address* source, int64_t now
    ) noexcept:
        # Cut off and reachable take turns by themselves; the others can be provoked from outside.
        cdef EventRecord* record
        if code != SELF_CUT_OFF and code != SELF_REACHABLE:
            if now - self.told_at[<int> code] < _SELF_EVENT_INTERVAL_US:
                return
            self.told_at[<int> code] = now
        record = self.events.push()
        if record == NULL:
            return
        record.what = EVENT_SELF
        record.code = code
        record.other = other
        if source != NULL:
            record.address = source[0]
