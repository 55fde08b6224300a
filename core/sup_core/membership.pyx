"""What evidence about a member does: entered, told, remembered, digested, and refuted when it is
about this one.

The rules of precedence are the member table's; the waits are the suspicion's. Here is what
follows from an admitted change: the state of the row, its timers, its part of the digest, the
news and the event. Hearsay from a synchronisation never kills and never shows: a `dead` about a
live member becomes a question to it, an unknown member answers a ping first. Every suspicion and
verdict keeps who said it, and when.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.card_pool cimport Card, card_drop, card_share
from sup_core.codec cimport Message
from sup_core.counters cimport *
from sup_core.dissemination cimport NEWS_MEMBERS, Dissemination
from sup_core.effects cimport (
    EFFECT_ASK,
    EFFECT_PING,
    SOURCE_DISK,
    SOURCE_GOSSIP,
    SOURCE_SELF,
    SOURCE_SYNC,
)
from sup_core.event_queue cimport *
from sup_core.failure_detector cimport FailureDetector
from sup_core.flaps cimport Flaps
from sup_core.hash_index cimport HashIndex
from sup_core.identity cimport Address, address_equal, short_of, sip_hash
from sup_core.limits cimport INCARNATION_JUMP_MAX, WHY_MAX, YOUNG_S_MAX
from sup_core.local_health cimport LocalHealth
from sup_core.member_table cimport *
from sup_core.notices cimport Notices
from sup_core.suspicion cimport Suspicion
from sup_core.timers cimport TIMER_CONTACT
from sup_core.views cimport short_text

from sup_core.event_queue import REASONS
from sup_core.events import MemberState

cdef enum:
    _BOUNDED_CONTACT_SHIFT = 8
    # How long a socket's backlog may take to be read.
    _WARY_US = 1000000


cdef class Membership:
    """The membership rules of one node."""

    def __cinit__(
            self, MemberTable table not None, FailureDetector detector not None,
            Suspicion suspicion not None, Flaps flaps not None, LocalHealth health not None,
            Dissemination dissemination not None, AntiEntropy anti_entropy not None,
            Notices notices not None, Tally tally not None, ring: int
    ) -> None:
        self.table = table
        self.detector = detector
        self.timers = detector.timers
        self.prng = detector.prng
        self.effects = detector.effects
        self.suspicion = suspicion
        self.flaps = flaps
        self.health = health
        self.dissemination = dissemination
        self.anti_entropy = anti_entropy
        self.notices = notices
        self.tally = tally
        self.ring = <uint64_t> ring
        self.whys_of = HashIndex(0)

    def __dealloc__(self) -> None:
        free(self.whys)

    cdef int32_t member_message(self, Message* m, int how) noexcept:
        # A member with its card. Gives its row, -1 when it was refused.
        cdef int32_t row = self.table.find(short_of(m.id))
        cdef bint known = row >= 0
        cdef int64_t age_us = <int64_t> m.age_s * 1000000
        cdef bint old_news
        cdef bint gone = m.state == STATE_DEAD or m.state == STATE_LEFT
        cdef Card* card
        if how == SOURCE_DISK:
            age_us += self.away
        if row == 0:
            if memcmp(self.table.id_of(0), m.id, 16) != 0:
                self.tally.counts[COUNT_CARD_REFUSED] += 1
                self.notices.tell(SELF_SHORT_ID_CLASH, short_of(m.id), &m.address, self.now)
                return -1
            if (
                m.epoch == self.table.epochs[0]
                and m.version == self.table.version(0)
                and not address_equal(&m.address, self.table.address(0))
            ):
                self.notices.tell(SELF_DUPLICATE_ID, m.epoch, &m.address, self.now)
            self.about_me(m.epoch, m.incarnation, m.state)
            return 0
        if not known:
            # News of somebody's end is no news to who never knew it; a young tombstone is part of
            # the digest.
            if gone and (how == SOURCE_GOSSIP or age_us > self.settings.tombstone_floor_us // 2):
                return -1
            card = self._card(m)
            row = self.table.add(card, self.now) if card != NULL else -1
            if row < 0:
                card_drop(card)
                self.tally.counts[COUNT_TABLE_FULL] += 1
                return -1
            self.table.epochs[row] = m.epoch
            self.table.incarnations[row] = m.incarnation
        elif memcmp(self.table.id_of(row), m.id, 16) != 0:
            self.tally.counts[COUNT_CARD_REFUSED] += 1
            self.notices.tell(SELF_SHORT_ID_CLASH, short_of(m.id), &m.address, self.now)
            return -1
        if known:
            if how == SOURCE_GOSSIP and m.version == self.table.version(row):
                self.dissemination.heard_again(NEWS_MEMBERS, row)
            if not self.take_card(row, m):
                return row
        else:
            if gone:
                self.enter(row, m.state)
                self.table.set_since(row, self.now - age_us)
                self.tell_gone(row)
            elif how == SOURCE_SYNC and self._young(m):
                # Too young to be a ghost; after a mass start there are thousands to ask otherwise.
                self.show(row, REASON_SYNC)
                self.table.set_since(row, self.now - (age_us - 1000000))
            elif how == SOURCE_SYNC or how == SOURCE_DISK or m.state == STATE_SUSPECT:
                # Hearsay: it answers before it is shown. A suspect may be forgotten here.
                self.arm_contact(row)
                if how != SOURCE_DISK and self.question():
                    self.effects.add(EFFECT_PING, row, -1, 0, self.now, 0)
            elif how == SOURCE_SELF:
                self.show(row, REASON_ANSWERED)
            else:
                self.show(row, REASON_NEWS if how == SOURCE_GOSSIP else REASON_SYNC)
            return row
        if how == SOURCE_SELF and self.table.states[row] == STATE_UNSEEN:
            self.show(row, REASON_ANSWERED)
        elif how == SOURCE_SYNC and self.table.states[row] == STATE_UNSEEN and not gone:
            # Asked before, without an answer or beyond the allowance; the digests differ until it
            # has answered.
            if self._young(m):
                self.show(row, REASON_SYNC)
                self.table.set_since(row, self.now - (age_us - 1000000))
            elif self.question():
                self.effects.add(EFFECT_PING, row, -1, 0, self.now, 0)
        if how == SOURCE_DISK:
            return row
        old_news = how != SOURCE_GOSSIP and how != SOURCE_SELF
        if m.state == STATE_DEAD and (old_news or self.wary()):
            if self.ask_instead(row, m.epoch, m.incarnation):
                return row
        if old_news and m.state == STATE_ALIVE and self.table.states[row] == STATE_SUSPECT:
            if m.epoch == self.table.epochs[row] and m.incarnation <= self.table.incarnations[row]:
                return row
        self.evidence(
            row, m.epoch, m.incarnation, m.state, 0,
            REASON_NEWS if how == SOURCE_GOSSIP else REASON_SYNC
        )
        return row

    cdef bint ask_instead(self, int32_t row, uint32_t epoch, uint32_t incarnation) noexcept:
        """A `dead` of unknown age about a live member is a question to it, not a verdict: it may
        just not have been heard of. False when it is not live.
        """
        if self.table.states[row] > STATE_SUSPECT:
            return False
        if evidence_above(
                epoch, incarnation, STATE_DEAD, self.table.epochs[row],
                self.table.incarnations[row], STATE_ALIVE
        ):
            self.effects.add(
                EFFECT_ASK, row, -1, 0, self.now, (<uint64_t> epoch << 32) | incarnation
            )
        return True

    cdef bint wary(self) noexcept:
        """Whether what is read now may be old: this node stood still, and its socket hands over
        what was true when it stopped. A verdict that was refuted meanwhile must not travel again.
        """
        return self.now < self.wary_until

    cdef void woke(self) noexcept:
        """This node stood still for long: its news of deaths are as old as what it reads."""
        if self.now >= self.wary_until:
            self.keep_verdicts()
        self.wary_until = self.now + _WARY_US

    cdef bint _asked_in_vain(self, int32_t row) noexcept:
        # Whether a member that is not shown did not answer after it was said to be gone. It is
        # asked once; who says so again later is believed.
        if self.table.backoff_s[row] <= 1:
            return False    # not even asked whether it is there
        if self.table.flags[row] & FLAG_ASKED:
            return self.now - self.table.since(row) >= 3 * self.detector.rto()
        if self.question():
            self.table.flags[row] |= FLAG_ASKED
            self.table.set_since(row, self.now)
            self.effects.add(EFFECT_PING, row, -1, 0, self.now, 0)
        return False

    cdef bint _young(self, Message* m) noexcept:
        # Known to its teller for much less than any tombstone is kept: nobody has forgotten it.
        cdef int64_t floor_s = self.settings.tombstone_floor_us // 4000000
        return m.state == STATE_ALIVE and 0 < m.age_s <= YOUNG_S_MAX + 1 and m.age_s <= floor_s

    cdef Card* _card(self, Message* m) noexcept:
        return self.table.pool.intern(m.id, &m.address, m.version, m.card, m.card_size)

    cdef bint take_card(self, int32_t row, Message* m) noexcept:
        # The larger card version wins; equal versions with different content are two holders of one
        # id.
        cdef Card* card
        if m.version <= self.table.version(row):
            if m.version == self.table.version(row) and m.epoch == self.table.epochs[row] and (
                not address_equal(&m.address, self.table.address(row))
                or m.card_size != self.table.cards[row].size
                or memcmp(m.card, self.table.cards[row].data, m.card_size) != 0
            ):
                self.notices.tell(SELF_DUPLICATE_ID, self.table.short_id(row), &m.address, self.now)
            return True
        card = self._card(m)
        if card == NULL:
            return False
        if not address_equal(&m.address, self.table.address(row)):
            # It is not where it was asked: that silence was not its own.
            self.detector.void_probes(row)
            self.suspicion.anew(row, self.detector.rto(), self.now)
        self.digest_out(row)
        self.table.set_card(row, card)
        if self.table.states[row] <= STATE_LEFT:
            self.anti_entropy.changed = self.now
            self.digest_in(row)
            self.table.flags[row] |= FLAG_NEWS_CARD
            if self.table.states[row] <= STATE_SUSPECT:
                # The card of somebody gone is for exchanges: as news it would carry an old
                # verdict to those who hear the member.
                self.dissemination.enqueue(NEWS_MEMBERS, row)
                self.member_event(row, CHANGE_UPDATED, REASON_CARD, 0)
        return True

    cdef void evidence(
            self, int32_t row, uint32_t epoch, uint32_t incarnation, uint8_t state,
            uint64_t accuser, Reason reason
    ) noexcept:
        """Weigh evidence about another member; enter, tell and remember what it changes."""
        cdef uint8_t held = self.table.states[row]
        cdef uint32_t held_epoch = self.table.epochs[row]
        cdef Admission admission
        if (
            self.table.flags[row] & FLAG_HELD and state == STATE_SUSPECT
            and epoch == self.table.epochs[row]
        ):
            # It is not shown, so there is nothing to doubt; who shows it has told it directly.
            return
        if held == STATE_UNSEEN and state == STATE_ALIVE and reason == REASON_ANSWERED:
            self.table.admit(row, epoch, incarnation, state)
            self.show(row, reason)
            return
        if epoch == held_epoch and incarnation == self.table.incarnations[row] and state == held:
            return      # what every packet of a member says, and every second copy of its card
        admission = self.table.admit(row, epoch, incarnation, state)
        if admission == ADMIT_REFUSED:
            self.tally.counts[COUNT_EVIDENCE_REFUSED] += 1
        if (
            held == STATE_UNSEEN and admission == ADMIT_STALE and state != STATE_ALIVE
            and self._asked_in_vain(row)
        ):
            # Known from disk alone, at a number higher than those who buried it had seen, and it
            # did not answer: it is gone at that number, else the digests differed for ever.
            admission = ADMIT_CHANGED
            if state == STATE_LEFT:
                # It left an earlier start. Of this one that would be final, and nobody saw it.
                state = STATE_DEAD
        if admission != ADMIT_RAISED and admission != ADMIT_CHANGED:
            return
        # With the epoch that it was entered with. Most evidence changes nothing and costs no hash;
        # nor does a new incarnation, which is no part of it.
        if admission == ADMIT_CHANGED:
            self._digest_out(row, held_epoch)
        if held == STATE_UNSEEN:
            if state == STATE_DEAD or state == STATE_LEFT:
                self.enter(row, state)
                self.tell_gone(row)
            return
        if epoch != held_epoch:
            self.anti_entropy.changed = self.now
        if admission == ADMIT_RAISED:
            self.digest_in(row)
            if state == STATE_SUSPECT:
                self.suspicion.end(row)
                self.suspicion.begin_hearsay(row, accuser, self.detector.rto(), self.now)
        elif (
            state == STATE_ALIVE and held == STATE_DEAD and epoch == held_epoch
            and self.flaps.returned(row, self.now)
        ):
            self.table.flags[row] |= FLAG_HELD
            self.anti_entropy.changed = self.now
            self.digest_in(row)
            self.note(row, STATE_DEAD, incarnation, 0, REASON_HELD)
        elif self.table.flags[row] & FLAG_HELD and state == STATE_DEAD:
            # Dead again: nothing new to show, and the next return is held for longer.
            self.release(row)
            self.enter(row, STATE_DEAD)
            self.note(row, state, incarnation, accuser, reason)
        else:
            self.release(row)
            if state == STATE_SUSPECT and (held == STATE_DEAD or held == STATE_LEFT):
                # A suspicion is the first that is heard of a new start: two transitions, told so.
                self.enter(row, STATE_ALIVE)
                self.member_event(row, CHANGE_RETURNED, reason, 0)
                self.digest_out(row)
            self.enter(row, state)
            if state == STATE_ALIVE:
                self.detector.void_probes(row)
                if held == STATE_SUSPECT:
                    self.member_event(row, CHANGE_REFUTED, reason, 0)
                elif held != STATE_ALIVE:
                    self.member_event(
                        row, CHANGE_RETURNED, REASON_NEW_EPOCH if epoch > held_epoch else reason, 0
                    )
                else:
                    self.member_event(row, CHANGE_UPDATED, REASON_NEW_EPOCH, 0)
                if epoch > held_epoch and (self.table.version(row) >> 16) == epoch:
                    self.table.flags[row] |= FLAG_NEWS_CARD
            elif state == STATE_SUSPECT:
                if reason != REASON_PROBE_FAILED:
                    reason = REASON_ACCUSED
                    self.suspicion.begin_hearsay(row, accuser, self.detector.rto(), self.now)
                self.tally.counts[COUNT_SUSPECTED] += 1
                self.member_event(row, CHANGE_SUSPECTED, reason, accuser)
            elif state == STATE_DEAD:
                self.member_event(
                    row, CHANGE_DIED, REASON_TOLD_DEAD if reason == REASON_NEWS else reason, accuser
                )
            else:
                self.member_event(row, CHANGE_LEFT, REASON_TOLD_LEFT, 0)
            self.note(row, state, incarnation, accuser, reason)
        self.dissemination.enqueue(NEWS_MEMBERS, row)
        if self.table.live_count == 0:
            self.keep_verdicts()

    cdef void keep_verdicts(self) noexcept:
        """Nobody was told for long, or is there to be told: who comes back, or was well all the
        time, must not hear old verdicts as news.
        """
        cdef int32_t row
        for row in range(1, self.table.rows):
            if self.table.states[row] == STATE_DEAD:
                self.dissemination.remove(NEWS_MEMBERS, row)

    cdef void release(self, int32_t row) noexcept:
        """Hold the member down no more; its part of the digest is the caller's."""
        if self.table.flags[row] & FLAG_HELD:
            self.table.flags[row] &= ~FLAG_HELD
            self.flaps.released(row, self.now)

    cdef void accept(self, int32_t row) noexcept:
        """A member that was held down has answered for long enough: show it."""
        if not self.table.flags[row] & FLAG_HELD:
            return
        self.digest_out(row)
        self.release(row)
        self.enter(row, STATE_ALIVE)
        self.member_event(row, CHANGE_RETURNED, REASON_STEADY, 0)
        self.note(row, STATE_ALIVE, self.table.incarnations[row], 0, REASON_STEADY)

    cdef void tell_gone(self, int32_t row) noexcept:
        # A tombstone is shown from now on, so who follows the events must hear of it too.
        if self.table.states[row] == STATE_DEAD:
            self.member_event(row, CHANGE_DIED, REASON_TOLD_DEAD, 0)
        else:
            self.member_event(row, CHANGE_LEFT, REASON_TOLD_LEFT, 0)

    cdef void enter(self, int32_t row, uint8_t state) noexcept:
        """Enter a state, with the timers and the digest that belong to it. The digest is without
        the row.
        """
        if state != STATE_SUSPECT and self.table.states[row] != STATE_SUSPECT:
            self.entered = True
        if state == STATE_DEAD and self.table.states[row] <= STATE_SUSPECT:
            self.flaps.died(self.now)
        if state > STATE_SUSPECT or self.table.states[row] > STATE_SUSPECT:
            self.anti_entropy.changed = self.now    # suspicions are no part of the digest
        self.suspicion.end(row)
        self.table.set_state(row, state, self.now)
        self.digest_in(row)
        if state == STATE_DEAD:
            self.table.backoff_s[row] = 0
            self.arm_contact(row)

    cdef void show(self, int32_t row, Reason reason) noexcept:
        """Show a member that was not shown before, and tell others of it."""
        self.digest_out(row)
        self.table.flags[row] &= ~FLAG_ASKED
        self.enter(row, STATE_ALIVE)
        if reason != REASON_SYNC:
            # Who gave the snapshot knows it, and so does everybody else: a thousand newcomers
            # that tell all they were just given are most of the cost of a mass start.
            self.table.flags[row] |= FLAG_NEWS_CARD
            self.dissemination.enqueue(NEWS_MEMBERS, row)
        self.member_event(row, CHANGE_JOINED, reason, 0)

    cdef void about_me(self, uint32_t epoch, uint32_t incarnation, uint8_t state) noexcept:
        """Evidence about this member: refute what is wrong by a larger incarnation."""
        cdef uint32_t mine = self.table.incarnations[0]
        if epoch != self.table.epochs[0]:
            if epoch > self.table.epochs[0]:
                # Somebody with this id started later; only the larger epoch can stay.
                self.notices.tell(SELF_DUPLICATE_ID, epoch, NULL, self.now)
            return
        if incarnation > mine and incarnation - mine > INCARNATION_JUMP_MAX:
            self.tally.counts[COUNT_EVIDENCE_REFUSED] += 1
            return
        if state == STATE_ALIVE:
            if incarnation > mine:
                self.table.incarnations[0] = incarnation
            return
        if incarnation < mine:
            # Old news to this member is news to who sent it: say once more what holds.
            if not self.leaving:
                self.dissemination.enqueue(NEWS_MEMBERS, 0)
            return
        if state == STATE_LEFT:
            # Nothing within an epoch outranks it: either this member's own, or a forgery.
            if not self.leaving:
                self.tally.counts[COUNT_EVIDENCE_REFUSED] += 1
                self.notices.tell(SELF_DUPLICATE_ID, epoch, NULL, self.now)
            return
        # Having left outranks all of this epoch: a larger number would only show this member alive
        # to those who hear it before they hear that it left.
        self.table.incarnations[0] = incarnation if self.leaving else incarnation + 1
        # With the card: who accuses this member may hold an address that it has left.
        self.table.flags[0] |= FLAG_NEWS_CARD
        self.tally.counts[COUNT_REFUTED] += 1
        self.health.refuted()
        self.dissemination.enqueue(NEWS_MEMBERS, 0)

    cdef bint renew_own_card(
            self, const Address* address, const uint8_t* data, uint32_t size
    ) noexcept:
        """Another address or other tags; False when out of memory."""
        cdef Card* card = self.table.pool.intern(
            self.table.id_of(0), address,
            (<uint64_t> self.table.epochs[0] << 16) + self.card_count + 1, data, size
        )
        if card == NULL:
            return False
        self.card_count += 1
        self.digest_out(0)
        self.table.set_card(0, card)
        self.anti_entropy.changed = self.now
        self.digest_in(0)
        self.table.flags[0] |= FLAG_NEWS_CARD
        self.dissemination.enqueue(NEWS_MEMBERS, 0)
        return True

    cdef uint64_t row_hash(self, int32_t row, uint32_t epoch) noexcept:
        cdef uint8_t raw[40]
        cdef uint64_t words[3]
        cdef uint8_t state = self.table.told(row)
        memcpy(raw, self.table.id_of(row), 16)
        words[0] = epoch
        words[1] = self.table.version(row)
        words[2] = state if state == STATE_DEAD or state == STATE_LEFT else <uint8_t> STATE_ALIVE
        memcpy(raw + 16, words, 24)
        return sip_hash(self.ring, 1, raw, 40)

    cdef void digest_out(self, int32_t row) noexcept:
        self._digest_out(row, self.table.epochs[row])

    cdef void _digest_out(self, int32_t row, uint32_t epoch) noexcept:
        if self.table.flags[row] & FLAG_DIGESTED:
            self.anti_entropy.subtract(
                self.table.short_id(row), self.row_hash(row, epoch), self.anti_entropy.changed
            )
            self.table.flags[row] &= ~FLAG_DIGESTED

    cdef void digest_in(self, int32_t row) noexcept:
        # The quiet time starts anew only when the digest is another one in the end.
        cdef uint8_t state = self.table.told(row)
        if self.table.flags[row] & FLAG_DIGESTED or state > STATE_LEFT:
            return
        if (
            (state == STATE_DEAD or state == STATE_LEFT)
            and self.now - self.table.since(row) > self.settings.tombstone_floor_us // 2
            and row != 0
        ):
            return
        self.anti_entropy.add(
            self.table.short_id(row), self.row_hash(row, self.table.epochs[row]),
            self.anti_entropy.changed
        )
        self.table.flags[row] |= FLAG_DIGESTED

    cdef int64_t jitter(self, int64_t wait) noexcept:
        # ±25 %: contacts without it clump, and a split heals in a minute instead of seconds.
        return wait - wait // 4 + <int64_t> self.prng.draw_below(<uint32_t> (wait // 2) + 1)

    cdef void arm_contact(self, int32_t row) noexcept:
        """Contact a dead or unseen member after its wait, which doubles each time up to the
        largest.
        """
        cdef int64_t wait = self.settings.contact_min_us << self.table.backoff_s[row]
        if self.table.flags[row] & FLAG_CONTACT_ARMED:
            return
        if wait > self.settings.contact_max_us:
            wait = self.settings.contact_max_us
        elif self.table.backoff_s[row] < _BOUNDED_CONTACT_SHIFT:
            self.table.backoff_s[row] += 1
        if self.table.states[row] == STATE_UNSEEN and self.table.backoff_s[row] == 1:
            wait = wait // 16       # a first look soon: it was alive to somebody a moment ago
        if self.timers.arm(
            self.now + self.jitter(wait), TIMER_CONTACT, row, self.table.generations[row]
        ):
            self.table.flags[row] |= FLAG_CONTACT_ARMED

    cdef bint question(self) noexcept:
        """Whether this second still has a question to spend."""
        if self.now - self.question_window >= 1000000:
            self.question_window = self.now
            self.questions_used = 0
        if self.questions_used >= self.settings.questions_per_second:
            self.tally.counts[COUNT_QUESTIONS_REFUSED] += 1
            return False
        self.questions_used += 1
        self.tally.counts[COUNT_QUESTIONS] += 1
        return True

    cdef void forget(self, int32_t row) noexcept:
        """Forget a member for good; its rumors are dropped by the caller."""
        self.digest_out(row)
        self.suspicion.end(row)
        self.flaps.forget(row)
        self.dissemination.remove(NEWS_MEMBERS, row)
        if self.table.states[row] != STATE_UNSEEN:
            self.member_event(row, CHANGE_FORGOTTEN, REASON_FLOOR, 0)
        self._forget_why(row)
        self.table.forget(row)

    cdef void note(
            self, int32_t row, uint8_t state, uint32_t incarnation, uint64_t accuser, Reason reason
    ) noexcept:
        """Remember who said what about a member, the latest WHY_MAX."""
        cdef int32_t at = self.whys_of.find(<uint64_t> row)
        cdef int32_t wanted
        cdef void* p
        cdef Why* entry
        if at < 0:
            if state == STATE_ALIVE:
                return
            if self.whys_count == self.whys_capacity:
                wanted = self.whys_capacity + self.whys_capacity // 2 + 2
                p = realloc(self.whys, wanted * sizeof(WhyRing))
                if p == NULL:
                    return
                self.whys = <WhyRing*> p
                self.whys_capacity = wanted
            at = self.whys_count
            if not self.whys_of.put(<uint64_t> row, at):
                return
            self.whys_count += 1
            self.whys[at].row = row
            self.whys[at].count = 0
        entry = &self.whys[at].entries[self.whys[at].count % WHY_MAX]
        self.whys[at].count += 1
        entry.at = self.now
        entry.accuser = accuser
        entry.reason = <uint8_t> reason
        entry.state = state
        entry.incarnation = incarnation
        entry.asked = 0
        entry.answers = 0

    cdef void note_helpers(self, int32_t row, uint32_t asked, uint64_t answers) noexcept:
        """Add to the latest that is remembered how many helpers its last check asked and heard."""
        cdef int32_t at = self.whys_of.find(<uint64_t> row)
        cdef Why* entry
        if at < 0:
            return
        entry = &self.whys[at].entries[(self.whys[at].count - 1) % WHY_MAX]
        if entry.reason == REASON_LAST_CHECK:
            entry.asked = <uint8_t> asked if asked < 255 else 255
            entry.answers = <uint8_t> answers if answers < 255 else 255

    cdef uint64_t declarer(self, int32_t row) noexcept:
        """Short id of who declared a member dead, as far as that is known; else 0."""
        cdef int32_t at = self.whys_of.find(<uint64_t> row)
        cdef Why* entry
        if at < 0:
            return 0
        entry = &self.whys[at].entries[(self.whys[at].count - 1) % WHY_MAX]
        return entry.accuser if entry.state == STATE_DEAD else 0

    cdef void _forget_why(self, int32_t row) noexcept:
        # The last one takes the place.
        cdef int32_t at = self.whys_of.find(<uint64_t> row)
        if at < 0:
            return
        self.whys_of.remove(<uint64_t> row)
        self.whys_count -= 1
        if at != self.whys_count:
            self.whys[at] = self.whys[self.whys_count]
            self.whys_of.change(<uint64_t> self.whys[at].row, at)
        if self.whys_count == 0:
            free(self.whys)
            self.whys = NULL
            self.whys_capacity = 0

    cdef void member_event(
            self, int32_t row, Change change, Reason reason, uint64_t other
    ) noexcept:
        cdef EventRecord* record = self.notices.events.push()
        if record == NULL:
            return
        record.what = EVENT_MEMBER
        record.code = change
        record.reason = reason
        record.other = other
        record.id = self.table.cards[row].id
        record.address = self.table.cards[row].address
        record.state = self.table.states[row]
        record.epoch = self.table.epochs[row]
        record.incarnation = self.table.incarnations[row]
        record.version = self.table.version(row)
        record.since = self.table.since(row)
        record.card = card_share(self.table.cards[row])
        self.notices.events.charge(record)

    cdef list why(self, int32_t row):
        """The latest suspicions and verdicts about a row, oldest first: when, and in one line what.
        """
        cdef WhyRing* ring
        cdef uint32_t first
        cdef uint32_t i
        cdef int32_t at = self.whys_of.find(<uint64_t> row)
        if at < 0:
            return []
        ring = &self.whys[at]
        first = ring.count - WHY_MAX if ring.count > WHY_MAX else 0
        return [
            (ring.entries[i % WHY_MAX].at, _why_text(&ring.entries[i % WHY_MAX]))
            for i in range(first, ring.count)
        ]


cdef str _why_text(Why* entry):
    state = MemberState(entry.state).name.lower()
    reason = REASONS[<int> entry.reason]
    text = f"{state} at incarnation {entry.incarnation}: {reason}"
    if entry.asked:
        text = f"{text}, {entry.answers} of {entry.asked} helpers answered"
    return f"{text}, by {short_text(entry.accuser)}" if entry.accuser else text
