"""The packet format, held against the msgpack library in both directions."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rings import address, member_id
from wire import (
    ACK,
    DEAD,
    JOIN,
    MEMBER,
    PING,
    RUMOR,
    WELCOME,
    card,
    packet,
    read,
    rumor,
    sent,
    short,
)

from sup_core.config import Config
from sup_core.events import MemberState
from sup_core.identity import ring_hash
from sup_core.node import Node

ME, YOU, THIRD = member_id(0), member_id(1), member_id(2)


def make(seed: int = 1, **options: object) -> Node:
    """A node that knows nobody."""
    return Node(
        Config(),
        member_id=ME,
        name="me",
        ring="test",
        address=address(0),
        epoch=3,
        seed=seed,
        now=0,
        **options,  # type: ignore[arg-type]
    )


def acquainted() -> Node:
    """A node that knows member 1 and has nothing left to send."""
    node = make()
    node.handle_datagram(packet(YOU, [JOIN], card(YOU, "you", address(1))), address(1), 0)
    sent(node)
    return node


def test_packet_of_a_node_is_one_msgpack_array_with_the_documented_head() -> None:
    """Version, ring hash, sender's short id, epoch, incarnation, then messages."""
    node = make()
    node.join([address(1)], 0)
    target, data = node.poll_transmit() or pytest.fail("nothing sent")
    head, messages = read(data)
    assert target == address(1)
    assert head == [1, ring_hash("test"), short(ME), 3, 0]
    assert messages[0][0] == JOIN
    assert messages[1][:3] == [MEMBER, ME, 0]
    assert messages[1][6:8] == [address(0), ["me", {}]]


def test_ping_written_by_msgpack_is_acked_with_the_same_sequence() -> None:
    """The answer carries the sequence number and the digest."""
    node = acquainted()
    node.handle_datagram(packet(YOU, [PING, 4711, node.digest()]), address(1), 10)
    (target, messages), *_ = sent(node)
    assert target == address(1)
    assert messages[0] == [ACK, 4711, node.digest()]


def test_join_is_welcomed_with_the_own_card() -> None:
    """A seed shows itself to who greets it."""
    node = make()
    node.handle_datagram(packet(YOU, [JOIN], card(YOU, "you", address(1))), address(1), 0)
    welcome = [messages for _, messages in sent(node) if messages[0] == [WELCOME]]
    assert welcome
    assert welcome[0][1][1] == ME
    assert node.member(YOU) is not None


def test_packet_of_another_ring_is_dropped_and_told_once() -> None:
    """Two rings on one network never merge."""
    node = make()
    for number in range(3):
        data = packet(YOU, [JOIN], card(YOU, "you", address(1)), ring="other")
        node.handle_datagram(data, address(1), number)
    assert node.counters()["dropped_foreign_ring"] == 3
    assert [event.what for event in _events(node)] == ["foreign_ring"]
    assert len(node.members()) == 1


def test_packet_of_a_far_version_is_dropped() -> None:
    """N+1 is read, anything further is not."""
    node = acquainted()
    node.handle_datagram(packet(YOU, [PING, 1, 0], version=3), address(1), 1)
    assert node.counters()["dropped_version"] == 1
    node.handle_datagram(packet(YOU, [PING, 1, 0], version=2), address(1), 1)
    assert sent(node)


def test_unknown_messages_and_extra_elements_are_skipped() -> None:
    """A newer member may say more; what is known is still understood."""
    node = acquainted()
    strange = [99, {"a": [1, 2, {"b": None}]}, -5, 1.5, True, msgpack.ExtType(7, b"xyz")]
    data = packet(YOU, strange, [PING, 5, 0, "new", [1]])
    node.handle_datagram(data, address(1), 1)
    assert any([ACK, 5, node.digest()] in messages for _, messages in sent(node))
    assert node.counters()["dropped_malformed"] == 0
    assert node.counters()["unknown_message"] == 1


def test_nesting_deeper_than_the_bound_is_malformed() -> None:
    """A tower of arrays costs neither stack nor time."""
    node = acquainted()
    tower: list[object] = []
    for _ in range(500):
        tower = [tower]
    node.handle_datagram(packet(YOU, [99, tower]), address(1), 1)
    assert node.counters()["dropped_malformed"] == 1


def test_announced_counts_beyond_the_packet_are_malformed() -> None:
    """A count is checked against the bytes that are left before anything is done with it."""
    node = acquainted()
    data = b"\xdd\xff\xff\xff\xff" + packet(YOU, [PING, 1, 0])[1:]
    node.handle_datagram(data, address(1), 1)
    assert node.counters()["dropped_malformed"] == 1


