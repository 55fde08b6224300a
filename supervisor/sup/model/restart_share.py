"""How many of a group may be restarted for a failed check at once (pure; seconds come in).

A liveness check that goes bad everywhere, because a database is slow or the check has a mistake,
must not take a whole group down. There is no server to ask, so a member *announces* before it acts,
in its service rumor, and looks again after the rumor has had time to come round.

Theory of operation. ``WANTED``: the check failed; the wish is gossiped. After ``settle_s`` a member
whose wish is among the first of those it sees, by member id, as far as there is room, goes to
``CLAIMED``: that it will restart is gossiped. After ``confirm_s`` more it counts the claims of
others. Less than ``allowed``: it restarts and keeps its claim until it is well again, or until
``hold_s`` have passed, for a member that never recovers must not keep the others from it for ever.
Otherwise it takes the claim back, and wants again.

What holds: as long as every rumor of the group arrives within ``confirm_s``, no more than
``allowed`` members restart at once. For of any ``allowed`` + 1 that did, the one that claimed last
saw all the other claims before it acted. (A delay as in Fischer's mutual exclusion; Lamport 1987.)
What does not: with slower rumors, or between members that can't hear each other, each side counts
what it sees; and members that are not known yet are not counted. Permits that a majority grants
are the cure; this is what can be had without them.

The order by member id makes the outcome the same everywhere, so that claims rarely collide; it is
no part of the argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Claim(Enum):
    """What a member says of its restart; the value is the word in its service rumor."""

    NONE = ""
    WANTED = "wanted"
    CLAIMED = "claimed"


@dataclass(frozen=True, slots=True)
class Peer:
    """One member of the group as it is seen here; ``claim`` is the word of its rumor."""

    member_id: str
    present: bool
    """Alive or suspect; the claims of the dead do not count."""
    claim: str = ""


@dataclass(frozen=True, slots=True)
class ShareTimes:
    """Waits, seconds; tests and simulations shorten them."""

    settle_s: float = 1.5
    confirm_s: float = 3.0
    """Longest time in which a rumor reaches all of the group; the promise rests on it."""
    hold_s: float = 300.0


def allowed(size: int, share: float) -> int:
    """How many of a group of ``size`` may be restarted at once: the share rounded down, at least
    one.
    """
    return max(1, int(size * share + 1e-9))


@dataclass(slots=True)
class RestartClaim:
    """This member's own claim. ``step`` is called whenever something changed, and when it says."""

    times: ShareTimes = field(default_factory=ShareTimes)
    claim: Claim = field(default=Claim.NONE, init=False)
    """What is to be gossiped."""
    acting: bool = field(default=False, init=False)
    """The restart was granted; the claim is kept until the service is well again."""
    withheld: str = field(default="", init=False)
    """Why a restart that the check asks for has not happened yet, in one line, or empty."""
    _since_s: float = field(default=0.0, init=False)

    def step(
        self,
        now_s: float,
        *,
        wants: bool,
        ready: bool,
        me: str,
        group: Sequence[Peer],
        share: float,
    ) -> tuple[bool, float | None]:
        """Take what is so now; returns whether to restart now, and after how many seconds to ask
        again at the latest (None: only when something changes).

        ``wants``: the check asks for a restart of the process that runs. ``ready``: the service is
        well. ``group`` is everybody known in the group that has not left, with or without me.
        """
        self.withheld = ""
        others = [peer for peer in group if peer.member_id != me]
        if self.acting:
            held_s = now_s - self._since_s
            if not ready and held_s < self.times.hold_s and not wants:
                return False, self.times.hold_s - held_s
            if not wants:
                self._to(Claim.NONE, now_s)
                return False, None
            # Restarted, and bad again. Whoever keeps its place restarts anew; after ``hold_s`` it
            # gets in line.
            if held_s < self.times.hold_s:
                return True, None
            self._to(Claim.WANTED, now_s)
        if not wants:
            if self.claim is not Claim.NONE:
                self._to(Claim.NONE, now_s)
            return False, None
        if self.claim is Claim.NONE:
            self._to(Claim.WANTED, now_s)
        room = allowed(len(others) + 1, share)
        claims = [p for p in others if p.present and p.claim == Claim.CLAIMED.value]
        if not any(peer.present for peer in others):
            return self._act(now_s)
        waited_s = now_s - self._since_s
        if self.claim is Claim.WANTED:
            if waited_s < self.times.settle_s:
                self.withheld = "waits for what the rest of the group says"
                return False, self.times.settle_s - waited_s
            before = [
                p
                for p in others
                if p.present and p.claim == Claim.WANTED.value and p.member_id < me
            ]
            if len(claims) + len(before) >= room:
                self.withheld = self._words(room, len(others) + 1, claims, before)
                return False, None
            self._to(Claim.CLAIMED, now_s)
            waited_s = 0.0
        if waited_s < self.times.confirm_s:
            self.withheld = "waits until the rest of the group has heard of it"
            return False, self.times.confirm_s - waited_s
        if len(claims) >= room:
            self._to(Claim.WANTED, now_s)
            self.withheld = self._words(room, len(others) + 1, claims, [])
            return False, self.times.settle_s
        return self._act(now_s)

    def reset(self, now_s: float) -> None:
        """The service is wanted down, or in maintenance: nothing is claimed."""
        self._to(Claim.NONE, now_s)
        self.withheld = ""

    def _act(self, now_s: float) -> tuple[bool, float | None]:
        self._to(Claim.CLAIMED, now_s)
        self.acting = True
        return True, None

    def _to(self, claim: Claim, now_s: float) -> None:
        self.claim = claim
        self.acting = False
        self._since_s = now_s

    @staticmethod
    def _words(room: int, size: int, claims: Sequence[Peer], before: Sequence[Peer]) -> str:
        return (
            f"{len(claims)} of {size} in the group restart already and {len(before)} come first;"
            f" at most {room} may at once"
        )
