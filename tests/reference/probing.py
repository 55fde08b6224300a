"""The failure detector of the model: probes, helpers, suspicions, last checks.

Whom it probes and asks is read off the packets and checked; every wait is exact. The rules are
those of SWIM 3.1 and 4.2 and of Lifeguard's nacks, with the three of this project that
``detector`` names.
"""

from __future__ import annotations

from tests.reference import wire
from tests.reference.base import Base
from tests.reference.detector import (
    ANSWERS_TO_DECLARE,
    ASK_INTERVAL_US,
    SECOND_LOOK_PINGS,
    STRICT_CHECKS,
    WAIT_STEP_US,
    Probe,
    Stage,
    Suspicion,
)
from tests.reference.members import Member, State

SECOND = 1_000_000
RETRY_CHECK_US = 500_000
DATAGRAM_BYTES_MAX = 1392
JOIN_BYTES_MIN = 272
AMPLIFICATION_MAX = 3
TICK_US = 1 << 14
"""Times of members are kept in ticks."""


class Probing(Base):
    """The rules of detection."""

    # ------------------------------------------------------------------ probes

    def next_seq(self) -> int:
        """Sequence numbers go up by one; where they start is a matter of chance."""
        self.seqs += 1
        if self.seq_base is None:
            found = next(
                (m[1] for _, sent in self.observed for m in sent if m[0] == wire.PING and m[1]), 0
            )
            self.seq_base = found - 1
        return (self.seq_base + self.seqs - 1) % 0xFFFF + 1

    def ping(self, who: Member, seq: int) -> None:
        """Ping, with what is held against the member so that its answer refutes it."""
        messages = [[wire.PING, seq, self.digest()]]
        if who.shown and who.state in (State.SUSPECT, State.DEAD):
            messages.insert(0, self.status(who))
        self.send(who.address, messages, news=who.live)

    def period(self) -> None:
        """SWIM 3.1: each protocol period probes one member; every second the next in id order."""
        self.arm_period()
        self.in_order = not self.in_order
        probed = {probe.target.short for probe in self.probes}
        free = [one for one in self.live() if one.short not in probed]
        ahead = self.in_id_order()
        ahead = [one for one in ahead if one in free]
        if self.in_order and ahead:
            self.probe(ahead[0])
            return
        if not free:
            # All of the round are passed over; a new one is drawn and waits.
            self.round = {one.short for one in self.live()}
            self.skipped = set()
            return
        chosen = self.pinged_next(free)
        # SWIM 4.3: nobody twice in a round, unless all who are left of it could not be probed.
        self.skipped |= {short for short in self.round if self.members[short] not in free}
        if chosen.short not in self.round:
            assert self.round <= self.skipped, "probed again while the round is not over"
            self.round = {one.short for one in self.live()}
            self.skipped = self.round - {one.short for one in free}
        elif self.round <= self.skipped:
            # The last of a round that were passed over, or the first of the next: both may be.
            self.round = {one.short for one in self.live()}
            self.skipped = set(self.round)
        self.round.discard(chosen.short)
        self.probe(chosen)

    def arm_period(self) -> None:
        """The next protocol period, later when this node distrusts itself."""
        due = self.now + self.config.probe_interval_us * self.health.stretch()
        self.arm(due, self.period)

    def pinged_next(self, of: list[Member]) -> Member:
        """Whom the next packet, a ping, goes to."""
        parcel = self.next_observed()
        assert parcel is not None, "nobody was probed"
        assert any(message[0] == wire.PING and message[1] for message in parcel[1])
        return next(one for one in of if one.address == parcel[0])

    def probe(self, who: Member) -> None:
        """Start a probe."""
        probe = Probe(who, Stage.DIRECT, self.next_seq(), self.now)
        self.probes.append(probe)
        self.effects.append(lambda: self.ping(who, probe.seq))
        self.wait_for(probe, self.trip.timeout())

    def wait_for(self, probe: Probe, wait: int) -> None:
        """Look at a probe again after a wait; earlier waits of it are void."""
        probe.turn += 1
        turn, due = probe.turn, self.now + wait

        def over() -> None:
            if probe in self.probes and probe.turn == turn:
                self.stage_over(probe, self.late(due))

        self.arm(due, over)

    def late(self, due: int) -> int:
        """For how long this node stood still, if for longer than an answer may take."""
        late = self.now - due
        return late if late >= self.trip.timeout() else 0

    def stage_over(self, probe: Probe, late: int) -> None:
        """A stage ended without the target's answer; one that ended late is asked once more."""
        rto = self.trip.timeout()
        if late and not probe.repeated:
            probe.repeated, probe.waited = True, False
            probe.failed_at += late
            if probe.stage == Stage.SECOND_LOOK:
                probe.pings_left += 1
                probe.failed_at += self.config.second_look_us // SECOND_LOOK_PINGS
            else:
                self.effects.append(lambda: self.ping(probe.target, probe.seq))
                if probe.stage == Stage.LAST_CHECK:
                    probe.answers = 0
                    self.ask_helpers(probe, self.config.last_check_probes, 2 * rto)
                    probe.needed = min(probe.wanted, len(probe.helpers))
                    self.wait_for(probe, 3 * rto)
                else:
                    probe.stage, probe.helpers, probe.answers = Stage.DIRECT, [], 0
                    self.wait_for(probe, rto)
                return
        if probe.stage == Stage.DIRECT:
            probe.stage = Stage.INDIRECT
            self.ask_helpers(probe, self.config.indirect_probes, 2 * rto - self.trip.smoothed)
            if not probe.helpers:
                self.effects.append(lambda: self.ping(probe.target, probe.seq))
            self.wait_for(probe, 2 * rto)
            return
        needed = {Stage.INDIRECT: min(1, len(probe.helpers)), Stage.LAST_CHECK: probe.needed}
        if probe.answers < needed.get(probe.stage, 0) and not probe.waited:
            # The answers of helpers whose timers are coarser may be on their way.
            probe.waited = True
            self.wait_for(probe, rto)
            return
        if probe.stage == Stage.LAST_CHECK:
            if not probe.helpers and self.able_to_help(probe):
                # Nobody could be asked, and now somebody can.
                probe.needed = 255
            self.probes.remove(probe)
            self.effects.append(lambda: self.checked(probe))
            return
        if probe.stage == Stage.INDIRECT:
            for helper in probe.silent:
                if helper.heard // TICK_US * TICK_US < probe.started:
                    self.recent = [one if one != helper.short else None for one in self.recent]
            if probe.helpers and not probe.answers:
                self.probes.remove(probe)
                self.effects.append(self.health.nobody_answered)
                if not probe.repeated:
                    self.late_probe = probe
                return
            probe.stage, probe.failed_at = Stage.SECOND_LOOK, self.now
            probe.pings_left = SECOND_LOOK_PINGS if self.config.second_look_us else 0
        if not probe.pings_left:
            self.probes.remove(probe)
            self.effects.append(lambda: self.failed(probe))
            return
        probe.pings_left -= 1
        self.effects.append(lambda: self.look_again(probe))
        self.wait_for(probe, self.config.second_look_us // SECOND_LOOK_PINGS)

    def able_to_help(self, probe: Probe) -> list[Member]:
        """Who may be asked: everybody alive but the target."""
        return [one for one in self.alive() if one is not probe.target]

    def ask_helpers(self, probe: Probe, count: int, budget: int) -> None:
        """Ask others to ping: alive ones, three of five of them heard from lately."""
        able = self.able_to_help(probe)
        if not able:
            # All others are suspects: those that run answer all the same.
            able = [one for one in self.live() if one is not probe.target]
        wanted = min(count, len(able))
        at = 1 if probe.stage == Stage.LAST_CHECK else 0
        chosen = []
        pings = [sent for _, sent in self.observed[: at + wanted]]
        addresses = [to for to, _ in self.observed[at : at + wanted]]
        assert len(addresses) == wanted, f"asked {len(addresses)} helpers of {wanted}: {pings}"
        for address in addresses:
            chosen.append(next(one for one in able if one.address == address))
        assert len({one.short for one in chosen}) == wanted, "a helper asked twice"
        lately = [one for one in able if one.short in self.recent]
        known = sum(one in lately for one in chosen)
        share = (count + 1) * 3 // 5
        assert known >= min(share, len(lately), wanted), "strangers asked before friends"
        probe.helpers, probe.silent = chosen, list(chosen)
        for helper in chosen:
            self.effects.append(
                lambda helper=helper: self.ask_helper(helper, probe.target, probe.seq, budget)
            )

    def ask_helper(self, helper: Member, target: Member, seq: int, budget: int) -> None:
        """A ping-req; its helper must know of a suspicion to pass it on."""
        messages = [[wire.PING_REQ, seq, target.short, budget]]
        if target.state == State.SUSPECT:
            messages.insert(0, self.status(target))
        self.send(helper.address, messages, news=True)

    def look_again(self, probe: Probe) -> None:
        """Ask directly and through any one that is alive, whose answer counts like the others'."""
        helper = self.ask_both_ways(probe.target, probe.seq)
        if helper is not None:
            probe.helpers[:1] = [helper]
            probe.silent.append(helper)

    def remind(self, who: Member) -> None:
        """The same to a suspect, in each question of its accuser: a broken link is no death."""
        self.ask_both_ways(who, 0)

    def ask_both_ways(self, who: Member, seq: int) -> Member | None:
        """Ask somebody directly, and through somebody who is left to chance."""
        self.ping(who, seq)
        able = [one for one in self.alive() if one is not who]
        parcel = self.next_observed()
        if not able:
            return None
        assert parcel is not None, "nobody else was asked"
        helper = next((one for one in able if one.address == parcel[0]), None)
        assert helper, f"{parcel} went to nobody who can help"
        self.ask_helper(helper, who, seq, 2 * self.trip.timeout())
        return helper

    # -------------------------------------------------------------- suspicions

    def failed(self, probe: Probe) -> None:
        """A probe and the second look failed: this node accuses."""
        who = probe.target
        if probe.answers:
            self.somebody_answered()
        if who.state == State.ALIVE:
            said = who.held._replace(state=State.SUSPECT)
            self.evidence(who, said, self.me.short, own=True)
        if who.state != State.SUSPECT:
            return
        against = self.suspicions.setdefault(who.short, Suspicion(self.me.short, 0))
        due = probe.failed_at + self.config.pause_tolerance_us + 3 * self.trip.timeout()
        if not against.first_hand or due < against.deadline:
            against.deadline = max(due, self.now)
        against.first_hand = True
        against.accuser = against.accuser or self.me.short
        self.effects.append(lambda: self.remind(who))
        self.wait_for_refutation(who)

    def suspect_by_hearsay(self, who: Member, accuser: int) -> None:
        """Somebody else accuses; who only heard of it waits longer."""
        if who.short in self.suspicions:
            return
        due = self.now + self.config.pause_tolerance_us + 3 * self.trip.timeout()
        due += self.config.bystander_wait_us
        self.suspicions[who.short] = Suspicion(accuser, due)
        self.wait_for_refutation(who)

    def wait_for_refutation(self, who: Member, at: int | None = None) -> None:
        """Look at a suspicion again: an accuser asks three times a second until its time is up.

        Others look once a second, so that a clock that jumps uses up no more than that.
        """
        against = self.suspicions[who.short]
        due = against.deadline if at is None else at
        if at is None:
            step = ASK_INTERVAL_US if against.first_hand else WAIT_STEP_US
            due = min(due, self.now + step)
        against.turn += 1
        turn = against.turn

        def fire() -> None:
            if self.suspicions.get(who.short) is not against or against.turn != turn:
                return
            late = self.late(due)
            if late:
                against.deadline += late
                if not against.stood:
                    against.stood = True
                    against.deadline += ASK_INTERVAL_US if against.first_hand else WAIT_STEP_US
            if self.now >= against.deadline:
                checks, first_hand = against.checks, against.first_hand
                against.checks += 1
                self.effects.append(lambda: self.time_is_up(who, checks, first_hand=first_hand))
            else:
                if against.first_hand:
                    self.effects.append(lambda: self.remind(who))
                self.wait_for_refutation(who)

        self.arm(due, fire)

    def anew(self, who: Member) -> None:
        """What was asked so far says nothing: its time starts again."""
        tolerance = self.config.pause_tolerance_us
        self.suspicions[who.short].deadline = self.now + tolerance + 3 * self.trip.timeout()
        self.wait_for_refutation(who)

    def again(self, who: Member, wait: int) -> None:
        """The time is up once more after a wait."""
        against = self.suspicions.get(who.short)
        if against is not None:
            against.deadline = self.now + wait
            self.wait_for_refutation(who, against.deadline)

    def time_is_up(self, who: Member, checks: int, *, first_hand: bool) -> None:
        """Run the last check; nobody is declared dead without."""
        if who.state != State.SUSPECT:
            return
        if not first_hand and not self.question():
            self.again(who, RETRY_CHECK_US)
            return
        running = [one for one in self.probes if one.target is who]
        if any(one.stage == Stage.LAST_CHECK for one in running):
            self.again(who, RETRY_CHECK_US)
            return
        for one in running:
            self.probes.remove(one)
        probe = Probe(who, Stage.LAST_CHECK, self.next_seq(), self.now)
        self.probes.append(probe)
        self.effects.append(lambda: self.ping(who, probe.seq))
        self.ask_helpers(probe, self.config.last_check_probes, 2 * self.trip.timeout())
        probe.wanted = 1 if checks >= STRICT_CHECKS else ANSWERS_TO_DECLARE
        probe.needed = min(probe.wanted, len(probe.helpers))
        self.wait_for(probe, 3 * self.trip.timeout())

    def checked(self, probe: Probe) -> None:
        """The last check is over: dead if enough others answered, else it proved nothing."""
        who = probe.target
        if probe.answers >= probe.needed:
            against = self.suspicions.get(who.short)
            over = against is None or against.deadline <= self.now
            if who.state == State.SUSPECT and over:
                self.counts["declared"] += 1
                self.evidence(who, who.held._replace(state=State.DEAD), self.me.short)
            return
        if probe.helpers and not probe.answers:
            self.health.nobody_answered()
        self.again(who, 2 * RETRY_CHECK_US)
