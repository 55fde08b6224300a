"""Maintenance: services that an operator has taken out of use, why, and for how long (pure).

A service in maintenance runs on and is checked, but is not ready: others don't use it, and no
failed check restarts it. An end is a time that the operator asked for; what it means after the
clock was set, or the host was started anew, is decided here. Within one boot the kernel's count of
seconds since the boot decides, which no clock setting moves and which goes on while the host
sleeps. After another boot only the wall clock is left: then the rest is what the wall clock says,
and never more than was asked for in the first place, counted from the moment that the file is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from sup.errors import OperatorError
from sup.model.health import MAINTENANCE_CHARS_MAX

ALL = "*"
"""In the place of a service's name: every service of the supervisor, also of later ones."""
ENTRIES_MAX = 512
"""Services that may be in maintenance; twice what a supervisor loads."""
FOR_S_MAX = 366 * 86400.0
FORMAT = 1


class MaintenanceError(ValueError):
    """Bytes that are no list of maintenances."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: Unix seconds for people, and seconds since the boot ``boot_id`` for deciding."""

    wall_s: float
    boot_s: float
    boot_id: str


class Entry(msgspec.Struct, frozen=True):
    """One maintenance. ``for_s`` is what was asked for (None: until it is ended by hand)."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    reason: Annotated[str, Meta(max_length=MAINTENANCE_CHARS_MAX)]
    since_wall_s: float
    boot_id: str
    for_s: Annotated[float, Meta(gt=0.0, le=FOR_S_MAX)] | None = None
    until_wall_s: float | None = None
    until_boot_s: float | None = None

    def left_s(self, now: Moment) -> float | None:
        """Seconds that are left, at most ``for_s``; 0 or less: over; None: no end."""
        if self.for_s is None or self.until_wall_s is None or self.until_boot_s is None:
            return None
        if now.boot_id == self.boot_id:
            return min(self.until_boot_s - now.boot_s, self.for_s)
        return min(self.until_wall_s - now.wall_s, self.for_s)


class _File(msgspec.Struct, frozen=True):
    v: int
    entries: Annotated[list[Entry], Meta(max_length=ENTRIES_MAX)]


def entry(name: str, reason: str, for_s: float | None, now: Moment) -> Entry:
    """A maintenance that begins now.

    Raises:
        OperatorError: there is no reason, it has more than a line, or the time is out of bounds.
    """
    reason = reason.strip()
    if not reason:
        raise OperatorError("a maintenance needs a reason; say why with --reason TEXT")
    if len(reason) > MAINTENANCE_CHARS_MAX or not reason.isprintable():
        raise OperatorError(
            f"the reason has {len(reason)} characters, it may have {MAINTENANCE_CHARS_MAX},"
            " all printable, in one line"
        )
    if for_s is not None and not 0 < for_s <= FOR_S_MAX:
        raise OperatorError(
            f"a maintenance of {for_s:g} s is out of bounds; it lasts up to {FOR_S_MAX:g} s,"
            " or until it is ended by hand"
        )
    return Entry(
        name=name,
        reason=reason,
        since_wall_s=now.wall_s,
        boot_id=now.boot_id,
        for_s=for_s,
        until_wall_s=None if for_s is None else now.wall_s + for_s,
        until_boot_s=None if for_s is None else now.boot_s + for_s,
    )


class MaintenanceList:
    """The maintenances of one supervisor, by the name of the service or ``ALL``."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.name: entry for entry in entries}

    @property
    def entries(self) -> list[Entry]:
        """All, by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def __bool__(self) -> bool:
        return bool(self._entries)

    def reason(self, name: str) -> str:
        """Why the service ``name`` is in maintenance, or empty."""
        found = self._entries.get(name) or self._entries.get(ALL)
        return "" if found is None else found.reason

    def add(self, entry: Entry) -> None:
        """Begin, or replace the one of that name. Raises ``OperatorError`` when there are too
        many.
        """
        if entry.name not in self._entries and len(self._entries) >= ENTRIES_MAX:
            raise OperatorError(f"{ENTRIES_MAX} maintenances are on, the limit; end one")
        self._entries[entry.name] = entry

    def end(self, name: str) -> list[Entry]:
        """End the one of a service, or with ``ALL`` every one; returns those ended."""
        names = list(self._entries) if name == ALL else [name]
        return [self._entries.pop(n) for n in names if n in self._entries]

    def expire(self, now: Moment) -> list[Entry]:
        """End those whose time is over; returns them."""
        over = []
        for entry in list(self._entries.values()):
            left_s = entry.left_s(now)
            if left_s is not None and left_s <= 0:
                over.append(self._entries.pop(entry.name))
        return over

    def rebase(self, now: Moment) -> None:
        """After reading them in another boot: from here on this boot's count decides."""
        for name, old in self._entries.items():
            left_s = old.left_s(now)
            if old.boot_id != now.boot_id:
                self._entries[name] = msgspec.structs.replace(
                    old,
                    boot_id=now.boot_id,
                    until_wall_s=None if left_s is None else now.wall_s + left_s,
                    until_boot_s=None if left_s is None else now.boot_s + left_s,
                )

    def encode(self) -> bytes:
        """The bytes that ``decode`` reads."""
        return msgspec.json.encode(_File(FORMAT, list(self._entries.values())))

    @classmethod
    def decode(cls, data: bytes) -> MaintenanceList:
        """Read what ``encode`` wrote. Raises ``MaintenanceError``."""
        try:
            file = msgspec.json.decode(data, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MaintenanceError(str(error)) from None
        if file.v != FORMAT:
            raise MaintenanceError(f"format {file.v}, this release reads {FORMAT}")
        return cls(file.entries)
