"""A departure: an operator's word that a member is gone for good (pure).

It is a last-writer rumor under the member's id and names the epoch it is about. A member that hears
its own departure leaves the ring; a dead one is shown as ``left``. Whoever starts that supervisor
again does so on purpose: the new epoch is not departed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from sup_core.events import Member, Rumor

KIND = 65
"""Rumor kind: last writer, keyed by the 16-byte member id."""
BY_BYTES_MAX = 256
ID_PREFIX_MIN = 8
"""Hexadecimal digits of an id that may stand for all of it: a departure can't be taken back."""


class DepartureError(ValueError):
    """The bytes of a departure rumor are not of its form."""


@dataclass(frozen=True, slots=True)
class Departure:
    """``epoch`` is the newest start of the member that this departure is about."""

    epoch: int
    by: str
    """Name of the supervisor that the operator told."""


def encode_departure(departure: Departure) -> bytes:
    """msgpack array ``[epoch, by]``."""
    return msgspec.msgpack.encode((departure.epoch, departure.by[:BY_BYTES_MAX]))


def decode_departure(value: bytes) -> Departure:
    """Read ``encode_departure``'s bytes. Raises ``DepartureError``."""
    try:
        epoch, by = msgspec.msgpack.decode(value, type=tuple[int, str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DepartureError(str(error)) from None
    return Departure(epoch, by[:BY_BYTES_MAX])


def departures(rumors: Iterable[Rumor]) -> dict[bytes, Departure]:
    """Departures by member id; malformed ones are left out."""
    found = {}
    for rumor in rumors:
        if rumor.value is None:
            continue
        try:
            found[rumor.key] = decode_departure(rumor.value)
        except DepartureError:
            continue
    return found


def members_meant(members: Iterable[Member], word: str) -> list[Member]:
    """Whom an operator means: those with this name, else those whose id begins so.

    A name wins, because it may look like the beginning of somebody else's id.
    """
    known = list(members)
    named = [member for member in known if member.name == word]
    if named or len(word) < ID_PREFIX_MIN:
        return named
    return [member for member in known if member.id.hex().startswith(word)]


def state_of(member: Member, departed: Mapping[bytes, Departure]) -> str:
    """``alive``, ``suspect``, ``dead`` or ``left``, a departure taken into account."""
    departure = departed.get(member.id)
    if departure is not None and departure.epoch >= member.epoch:
        return "left"
    return member.state.name.lower()
