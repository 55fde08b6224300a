"""Many member events made one change of view: what a rack loss or a mass start is to who follows.

Events go in with the time, changes of view come out. A change waits until nothing happened for a
short while, at most for a bound since its first event, and says for every member once what became
of it meanwhile: a member that went and came back within the wait has not gone. Suspicions are no
part of a view: who is suspected still counts. Changes come in order, each transition is in exactly
one of them, and applying them all gives the same view as all events.

Pure, like the node: the caller has the clock. Sits above the node and knows only its events.
Source of the idea: Rapid's multi-process cut (Suresh et al. 2018, section 4), without agreement:
every member batches what it sees itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from sup_core.events import Member, MemberChange, MemberEvent, MemberState
from sup_core.limits import MEMBERS_MAX

QUIET_US: Final = 1_000_000
"""A protocol period: the members of one rack are probed by others at other moments of it, so their
deaths are declared that far apart."""
BOUND_US: Final = 3_000_000
"""A ring in constant motion gets a view this often: about one detection."""


@dataclass(frozen=True, slots=True)
class ViewChange:
    """What became of members since the view before; each member is in one of the tuples at most."""

    number: int
    """Views so far, this one included."""
    live: int
    """Members that count now, this one not."""
    joined: tuple[Member, ...] = ()
    returned: tuple[Member, ...] = ()
    """Gone in an earlier view, or started again meanwhile."""
    updated: tuple[Member, ...] = ()
    died: tuple[Member, ...] = ()
    left: tuple[Member, ...] = ()
    forgotten: tuple[Member, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(
            self.joined or self.returned or self.updated or self.died or self.left or self.forgotten
        )


class _Held(Enum):
    NONE = 0
    LIVE = 1
    DEAD = 2
    LEFT = 3


@dataclass(slots=True)
class _Entry:
    held: _Held
    epoch: int = 0
    version: int = 0
    address: bytes = b""


@dataclass(slots=True)
class ViewChanges:
    """The batch of one follower. ``quiet_us`` and ``bound_us`` are the two waits."""

    quiet_us: int = QUIET_US
    bound_us: int = BOUND_US
    _told: dict[bytes, _Entry] = field(default_factory=dict)
    """What the changes so far have said; as many as the node shows."""
    _batch: dict[bytes, tuple[Member, MemberChange]] = field(default_factory=dict)
    """The latest about each member that something happened to, in the order of first events."""
    _first_us: int = 0
    _latest_us: int = 0
    _number: int = 0
    _live: int = 0

    def __post_init__(self) -> None:
        """Check the waits."""
        if not 0 <= self.quiet_us <= self.bound_us:
            raise ValueError(
                f"quiet_us is {self.quiet_us}, allowed is 0..bound_us, which is {self.bound_us}"
            )

    def take(self, event: MemberEvent, now: int) -> None:
        """Add an event of another member; ``now`` is the clock in µs."""
        if event.member.local or event.change in (MemberChange.SUSPECTED, MemberChange.REFUTED):
            return
        self._note(event.member, event.change, now)

    def resync(self, members: Iterable[Member], now: int) -> None:
        """Take the whole view, after events were dropped: what differs becomes a change."""
        shown = set()
        for member in members:
            if not member.local:
                shown.add(member.id)
                self._note(member, MemberChange.UPDATED, now)
        for member_id in [*self._told, *self._batch]:
            if member_id not in shown:
                gone = Member(member_id, "", b"", MemberState.DEAD, 0, 0, now)
                known = self._batch.get(member_id)
                self._note(known[0] if known else gone, MemberChange.FORGOTTEN, now)

    def due(self) -> int | None:
        """When ``poll`` will have something to say; None while nothing waits."""
        if not self._batch:
            return None
        if len(self._batch) >= MEMBERS_MAX:
            return self._first_us
        return min(self._latest_us + self.quiet_us, self._first_us + self.bound_us)

    def poll(self, now: int) -> ViewChange | None:
        """Return the change of view if it is due; None too when all of it came to nothing."""
        due = self.due()
        if due is None or now < due:
            return None
        found: dict[str, list[Member]] = {}
        for member, change in self._batch.values():
            name = self._turn(member, change)
            if name:
                found.setdefault(name, []).append(member)
        self._batch.clear()
        if not found:
            return None
        self._number += 1
        parts = {name: tuple(members) for name, members in found.items()}
        return ViewChange(self._number, self._live, **parts)

    def _note(self, member: Member, change: MemberChange, now: int) -> None:
        if not self._batch:
            self._first_us = now
        self._latest_us = now
        self._batch[member.id] = (member, change)

    def _turn(self, member: Member, change: MemberChange) -> str:
        """Enter what is held now; return what that is to who knows the view before, or nothing."""
        before = self._told.get(member.id) or _Entry(_Held.NONE)
        now = _held(member, change)
        self._live += (now is _Held.LIVE) - (before.held is _Held.LIVE)
        if now is _Held.NONE:
            self._told.pop(member.id, None)
            return "" if before.held is _Held.NONE else "forgotten"
        entry = _Entry(now, member.epoch, member.version, member.address)
        self._told[member.id] = entry
        if now is not before.held:
            if now is _Held.LIVE:
                return "joined" if before.held is _Held.NONE else "returned"
            return "died" if now is _Held.DEAD else "left"
        if now is not _Held.LIVE or entry == before:
            return ""
        return "returned" if entry.epoch > before.epoch else "updated"


def _held(member: Member, change: MemberChange) -> _Held:
    if change is MemberChange.FORGOTTEN:
        return _Held.NONE
    if member.state is MemberState.DEAD:
        return _Held.DEAD
    return _Held.LEFT if member.state is MemberState.LEFT else _Held.LIVE
