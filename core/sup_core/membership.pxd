from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.card_pool cimport Card
from sup_core.codec cimport Message
from sup_core.counters cimport Tally
from sup_core.dissemination cimport Dissemination
from sup_core.effects cimport Effects
from sup_core.event_queue cimport Change, Reason
from sup_core.failure_detector cimport FailureDetector
from sup_core.flaps cimport Flaps
from sup_core.hash_index cimport HashIndex
from sup_core.identity cimport Address
from sup_core.local_health cimport LocalHealth
from sup_core.member_table cimport MemberTable
from sup_core.notices cimport Notices
from sup_core.prng cimport Prng
from sup_core.settings cimport Settings
from sup_core.suspicion cimport Suspicion
from sup_core.timers cimport Timers

cdef struct Why:
    int64_t at
    uint64_t accuser
    uint32_t incarnation
    uint8_t reason          # a Reason
    uint8_t state
    uint8_t asked           # helpers of the last check, and how many of them answered
    uint8_t answers

cdef struct WhyRing:
    int32_t row
    uint32_t count
    Why entries[4]

cdef class Membership:
    cdef Settings* settings
    cdef MemberTable table
    cdef FailureDetector detector
    cdef Timers timers
    cdef Prng prng
    cdef Effects effects
    cdef Suspicion suspicion
    cdef Flaps flaps
    cdef LocalHealth health
    cdef Dissemination dissemination
    cdef AntiEntropy anti_entropy
    cdef Notices notices
    cdef Tally tally
    cdef uint64_t ring
    cdef int64_t now
    cdef bint leaving
    cdef int64_t wary_until     # what this node reads is of unknown age: it stood still
    cdef int64_t away           # how old the snapshot is that is being loaded
    cdef bint entered       # a row began to count since the rumor rules looked
    cdef uint64_t card_count
    cdef int64_t question_window
    cdef int questions_used
    cdef WhyRing* whys          # of the few rows that anything was ever said against
    cdef HashIndex whys_of      # row -> its place there
    cdef int32_t whys_count
    cdef int32_t whys_capacity
    cdef int32_t member_message(self, Message* m, int how) noexcept
    cdef Card* _card(self, Message* m) noexcept
    cdef bint _young(self, Message* m) noexcept
    cdef bint ask_instead(self, int32_t row, uint32_t epoch, uint32_t incarnation) noexcept
    cdef bint wary(self) noexcept
    cdef void woke(self) noexcept
    cdef bint _asked_in_vain(self, int32_t row) noexcept
    cdef bint take_card(self, int32_t row, Message* m) noexcept
    cdef void evidence(
        self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state, uint64_t accuser,
        Reason reason
    ) noexcept
    cdef void release(self, int32_t row) noexcept
    cdef void accept(self, int32_t row) noexcept
    cdef void keep_verdicts(self) noexcept
    cdef void tell_gone(self, int32_t row) noexcept
    cdef void enter(self, int32_t row, uint8_t state) noexcept
    cdef void show(self, int32_t row, Reason reason) noexcept
    cdef void about_me(self, uint32_t epoch, uint32_t incarnation, uint8_t state) noexcept
    cdef bint renew_own_card(
        self, const Address* address, const uint8_t* data, uint32_t size
    ) noexcept
    cdef uint64_t row_hash(self, int32_t row, uint32_t epoch) noexcept
    cdef void _digest_out(self, int32_t row, uint32_t epoch) noexcept
    cdef void digest_out(self, int32_t row) noexcept
    cdef void digest_in(self, int32_t row) noexcept
    cdef int64_t jitter(self, int64_t wait) noexcept
    cdef void arm_contact(self, int32_t row) noexcept
    cdef bint question(self) noexcept
    cdef void forget(self, int32_t row) noexcept
    cdef void note(
        self, int32_t row, uint8_t state, uint32_t incarnation, uint64_t accuser, Reason reason
    ) noexcept
    cdef void note_helpers(self, int32_t row, uint32_t asked, uint64_t answers) noexcept
    cdef void member_event(self, int32_t row, Change change, Reason reason, uint64_t other) noexcept
    cdef uint64_t declarer(self, int32_t row) noexcept
    cdef void _forget_why(self, int32_t row) noexcept
    cdef list why(self, int32_t row)
