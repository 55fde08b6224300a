"""Whether a member answers: SWIM's probe with Lifeguard's nacks, and two questions of its own.

Theory of operation. Each protocol period probes one member: in turn the next of a shuffled round
and the alive member whose id follows this node's (so a single crash meets a probe within two
periods). A probe is

    DIRECT --rto--> INDIRECT --2 rto--> SECOND LOOK --second_look_us--> failed
       |               |     no helper answered, one rto later still: says nothing about the target
       |               |     (SILENT)
       +---- any answer of the target, also relayed: the probe ends well, at every stage

and a suspect whose time is up gets a LAST CHECK: ping and helpers at once, three rto; it ends in
CHECKED only when as many helpers answered, within one rto more, as the ring can give (two), else
in UNCHECKED. No stage depends on how exact timers are: docs/decisions/0013-coarse-timers.md.
The time-out is one smoothed round trip per zone (the tag ``zone`` of a member's card) and one for
all members, which serves who has no zone or one that is not yet known: at a thousand members a
peer is probed too rarely for an estimate of its own.

Decides nothing about suspicion, tells nobody: leaves effects. Sources: SWIM, Das et al. 2002,
sections 3.1 and 4.3 (round robin); Lifeguard, Dadgar et al. 2017, section IV-A (nack); RFC 6298
for the time-out.
"""
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
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
    # How long the longest time-out would have waited: what comes later had no chance, and measures
    # a node that stood still rather than a path.
    _LATE_TIMEOUTS = 3
    _SECOND_LOOK_PINGS = 3
    _DECLARE_ANSWERS = 2        # helpers that must answer before a member is declared dead
    _CHECKS_STRICT = 3
    _LATE_US = 400000           # a third of the second look: slow members answer within it
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
        memset(self.zones, 0, sizeof(self.zones))
        self.zone_count = 1
        for i in range(_RECENT):
            self.recent[i] = -1

    def __dealloc__(self) -> None:
        free(self.probes)
        free(self.relays)
        free(self.order)

    cdef int64_t rto(self) noexcept:
        """The retransmission time-out for anybody, in µs."""
        return self._clamped(&self.zones[0])

    cdef int64_t rto_of(self, int32_t row) noexcept:
        """The retransmission time-out for a member, in µs: its zone's, if that is known."""
        return self._clamped(self._zone(row))

    cdef int64_t _clamped(self, Zone* zone) noexcept:
        cdef int64_t value = zone.srtt + 4 * zone.rttvar
        if zone.srtt == 0:
            value = _RTO_FIRST_US
        if value < self.settings.rto_min_us:
            return self.settings.rto_min_us
        if value > self.settings.rto_max_us:
            return self.settings.rto_max_us
        return value

    cdef Zone* _zone(self, int32_t row) noexcept:
        # The estimate of a member's zone, or that of all members while there is none.
        cdef int i
        cdef uint16_t name = self.table.cards[row].zone
        if name:
            for i in range(1, self.zone_count):
                if self.zones[i].name == name:
                    return &self.zones[i]
        return &self.zones[0]

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
            row = self._successor()
        if row < 0:
            row = self._next_target()
        if row >= 0:
            self.start(row, now)

    cdef int32_t _successor(self) noexcept:
        # The next alive member in id order that is not being probed already: when neighbours crash
        # together the second is found while the first is still looked at. Linear in the members
        # only then.
        cdef int32_t row = self.table.next_in_order()
        cdef int32_t best = -1
        cdef int32_t i
        cdef uint64_t me
        cdef uint64_t distance
        cdef uint64_t best_distance = 0
        if row < 0 or not self.probing(row):
            return row
        me = self.table.short_id(0)
        for i in range(self.table.live_count):
            row = self.table.live_rows[i]
            if self.table.states[row] != STATE_ALIVE:
                continue
            distance = self.table.short_id(row) - me
            if (best < 0 or distance < best_distance) and not self.probing(row):
                best = row
                best_distance = distance
        return best

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
                # A row that went to another member since the shuffle is as good a target.
                if self.table.states[row] <= STATE_SUSPECT and not self.probing(row):
                    return row
            if self.table.live_count > self.order_capacity:
                k = self.table.live_count + self.table.live_count // 8 + 4
                p = realloc(self.order, k * sizeof(uint16_t))
                if p == NULL:
                    return -1
                self.order = <uint16_t*> p
                self.order_capacity = k
            self.order_count = self.table.live_count
            self.order_at = 0
            for i in range(self.order_count):
                k = <int32_t> self.prng.draw_below(<uint32_t> (i + 1))
                self.order[i] = self.order[k]
                self.order[k] = self.table.live_rows[i]
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

    cdef void void_probes(self, int32_t row) noexcept:
        """End what is under way without a verdict: it began before this member showed that it
        lives, so its silence says nothing about what holds now.
        """
        cdef int i
        for i in range(self.probe_capacity):
            if self.probes[i].stage != STAGE_FREE and self.probes[i].row == row:
                self._end(&self.probes[i])

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
        probe.repeated = 0
        probe.waited = 0
        probe.asked = 0
        probe.answers = 0
        probe.nacked = 0
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
        self._arm(probe, now + self.rto_of(row))
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
        # When most members died at once a single helper may be all there is: after some checks one
        # will do.
        probe.wanted = 1 if checks >= _CHECKS_STRICT else _DECLARE_ANSWERS
        self._check(probe, now)
        return True

    cdef void _check(self, Probe* probe, int64_t now) noexcept:
        # Ask the suspect and the helpers of a last check, all at once.
        cdef int64_t rto
        self.effects.add(EFFECT_PING, probe.row, -1, probe.seq, now, 0)
        self._choose_helpers(probe, self.settings.last_check_probes)
        if probe.asked == 0:
            self._choose_suspects(probe, self.settings.last_check_probes)
        rto = self._rto_with_helpers(probe)
        self._ask_helpers(probe, 2 * rto)
        # Of those asked now: a check that is repeated may have helpers that the first had not.
        probe.needed = probe.wanted if probe.wanted < probe.asked else probe.asked
        self._arm(probe, now + 3 * rto)

    cdef void _choose_helpers(self, Probe* probe, int count) noexcept:
        # Helpers are alive members other than the target: two of three and three of five were heard
        # from lately, so that after a mass crash somebody is there to answer; the rest are drawn at
        # random, so that a helper whose own links are bad is not asked each time.
        cdef int i
        cdef int tries
        cdef int recent = (count + 1) * 3 // 5
        cdef int32_t row
        cdef uint32_t start
        cdef uint32_t at
        probe.asked = 0
        probe.answers = 0
        probe.nacked = 0
        for i in range(_RECENT + count):
            if probe.asked >= count:
                break
            row = -1
            if i < _RECENT:
                if probe.asked >= recent:
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

    cdef void _choose_suspects(self, Probe* probe, int count) noexcept:
        # All others are suspects: those that run answer all the same. Who asks nobody would take
        # its own deafness for the death of all, one after the other. In table order, from a random
        # one on.
        cdef int tries
        cdef int32_t row
        cdef uint32_t start
        if self.table.live_count == 0:
            return
        start = self.prng.draw_below(<uint32_t> self.table.live_count)
        for tries in range(self.table.live_count):
            if probe.asked >= count:
                break
            row = self.table.live_rows[
                (start + <uint32_t> tries) % <uint32_t> self.table.live_count
            ]
            if row != 0 and row != probe.row and self.table.states[row] == STATE_SUSPECT:
                probe.helpers[probe.asked] = row
                probe.asked += 1

    cdef void _another_way(self, Probe* probe) noexcept:
        # The second look asks through one other member as well, another one each time: a link that
        # is broken must not make of two short silences a long one.
        cdef int32_t helper = self.some_helper(probe.row)
        if helper < 0:
            return
        cdef int64_t budget = self.budget_of(probe.row, helper)
        probe.helpers[0] = helper
        probe.asked = max(probe.asked, 1)
        self.effects.add(EFFECT_PING_REQ, helper, probe.row, probe.seq, 0, <uint64_t> budget)

    cdef int32_t some_helper(self, int32_t row) noexcept:
        """An alive member other than this one, at random, half of them heard from lately; or -1."""
        cdef uint32_t at = self.prng.draw_below(2 * _RECENT)
        cdef uint32_t count = <uint32_t> self.table.live_count
        cdef uint32_t i
        cdef int32_t helper
        if at < _RECENT:
            helper = self.recent[at]
            if helper > 0 and helper != row and self.table.states[helper] == STATE_ALIVE:
                return helper
        at = self.prng.draw_below(count) if count else 0
        for i in range(count):
            helper = self.table.live_rows[(at + i) % count]
            if helper != row and self.table.states[helper] == STATE_ALIVE:
                return helper
        return -1

    cdef int64_t budget_of(self, int32_t row, int32_t helper) noexcept:
        """How long the way to a member over a helper may take, in µs."""
        return 2 * max(self.rto_of(row), self.rto_of(helper))

    cdef int64_t _rto_with_helpers(self, Probe* probe) noexcept:
        # The largest time-out on the way: a helper may be further away than the target.
        cdef int k
        cdef int64_t rto
        cdef int64_t largest = self.rto_of(probe.row)
        for k in range(probe.asked):
            rto = self.rto_of(probe.helpers[k])
            if rto > largest:
                largest = rto
        return largest

    cdef void _ask_helpers(self, Probe* probe, int64_t budget) noexcept:
        cdef int k
        for k in range(probe.asked):
            self.effects.add(
                EFFECT_PING_REQ, probe.helpers[k], probe.row, probe.seq, 0, <uint64_t> budget
            )

    cdef void _forget_silent(self, Probe* probe) noexcept:
        # A helper that did not answer is no first choice until it is heard from again.
        cdef int i
        cdef int k
        for k in range(probe.asked):
            for i in range(_RECENT):
                if not probe.nacked >> k & 1 and self.recent[i] == probe.helpers[k]:
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

    cdef bint _somebody_may_help(self, Probe* probe) noexcept:
        cdef int i
        for i in range(self.table.live_count):
            if self._may_help(probe, self.table.live_rows[i]):
                return True
        return False

    cdef void probe_due(
            self, int32_t index, uint32_t generation, int64_t late, int64_t now
    ) noexcept:
        """A stage of a probe is over without the target's answer, ``late`` µs ago.

        A stage that ended late is asked once more: this node stood still, and what it missed
        meanwhile says nothing about anybody else. Once only, so that a node that is always late
        still detects.
        """
        cdef Probe* probe = &self.probes[index]
        cdef int32_t row = probe.row
        if probe.stage == STAGE_FREE or probe.generation != generation:
            return
        if self.table.generations[row] != probe.row_generation:
            self._end(probe)
            return
        if late and not probe.repeated:
            probe.repeated = 1
            probe.waited = 0
            probe.failed_at += late
            if probe.stage == STAGE_SECOND_LOOK:
                probe.pings_left += 1
                # Nobody knows how much of the wait before it this node stood still, too.
                probe.failed_at += self.settings.second_look_us // _SECOND_LOOK_PINGS
            elif probe.stage == STAGE_LAST_CHECK:
                self._check(probe, now)
                return
            else:
                probe.stage = STAGE_DIRECT
                probe.asked = 0
                self.effects.add(EFFECT_PING, row, -1, probe.seq, now, 0)
                self._arm(probe, now + self.rto_of(row))
                return
        if probe.stage == STAGE_DIRECT:
            self._ask_around(probe, now)
            return
        if self._lacks_answers(probe) and not probe.waited:
            # Timers round up, each by as much as its host likes: a nack that was due at four fifths
            # may leave in the very wake-up in which its prober gives up. One time-out brings it.
            probe.waited = 1
            self._arm(probe, now + self.rto_of(row))
            return
        if probe.stage == STAGE_INDIRECT:
            self._forget_silent(probe)
            if probe.asked and probe.answers == 0:
                self.effects.add(EFFECT_SILENT, row, -1, 0, now, 0)
                if not probe.repeated:
                    self.late_seq = probe.seq
                    self.late_row = row
                    self.late_started = probe.started
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
                self.effects.add(
                    EFFECT_FAILED, row, probe.asked, 0, probe.failed_at, probe.answers
                )
                self._end(probe)
                return
            probe.pings_left -= 1
            self.effects.add(EFFECT_PING, row, -1, probe.seq, now, 0)
            self._another_way(probe)
            self._arm(probe, now + self.settings.second_look_us // _SECOND_LOOK_PINGS)
            return
        if probe.asked == 0 and self._somebody_may_help(probe):
            # Nobody could be asked when the check began, and now somebody can: ask again.
            probe.needed = 255
        if probe.answers >= probe.needed:
            self.effects.add(EFFECT_CHECKED, row, probe.asked, 0, now, probe.answers)
        else:
            self.effects.add(EFFECT_UNCHECKED, row, probe.asked, 0, now, probe.answers)
        self._end(probe)

    cdef bint _lacks_answers(self, Probe* probe) noexcept:
        # Whether a stage would end without the answers of helpers that it asked for.
        if probe.stage == STAGE_INDIRECT:
            return probe.asked and probe.answers == 0
        return probe.stage == STAGE_LAST_CHECK and probe.answers < probe.needed

    cdef void _ask_around(self, Probe* probe, int64_t now) noexcept:
        # The direct ping stayed unanswered: two time-outs for the way over the helpers.
        cdef int64_t rto
        probe.stage = STAGE_INDIRECT
        self._choose_helpers(probe, self.settings.indirect_probes)
        if probe.asked == 0:
            self._choose_suspects(probe, self.settings.indirect_probes)
        rto = self._rto_with_helpers(probe)
        if probe.asked:
            self._ask_helpers(probe, 2 * rto - self._zone(probe.row).srtt)
        else:
            # There is nobody else: a ring of two asks again over the same path instead.
            self.effects.add(EFFECT_PING, probe.row, -1, probe.seq, now, 0)
        self._arm(probe, now + 2 * rto)

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
                if not probe.repeated and (
                    probe.stage == STAGE_DIRECT or (probe.stage == STAGE_INDIRECT and probe.asked)
                ):
                    self._sample(row, now - probe.started)
                self._end(probe)
                return ANSWER_PROBE
        if seq == self.late_seq and row == self.late_row:
            # Too late for its probe, yet a sample: else a path that grew longer than the time-out
            # would never be measured again.
            self.late_row = 0
            if now - self.late_started <= _LATE_TIMEOUTS * self.settings.rto_max_us:
                self._sample(row, now - self.late_started)
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

    cdef void _sample(self, int32_t row, int64_t rtt) noexcept:
        cdef uint16_t name = self.table.cards[row].zone
        cdef Zone* zone = self._zone(row)
        if rtt < 1:
            rtt = 1
        _learn(&self.zones[0], rtt)
        if name == 0:
            return
        if zone == &self.zones[0]:
            # The first sample of a zone. Beyond the bound its members share the estimate of all.
            if self.zone_count == ZONES_MAX:
                return
            zone = &self.zones[self.zone_count]
            zone.name = name
            self.zone_count += 1
        _learn(zone, rtt)

    cdef Probe* _asked_of(self, uint32_t seq, int32_t helper, int* at) noexcept:
        # The probe that asked this helper, and the helper's place in it.
        cdef int i
        cdef int k
        cdef Probe* probe
        for i in range(self.probe_capacity):
            probe = &self.probes[i]
            if probe.stage == STAGE_FREE or probe.seq != seq:
                continue
            for k in range(probe.asked):
                if probe.helpers[k] == helper:
                    at[0] = k
                    return probe
        return NULL

    cdef bint relayed(self, uint32_t seq, int32_t helper, int32_t subject) noexcept:
        """A helper passed on the target's answer. True when a probe ended by it.

        Also after its nack: the target was slow to answer, and it did.
        """
        cdef int at = 0
        cdef Probe* probe = self._asked_of(seq, helper, &at)
        if probe == NULL or probe.row != subject:
            return False
        self._end(probe)
        return True

    cdef void nacked(self, uint32_t seq, int32_t helper) noexcept:
        """A helper got no answer either, and said so in time."""
        cdef int at = 0
        cdef Probe* probe = self._asked_of(seq, helper, &at)
        if probe == NULL or probe.nacked >> at & 1:
            return
        probe.nacked |= <uint8_t> (1 << at)
        if probe.stage == STAGE_INDIRECT or probe.stage == STAGE_LAST_CHECK:
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
            self.timers.arm(now + max(relay.budget, _LATE_US), TIMER_RELAY, index, generation)
            return
        relay.used = False
        relay.generation += 1
        self.relay_count -= 1


cdef void _learn(Zone* zone, int64_t rtt) noexcept:
    # RFC 6298 section 2, in integers.
    cdef int64_t error
    if zone.srtt == 0:
        zone.srtt = rtt
        zone.rttvar = rtt // 2
        return
    error = rtt - zone.srtt
    if error < 0:
        error = -error
    zone.rttvar += (error - zone.rttvar) // 4
    zone.srtt += (rtt - zone.srtt) // 8
    if zone.srtt < 1:
        zone.srtt = 1
