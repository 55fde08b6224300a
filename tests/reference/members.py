"""Who is known, and which of two pieces of evidence about a member wins.

SWIM 4.2 orders by incarnation, then by how bad the state is. Above both stands the epoch, which
counts starts; and within an epoch having left is final. Merging is the maximum of that order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple

INCARNATION_JUMP_MAX = 1024
EPOCH_JUMP_MAX = 65_536


class State(IntEnum):
    """A larger one is worse, and wins within one epoch and incarnation."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Evidence(NamedTuple):
    """What somebody says of a member."""

    epoch: int
    incarnation: int
    state: State

    def rank(self) -> tuple[int, bool, int, int]:
        """Larger wins."""
        return self.epoch, self.state == State.LEFT, self.incarnation, self.state


class Admission(Enum):
    """What a piece of evidence is worth against what is held."""

    STALE = "ranks below"
    SAME = "is held already"
    RAISED = "newer evidence of the same state"
    CHANGED = "another state or epoch"
    REFUSED = "jumps further than a member can have got"


def weigh(held: Evidence, said: Evidence) -> Admission:
    """Weigh what is said against what is held."""
    if said == held:
        return Admission.SAME
    if said.rank() < held.rank():
        return Admission.STALE
    if said.epoch > held.epoch:
        # The first evidence ever has nothing to be measured against.
        if held.epoch and said.epoch - held.epoch > EPOCH_JUMP_MAX:
            return Admission.REFUSED
    elif said.incarnation - held.incarnation > INCARNATION_JUMP_MAX:
        return Admission.REFUSED
    if said.state == held.state and said.epoch == held.epoch:
        return Admission.RAISED
    return Admission.CHANGED


def merge(held: Evidence, said: Evidence) -> Evidence:
    """The one of two that wins."""
    return max(held, said, key=Evidence.rank)


@dataclass(eq=False)
class Member:
    """One member; ``shown`` is False while it is known by hearsay only."""

    id: bytes
    epoch: int
    incarnation: int
    state: State = State.ALIVE
    shown: bool = False
    version: int = -1
    address: bytes = b""
    card: list[object] = field(default_factory=list)
    since: int = 0
    heard: int = -(1 << 62)
    news_card: bool = False
    asked: bool = False
    declarer: int = 0
    contacts: list[tuple[int, int]] = field(default_factory=list)
    backoff: int = 0

    @property
    def short(self) -> int:
        """The first eight bytes of the id."""
        return int.from_bytes(self.id[:8], "big")

    @property
    def held(self) -> Evidence:
        """What is held of it; who is not shown counts as alive."""
        return Evidence(self.epoch, self.incarnation, self.state if self.shown else State.ALIVE)

    @property
    def live(self) -> bool:
        """Whether it takes part: probed, gossiped to, counted."""
        return self.shown and self.state <= State.SUSPECT
