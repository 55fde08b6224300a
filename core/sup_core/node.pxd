from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.blobs cimport RumorBlob
from sup_core.codec cimport Header, Message
from sup_core.cursor cimport Reader, Writer
from sup_core.dissemination cimport Dissemination
from sup_core.effects cimport Effect, Effects
from sup_core.event_queue cimport Change, EventQueue, Reason, SelfCode
from sup_core.failure_detector cimport FailureDetector
from sup_core.identity cimport Address
from sup_core.local_health cimport LocalHealth
from sup_core.member_table cimport MemberTable
from sup_core.outbox cimport Outbox
from sup_core.packets cimport Packets
from sup_core.prng cimport Prng
from sup_core.pulls cimport Pulls
from sup_core.rumor_store cimport RumorStore
from sup_core.settings cimport Settings
from sup_core.stamps cimport Stamps
from sup_core.suspicion cimport Suspicion
from sup_core.timers cimport Timer, Timers

cdef struct Seed:
    Address address
    int32_t row             # the member that answered there, or -1
    uint32_t generation
    int64_t due
    int64_t wait

cdef struct Why:
    int64_t at
    uint64_t accuser
    Reason reason
    uint8_t state
    uint32_t incarnation

cdef struct WhyRing:
    uint32_t count
    Why entries[4]

# How a piece of evidence reached this node.
cdef enum Source:
    SOURCE_GOSSIP = 0       # a datagram's news
    SOURCE_SYNC = 1         # an anti-entropy exchange: old news, asked about before believed
    SOURCE_SNAPSHOT = 2     # the exchange of a join: believed, there is nothing to compare with
    SOURCE_DISK = 3         # an own snapshot: contacted, not believed
    SOURCE_SELF = 4         # the member itself

cdef class Node:
    cdef Settings settings
    cdef readonly Prng prng
    cdef readonly Timers timers
    cdef readonly MemberTable table
    cdef readonly RumorStore store
    cdef readonly Outbox outbox
    cdef readonly EventQueue events
    cdef readonly Effects effects
    cdef readonly FailureDetector detector
    cdef readonly Suspicion suspicion
    cdef readonly LocalHealth health
    cdef readonly Dissemination dissemination
    cdef readonly AntiEntropy anti_entropy
    cdef readonly Pulls pulls
    cdef readonly Stamps stamps
    cdef readonly Packets packets
    cdef uint64_t ring
    cdef uint64_t counts[32]
    cdef int64_t now
    cdef uint64_t own_seq
    cdef uint64_t card_count
    cdef Seed seeds[64]
    cdef int seed_count
    cdef bint synced
    cdef bint leaving
    cdef int64_t left_at
    cdef int64_t question_window
    cdef int questions_used
    cdef int64_t told_at[8]
    cdef WhyRing** whys
    cdef int32_t whys_capacity
    cdef int64_t pulls_armed
    cdef uint32_t request_id
    cdef dict requests
    cdef object request_queue

    # the C surface: what the drivers use
    cdef void receive(self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now) noexcept
    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept
    cdef void timeout(self, int64_t now) noexcept
    cdef int64_t next_due(self) noexcept

    # inside
    cdef void _messages(self, Reader* r, uint32_t count, int32_t row, const Address* source, int how) noexcept
    cdef int32_t _member_message(self, Message* m, int how) noexcept
    cdef void _status_message(self, Message* m) noexcept
    cdef void _rumor_message(self, Message* m, int32_t source, int how) noexcept
    cdef void _header_message(self, Message* m, int32_t source) noexcept
    cdef void _ping_message(self, Message* m, int32_t row, const Address* source) noexcept
    cdef void _ack_message(self, Message* m, int32_t row) noexcept
    cdef void _ping_req_message(self, Message* m, int32_t row) noexcept
    cdef void _relayed_message(self, Message* m, int32_t row) noexcept
    cdef void _buckets_message(self, Message* m, int32_t row) noexcept
    cdef void _compare(self, uint64_t digest, int32_t row) noexcept
    cdef void _evidence(self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state, uint64_t accuser, Reason reason) noexcept
    cdef void _about_me(self, uint32_t epoch, uint32_t incarnation, uint8_t state) noexcept
    cdef void _tell_gone(self, int32_t row) noexcept
    cdef void _enter(self, int32_t row, uint8_t state) noexcept
    cdef void _show(self, int32_t row, Reason reason) noexcept
    cdef void _digest_out(self, int32_t row) noexcept
    cdef void _digest_in(self, int32_t row) noexcept
    cdef uint64_t _row_hash(self, int32_t row) noexcept
    cdef bint _take(self, RumorBlob* blob, uint32_t age_s, bint news) noexcept
    cdef void _overrule(self, Message* m) noexcept
    cdef void _settle(self) noexcept
    cdef void _perform(self, Effect* effect) noexcept
    cdef void _gossip(self) noexcept
    cdef void _fire(self, Timer* timer) noexcept
    cdef void _ping(self, int32_t row, uint32_t seq) noexcept
    cdef void _contact(self, int32_t row) noexcept
    cdef void _arm_contact(self, int32_t row) noexcept
    cdef void _ask(self, int32_t row, uint8_t state, uint32_t epoch, uint32_t incarnation) noexcept
    cdef bint _question(self) noexcept
    cdef bint _header(self, Reader* r, Header* header, const Address* source) noexcept
    cdef void _greeted(self, int greeting, int32_t row, const Address* source) noexcept
    cdef bint _syncing(self) noexcept
    cdef bint _take_card(self, int32_t row, Message* m, bint known) noexcept
    cdef bint _wanted(self, Message* m, int how) noexcept
    cdef object _publish(self, object kind, object key, object value, object now)
    cdef void _nobody_answered(self) noexcept
    cdef void _piggyback(self) noexcept
    cdef int64_t _sweep_interval(self) noexcept
    cdef void _drop_rumor(self, int32_t slot) noexcept
    cdef void _forget(self, int32_t row) noexcept
    cdef void _request(self, int purpose, int slot, uint32_t generation, const Address* target, Writer* w) noexcept
    cdef bytes _sync_body(self, bytes bits, int tag)
    cdef bytes _pull_answer(self, Message* m)
    cdef int32_t _row_of(self, object id) except -2
    cdef void _contact_seeds(self) noexcept
    cdef void _send_join(self, const Address* target, int tag) noexcept
    cdef void _sweep(self) noexcept
    cdef void _start_pulls(self) noexcept
    cdef void _note(self, int32_t row, uint8_t state, uint32_t incarnation, uint64_t accuser, Reason reason) noexcept
    cdef void _member_event(self, int32_t row, Change change, Reason reason, uint64_t other) noexcept
    cdef void _self_event(self, SelfCode code, uint64_t other, const Address* source) noexcept
    cdef void _own_card_changed(self) noexcept
    cdef void _sync_with(self, const Address* target, const uint8_t* bits, int32_t row) noexcept
    cdef int64_t _jitter(self, int64_t wait) noexcept
