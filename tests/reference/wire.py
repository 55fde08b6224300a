"""The packet format, read and written with the msgpack library and nothing else of ours.

One table says what each message holds; everything else follows from it. Written from the list in
the design and from the msgpack specification: a difference to the core's reader is a bug in one of
the two.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]

PING, ACK, PING_REQ, NACK, RELAYED, STATUS, MEMBER, RUMOR, HEADER, JOIN, WELCOME = range(1, 12)
BUCKETS, SYNC, PULL, SYNCED, COMPARE = range(12, 17)
DATAGRAM_MESSAGES_MAX = 512
DEPTH_MAX = 8
CARD_BYTES_MAX = 700


class MalformedError(ValueError):
    """Not what the format says."""


def uint(bound: int) -> Callable[[Any], bool]:
    """An unsigned integer of at most ``bound``."""
    return lambda value: type(value) is int and 0 <= value <= bound


def octets(least: int, most: int) -> Callable[[Any], bool]:
    """So many bytes."""
    return lambda value: isinstance(value, bytes) and least <= len(value) <= most


def text(most: int) -> Callable[[Any], bool]:
    """A text of at most so many bytes of UTF-8."""
    return lambda value: isinstance(value, str) and 0 <= _size(value) <= most


def card(value: Any) -> bool:
    """``[name, {tag: value}]``."""
    if not isinstance(value, list) or len(value) != 2 or not text(64)(value[0]):
        return False
    tags = value[1]
    if not isinstance(tags, dict) or len(tags) > 32 or len(encode(value)) > CARD_BYTES_MAX:
        return False
    return all(text(64)(key) and text(256)(one) for key, one in tags.items())


def value_or_nil(value: Any) -> bool:
    """A rumor's value; nil when it is retracted."""
    return value is None or octets(0, 65_536)(value)


U32, U63, U64 = uint(2**32 - 1), uint(2**63 - 1), uint(2**64 - 1)
NAME = (U64, octets(0, 255), octets(16, 16), U63, U63)
FORMAT: dict[int, tuple[Callable[[Any], bool], ...]] = {
    PING: (U32, U64),
    ACK: (U32, U64),
    PING_REQ: (U32, U64, uint(60_000_000)),
    NACK: (U32, U64),
    RELAYED: (U32, U64, U32, U32),
    STATUS: (U64, uint(3), U32, U32, U64),
    MEMBER: (octets(16, 16), uint(3), U32, U32, U64, octets(18, 18), card, U32),
    RUMOR: (*NAME, value_or_nil, U32),
    HEADER: (*NAME, uint(65_536), U64),
    JOIN: (),
    WELCOME: (),
    BUCKETS: (octets(1024, 1024),),
    SYNC: (octets(16, 16),),
    PULL: (*NAME, U64),
    SYNCED: (octets(16, 16),),
    COMPARE: (octets(16, 16), uint(32), octets(0, 4_194_304)),
}
MAY_BE_MISSING: dict[int, Callable[[Any], bool]] = {
    WELCOME: octets(0, 16 * 18),
    SYNCED: octets(0, 4_194_304),
}


@dataclass
class Packet:
    """What could be read: the messages before the first malformed one."""

    version: int
    ring: int
    sender: int
    epoch: int
    incarnation: int
    messages: list[list[Any]]
    announced: int
    malformed: bool


def decode(data: bytes) -> Packet:
    """Read a packet.

    Raises:
        MalformedError: its head cannot be read.
    """
    reader = msgpack.Unpacker(
        io.BytesIO(data), strict_map_key=False, unicode_errors="surrogateescape"
    )
    try:
        count = reader.read_array_header()
        if count < 5 or count > len(data) - reader.tell():
            raise MalformedError("head")
        head = [reader.unpack() for _ in range(5)]
    except (msgpack.OutOfData, ValueError) as error:
        raise MalformedError("head") from error
    if not all(check(value) for check, value in zip((U64, U64, U64, U32, U32), head, strict=True)):
        raise MalformedError("head")
    packet = Packet(*head, messages=[], announced=count - 5, malformed=False)
    try:
        for _ in range(packet.announced):
            packet.messages.append(checked(reader.unpack()))
    except (msgpack.OutOfData, ValueError):
        packet.malformed = True
    return packet


def checked(message: Any) -> list[Any]:
    """A message whose fields are as the format says; more of them are a newer member's.

    Raises:
        MalformedError: they are not.
    """
    if not isinstance(message, list) or not message or not U64(message[0]):
        raise MalformedError("message")
    fields = FORMAT.get(message[0], ())
    if len(message) < 1 + len(fields):
        raise MalformedError("message is short")
    for check, value in zip(fields, message[1:], strict=False):
        if not check(value):
            raise MalformedError(f"field {value!r}")
    more = message[1 + len(fields) :]
    if more and message[0] in MAY_BE_MISSING:
        if not MAY_BE_MISSING[message[0]](more[0]):
            raise MalformedError(f"field {more[0]!r}")
        more = more[1:]
    for extra in more:
        if depth(extra) > DEPTH_MAX:
            raise MalformedError("nested too deep")
    return message


def depth(value: Any) -> int:
    """How deep a value nests; 1 for a plain one."""
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        return 1
    return 1 + max((depth(part) for part in parts), default=0)


def encode(value: Any) -> bytes:
    """The shortest msgpack of a value."""
    data: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return data


def size(messages: list[list[Any]], head: list[int]) -> int:
    """Bytes of a datagram; its count of elements always takes two bytes."""
    return 3 + sum(len(encode(part)) for part in (*head, *messages))


def _size(value: str) -> int:
    # Bytes that were no UTF-8 came in as lone surrogates.
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        return -1
