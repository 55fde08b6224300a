"""Restarts for failed checks: how many of a group at once, by views that come late."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sup.model.restart_share import Claim, Peer, RestartClaim, ShareTimes, allowed

TIMES = ShareTimes(settle_s=1.5, confirm_s=3.0, hold_s=300.0)


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [(1, 0.34, 1), (2, 0.34, 1), (3, 0.34, 1), (5, 0.34, 1), (6, 0.34, 2), (10, 0.34, 3)],
)
def test_allowed_is_the_share_rounded_down_and_at_least_one(
    size: int, share: float, expected: int
) -> None:
    """A third of three is one, never none."""
    assert allowed(size, share) == expected


def step(
    claim: RestartClaim, now_s: float, *others: Peer, wants: bool = True, ready: bool = False
) -> bool:
    """One step of member ``b`` with a third as its share."""
    return claim.step(now_s, wants=wants, ready=ready, me="b", group=others, share=0.34)[0]


def test_claim_alone_acts_at_once() -> None:
    """Nobody else is there to be told; the dead do not count."""
    assert step(RestartClaim(TIMES), 0.0)
    assert step(RestartClaim(TIMES), 0.0, Peer("a", False, "claimed"))


def test_claim_in_a_group_announces_waits_and_acts() -> None:
    """Wanted, claimed, restarted; the claim stays until the service is well."""
    claim, a, c = RestartClaim(TIMES), Peer("a", True), Peer("c", True)
    assert (step(claim, 0.0, a, c), claim.claim) == (False, Claim.WANTED)
    assert (step(claim, 1.5, a, c), claim.claim) == (False, Claim.CLAIMED)
    assert claim.withheld
    assert step(claim, 4.5, a, c)
    assert (step(claim, 5.0, a, c, wants=False), claim.claim) == (False, Claim.CLAIMED)
    assert (step(claim, 9.0, a, c, wants=False, ready=True), claim.claim) == (False, Claim.NONE)


def test_claim_first_by_member_id_goes_first() -> None:
    """The same order for everybody, with the reason shown."""
    claim = RestartClaim(TIMES)
    a, c = Peer("a", True, "wanted"), Peer("c", True, "wanted")
    step(claim, 0.0, a, c)
    assert not step(claim, 60.0, a, c)
    assert claim.withheld.startswith("0 of 3 in the group restart already and 1 come first")
    step(claim, 61.0, Peer("a", True), c)
    assert claim.claim is Claim.CLAIMED


def test_claim_that_meets_another_is_taken_back() -> None:
    """Both had claimed before they heard of each other: this one steps back and waits."""
    claim, a, c = RestartClaim(TIMES), Peer("a", True), Peer("c", True)
    step(claim, 0.0, a, c)
    step(claim, 1.5, a, c)
    assert not step(claim, 4.5, a, Peer("c", True, "claimed"))
    assert claim.claim is Claim.WANTED
    assert "at most 1 may at once" in claim.withheld


def test_claim_withdrawn_when_the_check_recovers() -> None:
    """A restart that is not needed any more blocks nobody."""
    claim, a = RestartClaim(TIMES), Peer("a", True)
    step(claim, 0.0, a)
    step(claim, 1.5, a)
    step(claim, 2.0, a, wants=False, ready=True)
    assert (claim.claim, claim.withheld) == (Claim.NONE, "")


def test_claim_of_who_never_recovers_ends() -> None:
    """It may restart again and again at its own place, then makes room for the others."""
    claim, a = RestartClaim(TIMES), Peer("a", True)
    for now_s in (0.0, 1.5, 4.5):
        step(claim, now_s, a)
    step(claim, 5.0, a, wants=False)
    assert step(claim, 50.0, a)  # bad again, and still its turn
    step(claim, 51.0, a, wants=False)
    assert (step(claim, 305.0, a), claim.claim) == (False, Claim.WANTED)


@dataclass
class Member:
    """A simulated supervisor: its check goes bad at ``bad_s`` and a restart takes ``takes_s``."""

    name: str
    bad_s: float
    takes_s: float
    claim: RestartClaim = field(default_factory=lambda: RestartClaim(TIMES))
    said: list[tuple[float, str]] = field(default_factory=lambda: [(-1.0, "")])
    restarted_s: float | None = None
    next_s: float = 0.0


@dataclass
class Outcome:
    most: int = 0
    """Most restarts at the same time."""
    done_s: float | None = None
    """When all had restarted and were well."""


def simulate(
    size: int, share: float, seed: int, *, delay_max_s: float, end_s: float = 3000.0
) -> Outcome:
    """The check goes bad everywhere at once; every rumor takes its own time to each member."""
    rng = random.Random(seed)
    spread_s = rng.choice((0.0, 0.3, 3.0, 10.0))
    members = [
        Member(f"{rng.getrandbits(64):016x}", 5.0 + rng.uniform(0, spread_s), rng.uniform(1, 15))
        for _ in range(size)
    ]
    heard: dict[tuple[str, str], list[tuple[float, str]]] = {
        (a.name, b.name): [(-1.0, "")] for a in members for b in members
    }
    outcome, now_s = Outcome(), 0.0
    while now_s < end_s:
        now_s = round(now_s + 0.1, 1)
        for member in rng.sample(members, size):
            bad = now_s >= member.bad_s and member.restarted_s is None
            well = now_s < member.bad_s or (
                member.restarted_s is not None and now_s >= member.restarted_s + member.takes_s
            )
            view = [
                Peer(o.name, True, [w for at, w in heard[o.name, member.name] if at <= now_s][-1])
                for o in members
                if o is not member
            ]
            go, _ = member.claim.step(
                now_s, wants=bad, ready=well, me=member.name, group=view, share=share
            )
            if go:
                member.restarted_s = now_s
            word = member.claim.claim.value
            if word != member.said[-1][1]:
                member.said.append((now_s, word))
                for other in members:
                    arrival_s = now_s + rng.uniform(0, delay_max_s)
                    queue = heard[member.name, other.name]
                    # A later version never arrives as the older one's successor too early.
                    queue[:] = [entry for entry in queue if entry[0] <= arrival_s]
                    queue.append((arrival_s, word))
        busy = sum(m.restarted_s is not None and now_s < m.restarted_s + m.takes_s for m in members)
        outcome.most = max(outcome.most, busy)
        if all(m.restarted_s is not None and now_s >= m.restarted_s + m.takes_s for m in members):
            outcome.done_s = now_s
            return outcome
    return outcome


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 20), st.sampled_from([0.1, 0.34, 0.5]), st.integers(0, 1 << 32))
def test_group_whose_check_goes_bad_everywhere_restarts_no_more_than_its_share(
    size: int, share: float, seed: int
) -> None:
    """Views late by up to the waiting time: never more than allowed, and everybody in the end."""
    outcome = simulate(size, share, seed, delay_max_s=TIMES.confirm_s - 0.1)
    assert outcome.most <= allowed(size, share)
    assert outcome.done_s is not None


def test_group_with_views_later_than_promised_can_exceed_its_share() -> None:
    """What the waiting time is for: without enough of it, the promise is broken, plainly."""
    most = [simulate(9, 0.34, seed, delay_max_s=15.0).most for seed in range(20)]
    assert max(most) > allowed(9, 0.34)
