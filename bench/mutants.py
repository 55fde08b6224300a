"""The faults that `bench/mutations.py` plants: tempting versions of the protocol's rules.

Each names the lines that it changes and the cheapest command that must fail then: a test of the
rule, not a campaign. Edit this beside the core; a text that is not found any more is out of date.
"""

from __future__ import annotations

from dataclasses import dataclass

Command = tuple[str, ...]
PYTEST = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")


def tests(*names: str) -> Command:
    """Run these tests until the first failure."""
    return (*PYTEST, *names)


def trap(name: str) -> Command:
    """Run one test of tests/scenarios/test_traps.py."""
    return tests("tests/scenarios/test_traps.py", "-k", name)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in each file of `edits`, the old text becomes the new one."""

    trap: int
    """Its number among the traps of the protocol's design; 0: a rule beside those."""
    name: str
    edits: tuple[tuple[str, str, str], ...]
    command: Command


_REFUTES = "self.table.incarnations[0] = incarnation if self.leaving else incarnation + 1"

# The accusers' verdict and its checks are in failure_detector and suspicion; what evidence does, in
# membership; precedence, in member_table; what is told to whom, in protocol, packets,
# dissemination.
MUTANTS = (
    Mutant(
        1,
        "silence is proof: a last check without any answer declares",
        (("failure_detector.pyx", "if probe.answers >= probe.needed:", "if True:"),),
        tests("tests/core/test_protocol.py", "-k", "no_helper_answers"),
    ),
    Mutant(
        1,
        "silence accuses: a probe that nobody answered is a failed probe",
        (("failure_detector.pyx", "if probe.asked and probe.answers == 0:", "if False:"),),
        tests("tests/core/test_detection.py", "-k", "nobody_answers"),
    ),
    Mutant(
        2,
        "muted: suspicions of who has refuted before are ignored",
        (
            (
                "membership.pyx",
                "        admission = self.table.admit(row, epoch, incarnation, state)\n",
                "        if state == STATE_SUSPECT and incarnation:\n"
                "            if reason != REASON_PROBE_FAILED:\n                return\n"
                "        admission = self.table.admit(row, epoch, incarnation, state)\n",
            ),
        ),
        trap("refuted_often"),
    ),
    Mutant(
        3,
        "every member's timer declares: bystanders do not wait longer",
        (
            (
                "suspicion.pyx",
                "suspect.deadline += self.settings.bystander_wait_us + "
                "self.prng.draw_below(spread + 1)",
                "suspect.deadline -= self.settings.second_look_us + 0 * spread",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "only_who_failed"),
    ),
    Mutant(
        4,
        "hearsay is first-hand: whoever hears of a suspicion asks and checks like an accuser",
        (
            (
                "suspicion.pyx",
                "        suspect.accuser = accuser\n",
                "        suspect.accuser = accuser\n        suspect.first_hand = 1\n",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "not_first_hand"),
    ),
    Mutant(
        5,
        "healing merges: a death told by a synchronisation is believed",
        (
            (
                "membership.pyx",
                "if m.state == STATE_DEAD and (old_news or self.wary()):",
                "if False and self.wary():",
            ),
        ),
        tests("tests/core/test_anti_entropy.py", "-k", "death_learnt_by_sync"),
    ),
    Mutant(
        6,
        "contacts without jitter",
        (
            (
                "membership.pyx",
                "self.now + self.jitter(wait), TIMER_CONTACT",
                "self.now + wait, TIMER_CONTACT",
            ),
        ),
        tests("tests/core/test_anti_entropy.py", "-k", "clump"),
    ),
    Mutant(
        7,
        "silence to a question does not count: the asked one is not probed",
        (
            (
                "protocol.pyx",
                "        p.send(self.table.address(row))\n"
                "        self.detector.start(row, self.now)",
                "        p.send(self.table.address(row))",
            ),
        ),
        trap("silence_to_a_question"),
    ),
    Mutant(
        8,
        "fixed numbers of helpers: not capped by the live members",
        (
            (
                "failure_detector.pyx",
                "probe.needed = probe.wanted if probe.wanted < probe.asked else probe.asked",
                "probe.needed = probe.wanted",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "small_ring"),
    ),
    Mutant(
        9,
        "dead helpers raise local health",
        (
            (
                "protocol.pyx",
                "                self._somebody_answered()\n"
                "            if self.table.states[row] == STATE_ALIVE:",
                "                self.health.refuted()\n"
                "            if self.table.states[row] == STATE_ALIVE:",
            ),
        ),
        trap("mass_crash"),
    ),
    Mutant(
        10,
        "suspicions are part of the digest",
        (
            (
                "membership.pyx",
                "words[2] = state if state == STATE_DEAD or state == STATE_LEFT else "
                "<uint8_t> STATE_ALIVE",
                "words[2] = state",
            ),
        ),
        tests("tests/core/test_anti_entropy.py", "-k", "no_part_of_the_digest"),
    ),
    Mutant(
        10,
        "old tombstones stay part of the digest",
        (("protocol.pyx", "if age > floor // 2:", "if False:"),),
        tests("tests/core/test_anti_entropy.py", "-k", "no_part_of_the_digest"),
    ),
    Mutant(
        10,
        "an old tombstone that is confirmed comes back into the digest",
        (("membership.pyx", "            and row != 0\n", "            and False\n"),),
        tests("tests/core/test_anti_entropy.py", "-k", "no_part_of_the_digest"),
    ),
    Mutant(
        11,
        "one time-out per peer: a sample counts only from who was measured before",
        (
            (
                "failure_detector.pyx",
                "self._sample(row, now - probe.started)",
                "pass",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "time_out_is_estimated"),
    ),
    Mutant(
        12,
        "a cloned disk is not noticed: packets with the own id are only counted",
        (
            (
                "protocol.pyx",
                "            if not address_equal(source, self.table.address(0)):",
                "            if False:",
            ),
        ),
        tests("tests/core/test_protocol.py", "-k", "two_holders"),
    ),
    Mutant(
        13,
        "any incarnation is believed",
        (
            (
                "member_table.pyx",
                "if incarnation - self.incarnations[row] > INCARNATION_JUMP_MAX:",
                "if False:",
            ),
            (
                "membership.pyx",
                "if incarnation > mine and incarnation - mine > INCARNATION_JUMP_MAX:",
                "if False:",
            ),
        ),
        tests("tests/core/test_codec.py", "-k", "incarnation_jump"),
    ),
    Mutant(
        14,
        "hearsay is shown: an unknown member need not answer first",
        (
            (
                "membership.pyx",
                "elif how == SOURCE_SYNC or how == SOURCE_DISK or m.state == STATE_SUSPECT:",
                "elif how == SOURCE_DISK:",
            ),
        ),
        tests("tests/core/test_protocol.py", "-k", "ghost"),
    ),
    Mutant(
        15,
        "left is no end: a higher incarnation revives a leaver",
        (
            (
                "member_table.pyx",
                "return state_a == STATE_LEFT",
                "return incarnation_a > incarnation_b",
            ),
        ),
        tests("tests/core/test_merge_laws.py"),
    ),
    Mutant(
        15,
        "a leaver answers a suspicion with alive",
        (
            (
                "membership.pyx",
                f"        {_REFUTES}\n",
                f"        {_REFUTES}\n        self.table.set_state(0, STATE_ALIVE, self.now)\n",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "leaver_answers"),
    ),
    Mutant(
        16,
        "short ids are trusted: another full id under a known short one is taken for the same",
        (
            (
                "membership.pyx",
                "        elif memcmp(self.table.id_of(row), m.id, 16) != 0:",
                "        elif False:",
            ),
        ),
        tests("tests/core/test_codec.py", "-k", "short_id"),
    ),
    Mutant(
        17,
        "the seed gives every snapshot: a newcomer does not ask whom the welcome names",
        (("newcomer.pyx", "self._keep(&contact)", "pass"),),
        tests("tests/core/test_joins.py", "-k", "at_random"),
    ),
    Mutant(
        17,
        "the seed gives every snapshot: its welcome names nobody",
        (("newcomer.pyx", "        if self.table.live_count == 0:", "        if True:"),),
        tests("tests/core/test_joins.py", "-k", "welcome_names"),
    ),
    Mutant(
        17,
        "snapshots at once have no bound",
        (("newcomer.pyx", "if self.allowance > 0:", "if True:"),),
        tests("tests/core/test_joins.py", "-k", "bounded_in_bytes"),
    ),
    Mutant(
        18,
        "evidence that changes no state leaves the stored incarnation as it is",
        (
            (
                "member_table.pyx",
                "        self.epochs[row] = epoch\n        self.incarnations[row] = incarnation\n"
                "        return ADMIT_RAISED",
                "        if not same_state:\n            self.epochs[row] = epoch\n"
                "            self.incarnations[row] = incarnation\n        return ADMIT_RAISED",
            ),
        ),
        tests("tests/core/test_protocol.py", "-k", "changes_nothing"),
    ),
    Mutant(
        19,
        "a batch is popped per target: one member of a tick's three gets it",
        (
            (
                "protocol.pyx",
                "            for i in range(count):\n"
                "                self.packets.send(self.table.address(targets[i]))",
                "            i = _packet % count\n"
                "            self.packets.send(self.table.address(targets[i]))",
            ),
        ),
        tests("tests/core/test_dissemination.py", "-k", "batch_of_a_tick"),
    ),
    Mutant(
        0,
        "no refutation: an accused member keeps its incarnation",
        (("membership.pyx", _REFUTES, "pass"),),
        tests("tests/core/test_protocol.py", "-k", "told_directly"),
    ),
    Mutant(
        0,
        "no tolerance: a suspect is checked at once",
        (
            (
                "suspicion.pyx",
                "first_failed + self.settings.pause_tolerance_us + 3 * rto",
                "first_failed",
            ),
        ),
        tests("tests/core/test_protocol.py", "-k", "below_the_tolerance"),
    ),
    Mutant(
        0,
        "old news wins: any other incarnation outranks",
        (("member_table.pyx", "return incarnation_a > incarnation_b", "return True"),),
        tests("tests/core/test_merge_laws.py"),
    ),
    Mutant(
        0,
        "epochs do not count: a restarted member is its old self",
        (("member_table.pyx", "return epoch_a > epoch_b", "return incarnation_a > incarnation_b"),),
        tests("tests/core/test_merge_laws.py"),
    ),
    Mutant(
        0,
        "the dead are left alone: nobody contacts them",
        (
            (
                "membership.pyx",
                "self.table.backoff_s[row] = 0\n            self.arm_contact(row)",
                "self.table.backoff_s[row] = 0",
            ),
        ),
        tests("tests/core/test_protocol.py", "-k", "without_seeds"),
    ),
    Mutant(
        0,
        "rings merge: the ring of a packet is not looked at",
        (
            (
                "protocol.pyx",
                "if header.ring != self.ring:\n            self.tally",
                "if False:\n            self.tally",
            ),
        ),
        tests("tests/core/test_codec.py", "-k", "another_ring"),
    ),
    Mutant(
        0,
        "no repair: digests are never compared",
        (
            (
                "anti_entropy.pyx",
                "cdef bint should_exchange(self, uint64_t digest, int64_t now) noexcept:",
                "cdef bint should_exchange(self, uint64_t digest, int64_t now) noexcept:\n"
                "        return False",
            ),
        ),
        tests("tests/core/test_lifeguard_paper.py", "-k", "demers_1_3"),
    ),
    Mutant(
        0,
        "a batch is told once: no second round",
        (("dissemination.pyx", "level = picked.level + copies", "level = limit"),),
        tests("tests/core/test_dissemination.py", "-k", "batch_of_a_tick"),
    ),
    Mutant(
        0,
        "sequences repeat: two values under one version",
        (
            (
                "rumors.pyx",
                "            self.own_seq += 1\n",
                "            self.own_seq = 1\n",
            ),
        ),
        tests("tests/core/test_protocol.py", "-k", "second_value"),
    ),
    Mutant(
        0,
        "checks outlive a refutation: one begun before it counts against the new incarnation",
        (("membership.pyx", "                self.detector.void_probes(row)\n", ""),),
        tests("tests/core/test_protocol.py", "-k", "began_before_a_refutation"),
    ),
    Mutant(
        0,
        "each late timer prolongs a suspicion by a step: it never ends where all are late",
        (
            (
                "suspicion.pyx",
                "            if not suspect.stood:\n",
                "            if not suspect.stood or late:\n",
            ),
        ),
        tests("tests/scenarios/test_coarse_timers.py", "-k", "50 and shared_grid"),
    ),
    Mutant(
        0,
        "no wait for helpers: a stage ends without the answers that it needs",
        (
            (
                "failure_detector.pyx",
                "if self._lacks_answers(probe) and not probe.waited:",
                "if False:",
            ),
        ),
        tests("tests/scenarios/test_coarse_timers.py", "-k", "25 and shared_grid"),
    ),
    Mutant(
        0,
        "a question that ended late never counts: who is always late holds for ever",
        (("flaps.pyx", "if late and not flap.repeated:", "if late:"),),
        tests("tests/core/test_detection.py", "-k", "shown_again_by_who_is_always_late"),
    ),
    Mutant(
        0,
        "verdicts of a member alone stay news",
        (
            (
                "membership.pyx",
                "        if self.table.live_count == 0:\n            self.keep_verdicts()\n",
                "",
            ),
        ),
        tests("tests/core/test_old_news.py", "-k", "alone"),
    ),
    Mutant(
        0,
        "a backlog is news: who stood still believes the verdicts that it reads then",
        (
            (
                "protocol.pyx",
                "if now - self.timers.next_due() >= self.settings.pause_tolerance_us // 2:",
                "if False:",
            ),
        ),
        tests("tests/core/test_old_news.py", "-k", "backlog or waited"),
    ),
    Mutant(
        0,
        "a deaf spell counts: suspects get no time anew from who heard nobody",
        (
            (
                "protocol.pyx",
                "            self.suspicion.all_anew(self.detector.rto(), self.now)\n",
                "",
            ),
        ),
        tests("tests/core/test_old_news.py", "-k", "starts_anew"),
    ),
    Mutant(
        0,
        "one link: an accuser asks the suspect over no other member",
        (
            ("failure_detector.pyx", "            self._another_way(probe)\n", ""),
            (
                "protocol.pyx",
                "            if helper > 0:\n                self._ping_req(helper, 0,",
                "            if False:\n                self._ping_req(helper, 0,",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "with_every_question"),
    ),
    Mutant(
        0,
        "an address that was left counts: a suspect that moved gets no time anew",
        (
            (
                "membership.pyx",
                "            self.suspicion.anew(row, self.detector.rto(), self.now)\n",
                "",
            ),
        ),
        tests("tests/core/test_old_news.py", "-k", "moved"),
    ),
    Mutant(
        0,
        "nobody alive to ask: suspects are not asked before the last other is accused",
        (
            (
                "failure_detector.pyx",
                "            self._choose_suspects(probe, self.settings.indirect_probes)\n",
                "            pass\n",
            ),
        ),
        tests("tests/core/test_detection.py", "-k", "asks_the_suspects"),
    ),
    Mutant(
        0,
        "a step in which the clock jumped is the suspect's",
        (("suspicion.pyx", "            if not suspect.stood:\n", "            if False:\n"),),
        tests("tests/core/test_protocol.py", "-k", "clock_jumped"),
    ),
    Mutant(
        0,
        "a helper passes an answer on for one budget only",
        (("failure_detector.pyx", "max(relay.budget, _LATE_US)", "relay.budget"),),
        tests("tests/core/test_detection.py", "-k", "is_passed_on"),
    ),
)
