"""What the fuzzer feeds: one function per kind of remote bytes, each with what must hold after it.

A target takes any bytes, makes a fresh node that knows two members, hands the bytes in as a driver
would and drains what comes out. Whatever happens inside a ``noexcept`` function of the core would
only be printed, so a hook turns that into a failure too. The same functions run under atheris
(``guided.py``) and over the committed corpus in the ordinary tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]

from sup.edge.streams import StreamCounters, StreamServer
from sup_core.config import Config
from sup_core.errors import SnapshotError
from sup_core.events import MemberState
from sup_core.identity import ring_hash
from sup_core.limits import DATAGRAM_BYTES_MAX, STREAM_BYTES_MAX
from sup_core.node import Node

RING = "test"
SECOND = 1_000_000
STEPS_MAX = 16
"""Datagrams per input; more add time and no reach."""
ADVANCES = (0, 1_000, 300_000, 5 * SECOND)
_loop = asyncio.new_event_loop()
_unraisable: list[str] = []


def member_id(index: int) -> bytes:
    """A full id whose short form tells the index."""
    return bytes([index + 1]) * 8 + bytes(8)


def address(index: int) -> bytes:
    """10.0.0.x:9638."""
    return bytes(10) + b"\xff\xff" + bytes([10, 0, 0, index]) + (9638).to_bytes(2, "big")


def packet(sender: int, *messages: list[Any]) -> bytes:
    """A packet as the msgpack library writes it."""
    short = int.from_bytes(member_id(sender)[:8], "big")
    data: bytes = msgpack.packb([1, ring_hash(RING), short, 1, 0, *messages])
    return data


def tags_in(data: bytes) -> set[int]:
    """The kinds of message that bytes seem to hold: a small array that begins with a tag."""
    heads = [data[at + 1] for at in range(len(data) - 1) if 0x90 <= data[at] <= 0x99]
    return {tag for tag in heads if 1 <= tag <= 16}


def card(index: int) -> list[Any]:
    """A MEMBER message of a member."""
    return [7, member_id(index), 0, 1, 0, 1 << 16, address(index), [f"m{index}", {}], 0]


def acquainted() -> Node:
    """A node that knows members 1 and 2 and a rumor of its own."""
    node = Node(
        Config(),
        member_id=member_id(0),
        name="m0",
        ring=RING,
        address=address(0),
        epoch=1,
        seed=1,
        now=0,
    )
    for index in (1, 2):
        node.handle_datagram(packet(index, [10], card(index)), address(index), 0)
    node.publish(1, b"key", b"value", 0)
    drain(node)
    return node


def readable(data: bytes) -> list[Any]:
    """The values of a packet; a reader of any language takes it, so every text is UTF-8."""
    values: list[Any] = msgpack.unpackb(data, strict_map_key=False)
    return values


def drain(node: Node) -> None:
    """Take everything out; what leaves must be a packet that others can read."""
    while (parcel := node.poll_transmit()) is not None:
        assert len(parcel[1]) <= DATAGRAM_BYTES_MAX
        values = readable(parcel[1])
        assert values[1] == ring_hash(RING)
        assert all(isinstance(message[0], int) for message in values[5:])
    while node.poll_event() is not None:
        pass
    while (request := node.poll_request()) is not None:
        node.handle_response(request[0], None, 0)


def datagram(data: bytes) -> None:
    """Datagrams in a row: a control byte (source, time that passes), two of length, the bytes."""
    node = acquainted()
    now, at = 0, 0
    for _ in range(STEPS_MAX):
        if at + 3 > len(data):
            break
        control = data[at]
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        body = data[at + 3 : at + 3 + size]
        at += 3 + size
        now += ADVANCES[control >> 2 & 3]
        node.handle_datagram(body, address(1 + (control & 3)), now)
        if node.next_timeout() <= now:
            node.handle_timeout(now)
        drain(node)
    healthy(node)


def stream(data: bytes) -> None:
    """A byte that chooses: a request, a response that is awaited, or the frame of the edge."""
    if not data:
        return
    node = acquainted()
    choice, body = data[0] % 3, data[1:]
    if choice == 0:
        answer = node.handle_request(body, address(1), SECOND)
        assert len(answer) <= STREAM_BYTES_MAX
        if answer:
            assert readable(answer)[1] == ring_hash(RING)
    elif choice == 1:
        node.handle_datagram(packet(1, [11], card(1)), address(1), SECOND)
        request = node.poll_request()
        assert request is not None
        node.handle_response(request[0], body, SECOND)
    else:
        request_bytes = framed(body)
        node.handle_request(request_bytes, address(1), SECOND)
    drain(node)
    healthy(node)


def framed(data: bytes) -> bytes:
    """The request that the edge reads off these bytes; no loop runs, so nothing may wait."""
    server = StreamServer(lambda request, source: b"", StreamCounters())
    reader = asyncio.StreamReader(loop=_loop)
    reader.feed_data(data)
    reader.feed_eof()
    reading = server._read_request(reader)
    try:
        reading.send(None)
    except StopIteration as stop:
        request: bytes = stop.value
        size = int.from_bytes(data[:4], "big")
        assert request == (data[4 : 4 + size] if size <= STREAM_BYTES_MAX else b"")
        return request
    except asyncio.IncompleteReadError:
        return b""
    raise AssertionError("the reader waits for bytes after the end of the stream")


def snapshot(data: bytes) -> None:
    """A snapshot from disk: taken or refused, and what is saved then can be loaded."""
    node = acquainted()
    with contextlib.suppress(SnapshotError):
        node.load(data, SECOND)
    drain(node)
    healthy(node)
    other = acquainted()
    other.load(node.snapshot(), SECOND)
    assert {(r.kind, r.key) for r in node.rumors()} <= {(r.kind, r.key) for r in other.rumors()}


def healthy(node: Node) -> None:
    """What no remote bytes may change."""
    local = node.local()
    assert (local.id, local.state, local.epoch) == (member_id(0), MemberState.ALIVE, 1)
    node.members()
    node.rumors()
    assert node.rumor(1, b"key") is not None
    assert node.next_timeout() < 1 << 62
    if _unraisable:
        raise AssertionError(f"raised inside the core: {_unraisable}")


def watch_unraisable() -> None:
    """Keep what the core can only print, for ``healthy`` to raise."""
    sys.unraisablehook = lambda found: _unraisable.append(repr(found.exc_value))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "datagram": datagram,
    "stream": stream,
    "snapshot": snapshot,
}
