"""Whether a member answers, and how long a suspect has: probes, relays, suspicions, own health.

SWIM 3.1's probe (ping, then ping-req through k others) with Lifeguard's nacks, and three rules of
this project: silence of everybody says nothing about the target; a failed probe is looked at once
more, privately; and a suspect is declared dead only by a last check that others answered. Every
wait is exact here; who is chosen comes from outside (``Choices``), checked against who may be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tests.reference.members import Member

from sup_core.config import Config

RTO_FIRST_US = 200_000
SECOND_LOOK_PINGS = 3
ASK_INTERVAL_US = 330_000
WAIT_STEP_US = 1_000_000
LATE_TIMEOUTS = 3
ANSWERS_TO_DECLARE = 2
STRICT_CHECKS = 3
RECENT = 8


class Stage(Enum):
    """Where a probe is."""

    DIRECT = "pinged"
    INDIRECT = "helpers asked"
    SECOND_LOOK = "failed; asking again"
    LAST_CHECK = "a suspect whose time is up"


@dataclass(eq=False)
class Probe:
    """One probe under way."""

    target: Member
    stage: Stage
    seq: int
    started: int
    helpers: list[Member] = field(default_factory=list)
    silent: list[Member] = field(default_factory=list)
    answers: int = 0
    failed_at: int = 0
    pings_left: int = 0
    wanted: int = 0
    needed: int = 0
    turn: int = 0
    repeated: bool = False
    waited: bool = False


@dataclass(eq=False)
class Relay:
    """A ping for somebody else."""

    requester: Member
    requester_seq: int
    subject: Member
    seq: int
    budget: int
    nacked: bool = False


@dataclass(eq=False)
class Suspicion:
    """What is held against a member."""

    accuser: int
    deadline: int
    first_hand: bool = False
    checks: int = 0
    stood: bool = False
    turn: int = 0


class RoundTrip:
    """RFC 6298: one estimate for all members."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.smoothed = 0
        self.deviation = 0

    def sample(self, rtt: int) -> None:
        """A ping that was sent once was answered (Karn)."""
        rtt = max(rtt, 1)
        if not self.smoothed:
            self.smoothed, self.deviation = rtt, rtt // 2
            return
        error = rtt - self.smoothed
        self.deviation += _toward_zero(abs(error) - self.deviation, 4)
        self.smoothed = max(1, self.smoothed + _toward_zero(error, 8))

    def timeout(self) -> int:
        """The retransmission time-out."""
        value = self.smoothed + 4 * self.deviation if self.smoothed else RTO_FIRST_US
        return min(max(value, self.config.rto_min_us), self.config.rto_max_us)


def _toward_zero(value: int, by: int) -> int:
    return value // by if value >= 0 else -(-value // by)


class Health:
    """Lifeguard's local health: worse when nobody answers, better with every answer."""

    WORST = 7

    def __init__(self) -> None:
        self.score = 0
        self.silent = 0
        self.cut_off = False

    def answered(self) -> bool:
        """Somebody answered a probe; True when that ends a time of being cut off."""
        was, self.cut_off, self.silent = self.cut_off, False, 0
        self.score = max(0, self.score - 1)
        return was

    def nobody_answered(self) -> None:
        """A probe ended without any answer."""
        self.silent += 1
        self.worse()
        if self.silent >= 2:
            self.cut_off = True

    def worse(self) -> None:
        """Also after a refutation of one's own."""
        self.score = min(self.WORST, self.score + 1)

    def stretch(self) -> int:
        """Factor of the protocol period."""
        return 1 + self.score // 3
