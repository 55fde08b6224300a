"""The rumors a member holds: one version for each key, merged by the rule of the kind.

Owner kinds are keyed by their writer too, and only the writer's numbers count; last-writer kinds
take the largest (stamp, counter, writer, content hash); the join kinds compute value and version
from both sides, so that what a version on the wire says does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.reference.digest import sip_hash

KEY = tuple[int, bytes, bytes]


class Rumor(NamedTuple):
    """One version; ``value`` is None in a tombstone."""

    kind: int
    key: bytes
    origin: bytes
    a: int
    b: int
    value: bytes | None


@dataclass
class Held:
    """A rumor in the store; ``changed`` is when it was made, as far as known."""

    rumor: Rumor
    changed: int
    counted: bool


def rule_of(kind: int) -> str:
    """The merge rule that the number of a kind names."""
    for last, name in ((0, "none"), (63, "owner"), (127, "writer"), (159, "union"), (191, "max")):
        if kind <= last:
            return name
    return "none"


def key_of(rumor: Rumor) -> KEY:
    """What two versions of one rumor share."""
    return rumor.kind, rumor.key, rumor.origin if rule_of(rumor.kind) == "owner" else b""


def join(rumor: Rumor, held: Rumor | None) -> Rumor:
    """The least value above both, with the version that follows from it."""
    x, y = rumor.value or b"", (held.value if held else b"") or b""
    size = max(len(x), len(y))
    if rule_of(rumor.kind) == "union":
        x, y = x.ljust(size, b"\0"), y.ljust(size, b"\0")
        value = bytes(one | other for one, other in zip(x, y, strict=True))
        measure = sum(byte.bit_count() for byte in value)
    else:
        counters = [max(x[i : i + 8], y[i : i + 8]) for i in range(0, size, 8)]
        value = b"".join(counters)
        measure = sum(int.from_bytes(one, "big") & (1 << 60) - 1 for one in counters)
    origin = min(rumor.origin, held.origin) if held else rumor.origin
    return Rumor(rumor.kind, rumor.key, origin, measure & (1 << 63) - 1, 0, value)


class Rumors:
    """All rumors of one member; ``ring`` is the hash of the ring's name."""

    def __init__(self, ring: int) -> None:
        self.ring = ring
        self.held: dict[KEY, Held] = {}

    def content_hash(self, value: bytes | None) -> int:
        """The hash that stands for a value; 0 for none."""
        mask = (1 << 64) - 1
        return 0 if value is None else sip_hash(~self.ring & mask, self.ring, value)

    def rank(self, rumor: Rumor) -> tuple[int, int, bytes, int, bool]:
        """Versions of one key in their total order."""
        content = self.content_hash(rumor.value)
        return rumor.a, rumor.b, rumor.origin, content, rumor.value is None

    def merge(self, rumor: Rumor) -> Rumor | None:
        """What has to be stored now; None when nothing changes."""
        rule = rule_of(rumor.kind)
        held = self.held.get(key_of(rumor))
        if rule == "none":
            return None
        if rule in ("union", "max"):
            if rumor.value is None or (rule == "max" and len(rumor.value) % 8):
                return None
            joined = join(rumor, held.rumor if held else None)
            unchanged = held and (joined.value, joined.origin) == (
                held.rumor.value,
                held.rumor.origin,
            )
            return None if unchanged else joined
        if held and self.rank(rumor) <= self.rank(held.rumor):
            return None
        return rumor
