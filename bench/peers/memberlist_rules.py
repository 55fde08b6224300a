"""memberlist's parameters and formulas, its queue of broadcasts and its suspicions.

Written from the documented parameters and formulas of hashicorp/memberlist 0.7, none of it copied.
`bench.peers.memberlist_node` makes a node of them that runs in our simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

COMPOUND_BYTES = 2
"""A compound's header, and again per message in it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """memberlist's parameters, in µs; the values are its defaults for a local network."""

    probe_interval_us: int = 1_000_000
    probe_timeout_us: int = 500_000
    indirect_checks: int = 3
    suspicion_mult: int = 4
    suspicion_max_mult: int = 6
    gossip_interval_us: int = 200_000
    gossip_nodes: int = 3
    gossip_to_the_dead_us: int = 30_000_000
    retransmit_mult: int = 4
    push_pull_interval_us: int = 30_000_000
    awareness_max: int = 8

    def scaled(self, factor: float) -> Settings:
        """Return settings that probe faster (or slower) by a factor, all else unchanged."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("probe_interval_us", "probe_timeout_us"):
            values[name] = round(values[name] * factor)
        return Settings(**values)


def suspicion_timeout_us(mult: int, members: int, interval_us: int) -> int:
    """Return the least time between a suspicion and a death: it grows with log10 of the ring."""
    return int(mult * max(1.0, math.log10(max(1, members))) * interval_us)


def suspicion_remaining_us(
    confirmations: int, wanted: int, elapsed_us: int, least_us: int, most_us: int
) -> int:
    """Return how long a suspicion still runs: each independent accuser shortens it (Lifeguard)."""
    if wanted < 1:
        return least_us - elapsed_us
    share = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(least_us, int(most_us - share * (most_us - least_us))) - elapsed_us


def retransmit_limit(mult: int, members: int) -> int:
    """Return how many copies of one message a member sends."""
    return mult * math.ceil(math.log10(members + 1))


def push_pull_interval_us(base_us: int, members: int) -> int:
    """Return the time between two full exchanges: longer from 33 members on."""
    if members <= 32:
        return base_us
    return base_us * (math.ceil(math.log2(members) - math.log2(32)) + 1)


class Suspicion:
    """A running suspicion: who accuses, and how long it lasts with so many accusers."""

    __slots__ = ("accusers", "count", "least_us", "most_us", "start_us", "wanted")

    def __init__(self, accuser: int, wanted: int, least_us: int, most_us: int, now: int) -> None:
        self.accusers = {accuser}
        self.count = 0
        self.wanted = wanted
        self.least_us = least_us
        self.most_us = most_us
        self.start_us = now

    def confirm(self, accuser: int) -> bool:
        """Count an accuser; return whether it is news."""
        if self.count >= self.wanted or accuser in self.accusers:
            return False
        self.accusers.add(accuser)
        self.count += 1
        return True

    def remaining_us(self, now: int) -> int:
        """Return how long it still runs."""
        return suspicion_remaining_us(
            self.count, self.wanted, now - self.start_us, self.least_us, self.most_us
        )


class Broadcast:
    """One message that waits to be sent again."""

    __slots__ = ("data", "number", "size", "transmits")

    def __init__(self, data: bytes, size: int, number: int) -> None:
        self.data = data
        self.size = size
        self.number = number
        self.transmits = 0


class Queue:
    """Messages to send a limited number of times, the least sent first, then large, then new."""

    __slots__ = ("_items", "_number")

    def __init__(self) -> None:
        self._items: dict[object, Broadcast] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, name: object, data: bytes, size: int) -> None:
        """Queue a message; one of the same name is replaced."""
        self._number += 1
        self._items[name] = Broadcast(data, size, self._number)

    def take(self, space: int, limit: int) -> tuple[list[bytes], int]:
        """Return messages that fit into `space` bytes, and what is left of it."""
        items = self._items
        if not items:
            return [], space
        order: list[Any]
        if len(items) == 1:
            order = list(items.items())
        else:
            order = sorted(
                items.items(), key=lambda item: (item[1].transmits, -item[1].size, -item[1].number)
            )
        out = []
        for name, item in order:
            if item.size + COMPOUND_BYTES > space:
                if space < 40:
                    break
                continue
            space -= item.size + COMPOUND_BYTES
            out.append(item.data)
            item.transmits += 1
            if item.transmits >= limit:
                del items[name]
        return out, space
