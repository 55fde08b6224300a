"""Whether a member answers: SWIM's probe with Lifeguard's nacks, and two questions of its own.

Theory of operation. Each protocol period probes one member: in turn the next of a shuffled round
and the alive member whose id follows this node's (so a single crash meets a probe within two
periods). A probe is

    DIRECT --rto--> INDIRECT --2 rto--> SECOND LOOK --second_look_us--> failed
       |               |     no helper answered: says nothing about the target (SILENT)
       +---- any answer of the target, also relayed: the probe ends well, at every stage

and a suspect whose time is up gets a LAST CHECK: ping and helpers at once, three rto; it ends in
CHECKED only when as many helpers answered in time as the ring can give (two), else in UNCHECKED.
One smoothed round trip for all members: at a thousand members a peer is probed too rarely for an
estimate of its own.

Decides nothing about suspicion, tells nobody: leaves effects. Sources: SWIM, Das et al. 2002,
sections 3.1 and 4.3 (round robin); Lifeguard, Dadgar et al. 2017, section IV-A (nack); RFC 6298
for the time-out.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from sup_core.effects cimport (
    EFFECT_CHECKED,
    EFFECT_FAILED,
    EFFECT_NACK,
    EFFECT_PING,
    EFFECT_PING_REQ,
    EFFECT_RELAYED,
    EFFECT_SILENT,
    EFFECT_UNCHECKED,
    Effects,
)
from sup_core.limits cimport PROBES_MAX, RELAYS_MAX
from sup_core.member_table cimport STATE_ALIVE, STATE_SUSPECT, MemberTable
from sup_core.prng cimport Prng
from sup_core.timers cimport TIMER_PROBE, TIMER_RELAY, Timers

cdef enum:
    _RTO_FIRST_US = 200000      # until the first answer; between the clamps of a LAN and a WAN
    _SECOND_LOOK_PINGS = 3
    _DECLARE_ANSWERS = 2        # helpers that must answer before a member is declared dead
    _CHECKS_STRICT = 3
    _RECENT = 8
    _SEQ_MAX = 0xFFFF           # three bytes on the wire, and far more than are in flight


cdef class FailureDetector:
    """The probes that one node runs for itself and for others."""

    def __cinit__(
            self, MemberTable table not None, Timers timers not None, Prng prng not None,
            Effects effects not None
    ) -> None:
        cdef int i
        self.table = table
        self.timers = timers
        self.prng = prng
        self.effects = effects
        self.next_seq = prng.draw_below(_SEQ_MAX) + 1
        for i in range(_RECENT):
            self.recent[i] = -1

    def __dealloc__(self) -> None:
        free(self.probes)
        free(self.relays)
        free(self.order)
        free(self.order_generations)

    cdef int64_t rto(self) noexcept:
        """The retransmission time-out in µs."""
        cdef int64_t value
        if self.srtt == 0:
            value = _RTO_FIRST_US
        else:
            value = self.srtt + 4 * self.rttvar
        if value < self.settings.rto_min_us:
            return self.settings.rto_min_us
        if value > self.settings.rto_max_us:
            return self.settings.rto_max_us
        return value

    cdef void heard(self, int32_t row) noexcept:
        """Remember who was heard from lately: the first choice as helpers."""
        if self.recent[self.recent_at] == row:
            return
        self.recent_at = (self.recent_at + 1) % _RECENT
        self.recent[self.recent_at] = row

    cdef void period(self, int64_t now) noexcept:
        """Start this period's probe."""
        cdef int32_t row = -1
        self.in_order_turn = not self.in_order_turn
        if self.in_order_turn:
            row = self.table.next_in_order()
            if row >= 0 and self.probing(row):
                row = -1
        if row < 0:
            row = self._next_target()
        if row >= 0:
            self.start(row, now)

    cdef int32_t _next_target(self) noexcept:
        # The next live member of the round; a new shuffled round when it is over.
        cdef int32_t _attempt
        cdef int32_t i
        cdef int32_t k
        cdef int32_t row
        cdef void* p
        for _attempt in range(2):
            while self.order_at < self.order_count:
                row = self.order[self.order_at]
                self.order_at += 1
                if (
                    self.table.generations[row] == self.order_generations[self.order_at - 1]
                    and self.table.states[row] <= STATE_SUSPECT
                    and not self.probing(row)
                ):
                    return row
            if self.table.live_count > self.order_capacity:
                k = self.table.live_count * 2
                p = realloc(self.order, k * sizeof(int32_t))
                if p == NULL:
                    return -1
                self.order = <int32_t*> p
                p = realloc(self.order_generations, k * sizeof(uint32_t))
                if p == NULL:
                    return -1
                self.order_generations = <uint32_t*> p
                self.order_capacity = k
            self.order_count = self.table.live_count
            self.order_at = 0
            for i in range(self.order_count):
                k = <int32_t> self.prng.draw_below(<uint32_t> (i + 1))
                self.order[i] = self.order[k]
                self.order[k] = self.table.live_rows[i]
            for i in range(self.order_count):
                self.order_generations[i] = self.table.generations[self.order[i]]
        return -1

    cdef bint probing(self, int32_t row) noexcept:
        """Whether a probe of this member is under way."""
        cdef int i
        cdef int left = self.probe_count
        for i in range(self.probe_capacity):
            if left == 0:
                break
            if self.probes[i].stage != STAGE_FREE:
                left -= 1
                if self.probes[i].row == row:
                    return True
        return False

    cdef uint32_t _seq(self) noexcept:
        self.next_seq = self.next_seq % _SEQ_MAX + 1
        return self.next_seq

    cdef Probe* _free_probe(self, int32_t row, int64_t now) noexcept:
        cdef int i
        cdef int wanted
        cdef void* p
        cdef Probe* probe
        for i in range(self.probe_capacity):
            if self.probes[i].stage == STAGE_FREE:
                break
        else:
            # The table grows with use: one or two probes are under way in a healthy ring.
            i = self.probe_capacity
            wanted = 2 * i if i else 4
            p = realloc(self.probes, wanted * sizeof(Probe)) if wanted <= PROBES_MAX else NULL
            if p == NULL:
                self.probes_refused += 1
                return NULL
            self.probes = <Probe*> p
            self.probe_capacity = wanted
            memset(&self.probes[i], 0, (wanted - i) * sizeof(Probe))
        probe = &self.probes[i]
        probe.row = row
        probe.row_generation = self.table.generations[row]
        probe.generation += 1
        probe.seq = self._seq()
        probe.asked = 0
        probe.answers = 0
        probe.started = now
        self.probe_count += 1
        return probe

    cdef void _arm(self, Probe* probe, int64_t when) noexcept:
        probe.generation += 1
        self.timers.arm(when, TIMER_PROBE, <int32_t> (probe - &self.probes[0]), probe.generation)

    cdef void _end(self, Probe* probe) noexcept:
        probe.stage = STAGE_FREE
        probe.generation += 1
        self.probe_count -= 1

    cdef bint start(self, int32_t row, int64_t now) noexcept:
        """Begin a probe; False when one is under way or there are too many."""
        cdef Probe* probe
        if self.probing(row):
            return False
        probe = self._free_probe(row, now)
        if probe == NULL:
            return False
        probe.stage = STAGE_DIRECT
        self.effects.add(EFFECT_PING, row, -1, probe.seq, now, 0)
        self._arm(probe, now + self.rto())
        return True

    cdef bint start_last_check(self, int32_t row, int checks, int64_t now) noexcept:
        """Begin the check that decides about a suspect; it replaces a probe that is under way.

        ``checks``: how many of this suspect proved nothing so far.
        """
        cdef int i
        cdef Probe* probe
        for i in range(self.probe_capacity):
            if self.probes[i].stage != STAGE_FREE and self.probes[i].row == row:
                if self.probes[i].stage == STAGE_LAST_CHECK:
                    return False
                self._end(&self.probes[i])
        probe = self._free_probe(row, now)
        if probe == NULL:
            return False
        probe.stage = STAGE_LAST_CHECK
        self.effects.add(EFFECT_PING, row, -1, probe.seq, now, 0)
        self._ask_helpers(probe, self.settings.last_check_probes, 2 * self.rto())
        # When most members died at once a single helper may be all there is: after some checks one
        # will do.
        probe.needed = 1 if checks >= _CHECKS_STRICT else _DECLARE_ANSWERS
        if probe.needed > probe.asked:
            probe.needed = probe.asked
        self._arm(probe, now + 3 * self.rto())
        return True

    cdef int _ask_helpers(self, Probe* probe, int count, int64_t budget) noexcept:
        # Helpers are alive members other than the target: all but one heard from lately, the rest
        # at random.
        cdef int i
        cdef int tries
        cdef int32_t row
        cdef uint32_t start
        cdef uint32_t at
        probe.asked = 0
        for i in range(_RECENT + count):
            if probe.asked >= count:
                break
            row = -1
            if i < _RECENT:
                if probe.asked >= count - 1:
                    continue
                row = self.recent[(self.recent_at + _RECENT - i) % _RECENT]
                if row < 0 or not self._may_help(probe, row):
                    continue
            elif self.table.live_count:
                start = self.prng.draw_below(<uint32_t> self.table.live_count)
                for tries in range(self.table.live_count):
                    at = (start + <uint32_t> tries) % <uint32_t> self.table.live_count
                    row = self.table.live_rows[at]
                    if self._may_help(probe, row):
                        break
                    row = -1
            if row < 0:
                continue
            probe.helpers[probe.asked] = row
            probe.asked += 1
            self.effects.add(EFFECT_PING_REQ, row, probe.row, probe.seq, 0, <uint64_t> budget)
        return probe.asked

    cdef void _forget_silent(self, Probe* probe) noexcept:
        # A helper that did not answer is no first choice until it is heard from again.
        cdef int i
        for k in range(probe.asked):
            for i in range(_RECENT):
                if probe.helpers[k] >= 0 and self.recent[i] == probe.helpers[k]:
                    if self.table.heard(self.recent[i]) < probe.started:
                        self.recent[i] = -1

    cdef bint _may_help(self, Probe* probe, int32_t row) noexcept:
        cdef int k
        if row == 0 or row == probe.row or self.table.states[row] != STATE_ALIVE:
            return False
        for k in range(probe.asked):
            if probe.helpers[k] == row:
                return False
        return True

    cdef void probe_due(self, int32_t index, uint32_t generation, int64_t now) noexcept:
        """A stage of a probe is over without the target's answer."""
        cdef Probe* probe = &self.probes[index]
        cdef int32_t row = probe.row
        if probe.stage == STAGE_FREE or probe.generation != generation:
            return
        if self.table.generations[row] != probe.row_generation:
            self._end(probe)
            return
        if probe.stage == STAGE_DIRECT:
            probe.stage = STAGE_INDIRECT
            if self._ask_helpers(probe, self.settings.indirect_probes, 2 * self.rto() - self.srtt):
                self._arm(probe, now + 2 * self.rto())
                return
            # Nobody else is alive: a ring of two asks again over the same path instead.
            self.effects.add(EFFECT_PING, row, -1, probe.seq, now, 0)
            self._arm(probe, now + 2 * self.rto())
            return
        if probe.stage == STAGE_INDIRECT:
            self._forget_silent(probe)
            if probe.asked and probe.answers == 0:
                self.effects.add(EFFECT_SILENT, row, -1, 0, now, 0)
                self._end(probe)
                return
            probe.failed_at = now
            probe.stage = STAGE_SECOND_LOOK
            probe.pings_left = _SECOND_LOOK_PINGS
            if self.settings.second_look_us == 0:
                probe.pings_left = 0
        if probe.stage == STAGE_SECOND_LOOK:
            if probe.pings_left == 0:
                self.probes_failed += 1
                self.effects.add(EFFECT_FAILED, row, -1, 0, probe.failed_at, probe.answers)
                self._end(probe)
                return
            probe.pings_left -= 1
            self.effects.add(EFFECT_PING, row, -1, probe.seq, now, 0)
            self._arm(probe, now + self.settings.second_look_us // _SECOND_LOOK_PINGS)
            return
        if probe.answers >= probe.needed:
            self.effects.add(EFFECT_CHECKED, row, -1, 0, now, probe.answers)
        else:
            self.effects.add(EFFECT_UNCHECKED, row, -1, 0, now, probe.answers)
        self._end(probe)

    cdef Answer acked(self, uint32_t seq, int32_t row, int64_t now) noexcept:
        """Member ``row`` answered ping ``seq``: end the probe or relay the answer."""
        cdef int i
        cdef int left = self.probe_count
        cdef Probe* probe
        cdef Relay* relay
        for i in range(self.probe_capacity):
            if left == 0:
                break
            probe = &self.probes[i]
            if probe.stage == STAGE_FREE:
                continue
            left -= 1
            if probe.seq == seq and probe.row == row:
                # Karn's rule: only a ping that was sent once gives a sample.
                if probe.stage == STAGE_DIRECT or (probe.stage == STAGE_INDIRECT and probe.asked):
                    self._sample(now - probe.started)
                self._end(probe)
                return ANSWER_PROBE
        for i in range(self.relay_high):
            relay = &self.relays[i]
            if relay.used and relay.seq == seq and relay.subject == row:
                if self.table.generations[relay.requester] == relay.requester_generation:
                    self.effects.add(
                        EFFECT_RELAYED, relay.requester, row, relay.requester_seq, now, 0
                    )
                relay.used = False
                relay.generation += 1
                self.relay_count -= 1
                return ANSWER_RELAY
        return ANSWER_NONE

    cdef void _sample(self, int64_t rtt) noexcept:
        cdef int64_t error
        if rtt < 1:
            rtt = 1
        if self.srtt == 0:
            self.srtt = rtt
            self.rttvar = rtt // 2
            return
        error = rtt - self.srtt
        if error < 0:
            error = -error
        self.rttvar += (error - self.rttvar) // 4
        self.srtt += (rtt - self.srtt) // 8
        if self.srtt < 1:
            self.srtt = 1

    cdef Probe* _asked_of(self, uint32_t seq, int32_t helper) noexcept:
        # The probe that asked this helper, with the helper struck off so that it answers once.
        cdef int i
        cdef int k
        cdef Probe* probe
        for i in range(self.probe_capacity):
            probe = &self.probes[i]
            if probe.stage == STAGE_FREE or probe.seq != seq:
                continue
            for k in range(probe.asked):
                if probe.helpers[k] == helper:
                    probe.helpers[k] = -1
                    return probe
        return NULL

    cdef bint relayed(self, uint32_t seq, int32_t helper, int32_t subject) noexcept:
        """A helper passed on the target's answer. True when a probe ended by it."""
        cdef Probe* probe = self._asked_of(seq, helper)
        if probe == NULL or probe.row != subject:
            return False
        self._end(probe)
        return True

    cdef void nacked(self, uint32_t seq, int32_t helper) noexcept:
        """A helper got no answer either, and said so in time."""
        cdef Probe* probe = self._asked_of(seq, helper)
        if probe != NULL and (probe.stage == STAGE_INDIRECT or probe.stage == STAGE_LAST_CHECK):
            probe.answers += 1

    cdef Relay* _free_relay(self) noexcept:
        # The table grows with use up to RELAYS_MAX: most members never run more than a few at once.
        cdef int i
        cdef int wanted
        cdef void* p
        for i in range(self.relay_high):
            if not self.relays[i].used:
                return &self.relays[i]
        if self.relay_high == self.relay_capacity:
            wanted = self.relay_capacity * 2 if self.relay_capacity else 4
            if wanted > RELAYS_MAX:
                return NULL
            p = realloc(self.relays, wanted * sizeof(Relay))
            if p == NULL:
                return NULL
            self.relays = <Relay*> p
            self.relay_capacity = wanted
        memset(&self.relays[self.relay_high], 0, sizeof(Relay))
        self.relay_high += 1
        return &self.relays[self.relay_high - 1]

    cdef void ping_req(
            self, int32_t requester, uint32_t seq, int32_t subject, uint32_t budget_us, int64_t now
    ) noexcept:
        """Ping ``subject`` on behalf of ``requester``; a nack leaves at four fifths of the budget.
        """
        cdef Relay* relay = self._free_relay()
        if relay == NULL:
            self.effects.add(EFFECT_NACK, requester, subject, seq, now, 0)
            return
        self.relay_count += 1
        relay.used = True
        relay.nacked = False
        relay.generation += 1
        relay.seq = self._seq()
        relay.requester = requester
        relay.requester_generation = self.table.generations[requester]
        relay.requester_seq = seq
        relay.subject = subject
        relay.subject_generation = self.table.generations[subject]
        relay.budget = budget_us
        self.effects.add(EFFECT_PING, subject, -1, relay.seq, now, 0)
        self.timers.arm(
            now + <int64_t> budget_us * 4 // 5, TIMER_RELAY, <int32_t> (relay - self.relays),
            relay.generation
        )

    cdef void relay_due(self, int32_t index, uint32_t generation, int64_t now) noexcept:
        """Send the nack; later give the relay up."""
        cdef Relay* relay = &self.relays[index]
        if not relay.used or relay.generation != generation:
            return
        if not relay.nacked:
            relay.nacked = True
            if (
                self.table.generations[relay.requester] == relay.requester_generation
                and self.table.generations[relay.subject] == relay.subject_generation
            ):
                self.effects.add(
                    EFFECT_NACK, relay.requester, relay.subject, relay.requester_seq, now, 0
                )
            # A late answer is still worth passing on: it ends the prober's second look.
            self.timers.arm(now + relay.budget, TIMER_RELAY, index, generation)
            return
        relay.used = False
        relay.generation += 1
        self.relay_count -= 1
