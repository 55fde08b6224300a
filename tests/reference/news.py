"""What is told next, and how often: two lanes of news, each least-told first, then oldest.

SWIM 4.1 bounds how often an item is told by a multiple of the logarithm of the ring's size. Here it
is two ticks' copies whatever the size, because each tick also tells a neighbour in id order.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Lane:
    """Items that wait, with the copies told so far and their place in the line."""

    items: dict[Hashable, tuple[int, int]] = field(default_factory=dict)
    place: int = 0

    def put(self, item: Hashable, copies: int = 0) -> None:
        """Tell an item from the start, or again after some copies."""
        self.place += 1
        self.items[item] = (copies, self.place)

    def in_line(self) -> list[Hashable]:
        """All items, the next one first."""
        return sorted(self.items, key=self.items.__getitem__)


class News:
    """Both lanes, and the batch that is being told."""

    def __init__(self) -> None:
        self.members, self.rumors = Lane(), Lane()
        self.batch: list[tuple[Lane, Hashable, int]] = []

    def pending(self) -> int:
        """How many items wait."""
        return len(self.members.items) + len(self.rumors.items)

    def take(self, lane: Lane, item: Hashable) -> None:
        """The item goes into the batch; it has to be the next of its lane."""
        assert lane.items, f"{item!r} is told and not news"
        assert lane.in_line()[0] == item, f"{item!r} is told before {lane.in_line()[0]!r}"
        copies, _ = lane.items.pop(item)
        self.batch.append((lane, item, copies))

    def close(self, copies: int, fanout: int) -> list[Any]:
        """The batch went to so many members; gives the items that were told often enough."""
        limit = max(2 * fanout, 4)
        done = []
        for lane, item, before in self.batch:
            if before + copies < limit:
                lane.put(item, before + copies)
            else:
                done.append((lane, item))
        self.batch = []
        return done
