from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.blobs cimport RumorBlob
from sup_core.card_pool cimport CardPool
from sup_core.codec cimport Header, Message
from sup_core.comparisons cimport Comparisons
from sup_core.counters cimport Tally
from sup_core.cursor cimport Reader, Writer
from sup_core.dissemination cimport Dissemination
from sup_core.doubts cimport Doubts
from sup_core.effects cimport Effect, Effects
from sup_core.event_queue cimport Change, EventQueue, Reason, SelfCode
from sup_core.exchanges cimport Exchanges
from sup_core.failure_detector cimport FailureDetector
from sup_core.flaps cimport Flaps
from sup_core.identity cimport Address
from sup_core.local_health cimport LocalHealth
from sup_core.member_table cimport MemberTable
from sup_core.membership cimport Membership
from sup_core.newcomer cimport Newcomer
from sup_core.notices cimport Notices
from sup_core.outbox cimport Outbox
from sup_core.packets cimport Packets
from sup_core.prng cimport Prng
from sup_core.pulls cimport Pulls
from sup_core.rumor_store cimport RumorStore
from sup_core.rumors cimport Rumors
from sup_core.seeds cimport Seeds
from sup_core.settings cimport Settings
from sup_core.stamps cimport Stamps
from sup_core.suspicion cimport Suspicion
from sup_core.timers cimport Timer, Timers

cdef class Protocol:
    cdef Settings settings
    cdef Prng prng
    cdef Timers timers
    cdef MemberTable table
    cdef RumorStore store
    cdef Outbox outbox
    cdef EventQueue events
    cdef Effects effects
    cdef FailureDetector detector
    cdef Suspicion suspicion
    cdef LocalHealth health
    cdef Flaps flaps
    cdef Dissemination dissemination
    cdef AntiEntropy anti_entropy
    cdef Pulls pulls
    cdef Stamps stamps
    cdef Packets packets
    cdef Notices notices
    cdef Membership membership
    cdef Rumors rumor_rules
    cdef Exchanges exchanges
    cdef Tally tally
    cdef uint64_t ring
    cdef int64_t now
    cdef int64_t read_at    # when a datagram was last handed in
    cdef Seeds seeds
    cdef size_t received    # bytes of the datagram that is being handled
    cdef Doubts doubts
    cdef Newcomer newcomer
    cdef Comparisons comparisons
    cdef uint64_t asker     # whose request is being read, else 0
    cdef int64_t left_at
    cdef int64_t expiry_armed
    cdef bytes aside            # a snapshot whose rumors wait, or waited
    cdef int64_t aside_at       # when it was loaded; 0: nothing waits
    cdef int64_t aside_away     # how old it was then

    # the C surface: what the drivers use
    cdef void receive(
        self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now
    ) noexcept
    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept
    cdef void timeout(self, int64_t now) noexcept
    cdef int64_t next_due(self) noexcept
    cdef bint has_news(self) noexcept

    # inside
    cdef int _assemble(self, object seed, CardPool cards) except -1
    cdef void _at(self, int64_t now) noexcept
    cdef int64_t _away(self, bytes raw) noexcept
    cdef void _take_aside(self) noexcept
    cdef void _restore(self, bytes raw, int64_t away, bint own_only) noexcept
    cdef void _messages(
        self, Reader* r, uint32_t count, int32_t row, const Address* source, int how
    ) noexcept
    cdef void _status_message(self, Message* m) noexcept
    cdef void _ping_message(self, Message* m, int32_t row, const Address* source) noexcept
    cdef void _ack_message(self, Message* m, int32_t row) noexcept
    cdef void _ping_req_message(self, Message* m, int32_t row, const Address* source) noexcept
    cdef void _relayed_message(self, Message* m, int32_t row) noexcept
    cdef void _buckets_message(self, Message* m, int32_t row) noexcept
    cdef void _compare(self, uint64_t digest, int32_t row) noexcept
    cdef void _settle(self) noexcept
    cdef void _take_snapshot(self) noexcept
    cdef bytes _compared(
        self, Reader* r, Message* m, Header* header, int32_t row, const Address* source
    )
    cdef void _perform(self, Effect* effect) noexcept
    cdef void _gossip(self) noexcept
    cdef void _fire(self, Timer* timer) noexcept
    cdef void _ping_req(
        self, int32_t helper, uint32_t seq, int32_t subject, uint32_t budget
    ) noexcept
    cdef void _ping(self, int32_t row, uint32_t seq) noexcept
    cdef void _contact(self, int32_t row) noexcept
    cdef void _ask(self, int32_t row, uint8_t state, uint32_t epoch, uint32_t incarnation) noexcept
    cdef bint _header(self, Reader* r, Header* header, const Address* source) noexcept
    cdef void _greeted(
        self, int greeting, int32_t row, const Address* source, bint known
    ) noexcept
    cdef void _greet_successor(self, const Address* source) noexcept
    cdef void _nobody_answered(self) noexcept
    cdef void _unmentioned(self, Py_ssize_t size, uint32_t count) noexcept
    cdef void _somebody_answered(self) noexcept
    cdef void _piggyback(self) noexcept
    cdef int64_t _sweep_interval(self) noexcept
    cdef bint _send_join(self, const Address* target, int tag, size_t limit) noexcept
    cdef void _sweep(self) noexcept
