"""The launcher's own msgpack against the library that the supervisor uses."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.launcher.wire import DEPTH_MAX, MESSAGE_BYTES_MAX, WireError, pack, unpack

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=300),
    st.binary(max_size=300),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.dictionaries(st.text("abc", max_size=3), inner, max_size=20),
    ),
    max_leaves=30,
)
MAPS = st.dictionaries(st.text("abcdef", max_size=40), VALUES, max_size=20)


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=-1)


@given(MAPS)
def test_wire_and_library_read_each_other(value: dict[str, object]) -> None:
    """Whatever one end may send, the other end reads the same."""
    if depth(value) > DEPTH_MAX:
        with pytest.raises(WireError):
            pack(value)
        return
    assert msgspec.msgpack.decode(pack(value)) == value
    assert unpack(msgspec.msgpack.encode(value)) == value


@given(st.binary(max_size=200))
def test_unpack_any_bytes_is_a_map_or_a_wire_error(data: bytes) -> None:
    """Nothing that comes in can end the launcher."""
    with contextlib.suppress(WireError):
        assert isinstance(unpack(data), dict)


@given(MAPS, st.data())
def test_unpack_cut_message_is_refused(value: dict[str, object], data: st.DataObject) -> None:
    """Half a message is none."""
    whole = msgspec.msgpack.encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WireError):
        unpack(whole[:cut])


@pytest.mark.parametrize("value", [1.5, object(), {1.0}, 1 << 64, -(1 << 63) - 1])
def test_pack_what_the_protocol_has_not_is_refused(value: object) -> None:
    """Floats and the rest are a mistake of the caller."""
    with pytest.raises(WireError):
        pack({"x": value})


def test_pack_too_large_says_value_and_limit() -> None:
    """The bound is in the message."""
    with pytest.raises(WireError, match=str(MESSAGE_BYTES_MAX)):
        pack({"x": b"x" * MESSAGE_BYTES_MAX})


@pytest.mark.parametrize(
    "data",
    [b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x81\xa1x" + b"\x91" * 100 + b"\x00"],
)
def test_unpack_bombs_are_refused_at_once(data: bytes) -> None:
    """A header that promises much is not believed."""
    with pytest.raises(WireError):
        unpack(data)
