"""Packets written and read with the msgpack library, so that tests do not trust the codec they
test."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from sup_core.identity import ring_hash
from sup_core.node import Node

PING, ACK, PING_REQ, NACK, RELAYED, STATUS, MEMBER, RUMOR, HEADER, JOIN, WELCOME = range(1, 12)
ALIVE, SUSPECT, DEAD, LEFT = range(4)
RING = "test"


def short(member_id: bytes) -> int:
    """The short form of an id."""
    return int.from_bytes(member_id[:8], "big")


def packet(
    sender: bytes,
    *messages: list[Any],
    epoch: int = 1,
    incarnation: int = 0,
    ring: str = RING,
    version: int = 1,
) -> bytes:
    """A packet as the msgpack library writes it."""
    head = [version, ring_hash(ring), short(sender), epoch, incarnation]
    data: bytes = msgpack.packb([*head, *messages])
    return data


def card(
    member_id: bytes,
    name: str,
    address: bytes,
    *,
    state: int = ALIVE,
    epoch: int = 1,
    incarnation: int = 0,
    version: int | None = None,
    tags: dict[str, str] | None = None,
) -> list[Any]:
    """A MEMBER message."""
    number = epoch << 16 if version is None else version
    return [MEMBER, member_id, state, epoch, incarnation, number, address, [name, tags or {}], 0]


def rumor(kind: int, key: bytes, origin: bytes, a: int, b: int, value: bytes | None) -> list[Any]:
    """A RUMOR message."""
    return [RUMOR, kind, key, origin, a, b, value, 0]


def read(data: bytes) -> tuple[list[Any], list[list[Any]]]:
    """Head and messages of a packet as the msgpack library reads it."""
    values = msgpack.unpackb(data, strict_map_key=False)
    return values[:5], values[5:]


def sent(node: Node) -> list[tuple[bytes, list[list[Any]]]]:
    """Everything a node wants sent now: (address, messages)."""
    found = []
    while (parcel := node.poll_transmit()) is not None:
        found.append((parcel[0], read(parcel[1])[1]))
    return found


def tags_of(messages: list[list[Any]]) -> list[int]:
    """The integer tags of messages."""
    return [message[0] for message in messages]


def awake(node: Node, now: int) -> None:
    """Let a node that time was kept from read and fire a moment ago: it stood still until then, and
    what comes at ``now`` is fresh to it again."""
    before = now - 1_050_000
    node.handle_timeout(before)
    node.handle_datagram(packet(b"nobody that it knows"[:16]), bytes(18), before)
    sent(node)
