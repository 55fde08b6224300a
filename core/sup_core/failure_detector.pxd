from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from sup_core.effects cimport Effects
from sup_core.member_table cimport MemberTable
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings
from sup_core.timers cimport Timers

cdef enum Stage:
    STAGE_FREE = 0
    STAGE_DIRECT = 1        # pinged, waiting one time-out
    STAGE_INDIRECT = 2      # helpers asked, waiting two more
    STAGE_SECOND_LOOK = 3   # failed; asking again, privately
    STAGE_LAST_CHECK = 4    # a suspect, pinged directly and through helpers

cdef enum Answer:
    ANSWER_NONE = 0         # nobody waits for it
    ANSWER_PROBE = 1
    ANSWER_RELAY = 2

cdef struct Probe:
    Stage stage
    int32_t row
    uint32_t row_generation
    uint32_t generation
    uint32_t seq
    uint8_t repeated        # a stage was asked once more, because this node stood still
    uint8_t waited          # the end of a stage was put off once, for answers under way
    uint8_t asked
    uint8_t answers         # nacks of helpers in time
    uint8_t nacked          # which of the helpers, a bit each
    uint8_t pings_left
    uint8_t wanted          # answers of helpers that a last check would like to get
    uint8_t needed          # answers of helpers that a last check must get
    int32_t helpers[5]
    int64_t started
    int64_t failed_at

# Round trips to the members of one zone; the first is that of all members.
cdef struct Zone:
    uint16_t name           # hash of the tag
    int64_t srtt            # 0: no sample yet
    int64_t rttvar

cdef enum:
    ZONES_MAX = 8          # a ring spans a few zones; beyond it they share the estimate of all

cdef struct Relay:
    bint used
    bint nacked
    uint32_t generation
    uint32_t seq            # of the ping to the subject
    int32_t requester
    uint32_t requester_generation
    uint32_t requester_seq
    int32_t subject
    uint32_t subject_generation
    int64_t budget

cdef class FailureDetector:
    cdef Settings* settings
    cdef MemberTable table
    cdef Timers timers
    cdef Prng prng
    cdef Effects effects
    cdef Probe* probes
    cdef int probe_capacity
    cdef int probe_count
    cdef uint32_t late_seq      # of the last probe that ended in silence
    cdef int32_t late_row
    cdef int64_t late_started
    cdef Relay* relays
    cdef int relay_high     # relays above it were never used
    cdef int relay_capacity
    cdef int relay_count
    cdef uint32_t next_seq
    cdef Zone zones[8]
    cdef int zone_count
    cdef uint16_t* order        # rows, in the order of this round
    cdef int32_t order_count
    cdef int32_t order_at
    cdef int32_t order_capacity
    cdef bint in_order_turn
    cdef int32_t recent[8]
    cdef int recent_at
    cdef uint64_t probes_refused
    cdef uint64_t probes_failed
    cdef int64_t rto(self) noexcept
    cdef int64_t rto_of(self, int32_t row) noexcept
    cdef int64_t _clamped(self, Zone* zone) noexcept
    cdef Zone* _zone(self, int32_t row) noexcept
    cdef Relay* _free_relay(self) noexcept
    cdef void heard(self, int32_t row) noexcept
    cdef void period(self, int64_t now) noexcept
    cdef bint probing(self, int32_t row) noexcept
    cdef void void_probes(self, int32_t row) noexcept
    cdef bint start(self, int32_t row, int64_t now) noexcept
    cdef bint start_last_check(self, int32_t row, int checks, int64_t now) noexcept
    cdef void probe_due(
        self, int32_t index, uint32_t generation, int64_t late, int64_t now
    ) noexcept
    cdef Answer acked(self, uint32_t seq, int32_t row, int64_t now) noexcept
    cdef bint relayed(self, uint32_t seq, int32_t helper, int32_t subject) noexcept
    cdef void nacked(self, uint32_t seq, int32_t helper) noexcept
    cdef void ping_req(
        self, int32_t requester, uint32_t seq, int32_t subject, uint32_t budget_us, int64_t now
    ) noexcept
    cdef void relay_due(self, int32_t index, uint32_t generation, int64_t now) noexcept
    cdef void _check(self, Probe* probe, int64_t now) noexcept
    cdef bint _lacks_answers(self, Probe* probe) noexcept
    cdef void _ask_around(self, Probe* probe, int64_t now) noexcept
    cdef void _choose_helpers(self, Probe* probe, int count) noexcept
    cdef void _choose_suspects(self, Probe* probe, int count) noexcept
    cdef int64_t _rto_with_helpers(self, Probe* probe) noexcept
    cdef void _ask_helpers(self, Probe* probe, int64_t budget) noexcept
    cdef void _another_way(self, Probe* probe) noexcept
    cdef int32_t some_helper(self, int32_t row) noexcept
    cdef int64_t budget_of(self, int32_t row, int32_t helper) noexcept
    cdef int32_t _successor(self) noexcept
    cdef int32_t _next_target(self) noexcept
    cdef Probe* _free_probe(self, int32_t row, int64_t now) noexcept
    cdef uint32_t _seq(self) noexcept
    cdef void _arm(self, Probe* probe, int64_t when) noexcept
    cdef void _end(self, Probe* probe) noexcept
    cdef bint _may_help(self, Probe* probe, int32_t row) noexcept
    cdef bint _somebody_may_help(self, Probe* probe) noexcept
    cdef void _sample(self, int32_t row, int64_t rtt) noexcept
    cdef Probe* _asked_of(self, uint32_t seq, int32_t helper, int* at) noexcept
    cdef void _forget_silent(self, Probe* probe) noexcept
