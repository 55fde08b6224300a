"""The values that leave the core: members, rumors and what happened to them.

Plain frozen values: nothing here has behaviour or a reference back into the core. An event is made
once per transition, in order, and polled with ``Node.poll_event``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum


class MemberState(IntEnum):
    """What this member holds of another; within one (epoch, incarnation) a larger value wins."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Member:
    """One member as this node sees it; ``since_us``: its clock when ``state`` was entered."""

    id: bytes
    name: str
    address: bytes
    state: MemberState
    epoch: int
    incarnation: int
    since_us: int
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    version: int = 0
    local: bool = False


class MemberChange(Enum):
    """Why a ``MemberEvent`` was made."""

    JOINED = "joined"
    UPDATED = "updated"
    SUSPECTED = "suspected"
    REFUTED = "refuted"
    DIED = "died"
    LEFT = "left"
    RETURNED = "returned"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """A member changed; ``why`` is one line for an operator."""

    change: MemberChange
    member: Member
    why: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Version of a rumor: totally ordered within its key, equal only for equal content.

    Owner kinds: (epoch, sequence, b""). Last-writer kinds: (stamp in µs, counter, writer id +
    content hash). Join kinds: (a measure that grows with every merge, 0, content hash).
    """

    a: int
    b: int
    c: bytes = b""


@dataclass(frozen=True, slots=True)
class Rumor:
    """One gossiped value; ``value`` is None when it was retracted, or has expired."""

    kind: int
    key: bytes
    origin: bytes
    version: Version
    value: bytes | None


@dataclass(frozen=True, slots=True)
class RumorEvent:
    """The store took a newer version; ``previous`` is what it replaced, None for a new key.

    A rumor that has lived out is told with the version it had, and no value.
    """

    rumor: Rumor
    previous: Version | None = None


@dataclass(frozen=True, slots=True)
class SelfEvent:
    """Something about this node itself.

    ``cut_off`` / ``reachable``: no answer from anybody / answers again. ``duplicate_id``: somebody
    else uses an id and epoch twice. ``short_id_clash``: two full ids share the short form; the
    newer card is refused. ``foreign_ring``: packets of another ring arrive. ``clock``: a rumor's
    stamp is too far in the future. ``events_dropped``: events overflowed; re-read everything.
    ``own_rumor``: the ring held a newer version of an own rumor; it was overruled.
    """

    what: str
    detail: str = ""


Event = MemberEvent | RumorEvent | SelfEvent