def test_short_id_of_another_member_is_refused_loudly() -> None:
    """Trap 16: a card whose short id is known under another full id."""
    node = acquainted()
    clash = YOU[:8] + bytes(8)
    node.handle_datagram(packet(YOU, card(clash, "evil", address(9))), address(1), 1)
    assert node.member(clash) is None
    assert node.member(YOU).name == "you"  # type: ignore[union-attr]
    assert "short_id_clash" in [getattr(event, "what", "") for event in _events(node)]


def told_card(name: bytes, tag: bytes = b"") -> Node:
    """A node that was told of a member with these bytes as its name and as a tag's value."""
    node = acquainted()
    raw = msgpack.packb([name, {b"zone": tag}], use_bin_type=False)
    item = card(THIRD, "", address(2))
    item[7] = msgpack.ExtType(1, b"here")
    data = packet(YOU, item).replace(msgpack.packb(item[7]), raw)
    node.handle_datagram(data, address(1), 1)
    return node


def is_utf8(data: bytes) -> bool:
    """What the standard library takes."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_card_that_is_no_utf8_is_malformed_and_not_passed_on() -> None:
    """A strict reader of another language would fail on a packet of an honest member."""
    for node in (told_card(b"\xff\xfec"), told_card(b"abc", b"\xed\xa0\x80")):
        assert node.member(THIRD) is None
        assert node.counters()["dropped_malformed"] == 1
        node.handle_timeout(3_000_000)
        for _, messages in sent(node):
            assert MEMBER not in [m[0] for m in messages if m[1:2] == [THIRD]]


@pytest.mark.parametrize("lead", [0x00, 0x7F, 0x80, 0xC1, *range(0xC2, 0x100, 3), 0xE0, 0xED])
def test_utf8_is_what_the_standard_library_takes(lead: int) -> None:
    """Overlong forms, surrogates and what is past the last code point, byte by byte."""
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
    for second in edges:
        for rest in (b"", b"\x80", b"\xbf\x80", b"\x80\x80a", b"\x80a", b"\xc0\x80"):
            name = b"a" + bytes([lead, second]) + rest
            assert (told_card(name).member(THIRD) is not None) == is_utf8(name), name


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=12), st.text(max_size=4).map(str.encode)),
    st.one_of(st.binary(max_size=12), st.text(max_size=4).map(str.encode)),
)
def test_card_of_any_bytes_is_taken_when_it_is_utf8(name: bytes, tag: bytes) -> None:
    """Name and tags, whatever their bytes."""
    node = told_card(name, tag)
    assert (node.member(THIRD) is not None) == (is_utf8(name) and is_utf8(tag))
    if member := node.member(THIRD):
        assert (member.name.encode(), member.tags["zone"].encode()) == (name, tag)


def test_incarnation_jump_over_the_bound_is_not_believed() -> None:
    """Trap 13: a forged maximum could never be refuted."""
    node = acquainted()
    accusation = [6, short(YOU), DEAD, 1, 2**32 - 1, short(THIRD)]
    node.handle_datagram(packet(YOU, accusation), address(1), 1)
    assert node.member(YOU).state == MemberState.ALIVE  # type: ignore[union-attr]
    assert node.counters()["evidence_refused"] == 1


@settings(max_examples=100, deadline=None)
@given(
    key=st.binary(max_size=255),
    value=st.binary(max_size=900),
    a=st.integers(0, 2**63 - 1),
    b=st.integers(0, 2**63 - 1),
    kind=st.integers(1, 127),
)
def test_rumor_written_by_msgpack_is_held_and_told_alike(
    key: bytes, value: bytes, a: int, b: int, kind: int
) -> None:
    """Every width of every field survives both directions."""
    node = acquainted()
    node.handle_datagram(packet(YOU, rumor(kind, key, YOU, a, b, value)), address(1), 1_000_000)
    held = node.rumor(kind, key, YOU)
    assert held is not None
    assert (held.value, held.version.a, held.version.b) == (value, a, b)
    told = [m for _, messages in sent(node) for m in messages if m[0] == RUMOR]
    assert rumor(kind, key, YOU, a, b, value) in told


@settings(max_examples=100, deadline=None)
@given(
    name=st.text(min_size=1, max_size=16),
    tags=st.dictionaries(st.text(max_size=12), st.text(max_size=24), max_size=6),
)
def test_card_of_a_node_survives_the_wire(name: str, tags: dict[str, str]) -> None:
    """Names and tags arrive as they were given."""
    source = Node(
        Config(),
        member_id=YOU,
        name=name,
        ring="test",
        address=address(1),
        epoch=1,
        seed=1,
        now=0,
        tags=tags,
    )
    source.join([address(0)], 0)
    _, data = source.poll_transmit() or pytest.fail("nothing sent")
    node = make()
    node.handle_datagram(data, address(1), 0)
    found = node.member(YOU)
    assert found is not None
    assert (found.name, found.tags) == (name, tags)


def _events(node: Node) -> list:  # type: ignore[type-arg]
    found = []
    while (event := node.poll_event()) is not None:
        found.append(event)
    return found
