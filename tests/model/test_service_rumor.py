"""Service rumors: round trips, bounds on both sides, bytes from strangers."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.model.health import OUTPUT_BYTES_MAX, Health
from sup.model.service_rumor import (
    RUMOR_BYTES_MAX,
    ServiceRumor,
    ServiceRumorError,
    decode,
    encode,
    tail,
)

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_key = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    _text,
)
_value = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)


def _is_shown(value: Any) -> bool:
    return not isinstance(value, str) or value.isprintable()


_rumors = st.builds(
    ServiceRumor,
    service=st.sampled_from(["redis", "my-app", "_x"]),
    group=st.sampled_from(["default", "blue"]),
    package=_text,
    process=st.sampled_from(["up", "down", "backoff"]),
    health=st.sampled_from(Health),
    health_since_s=st.integers(0, 1 << 39),
    output=_text,
    exports=st.dictionaries(_key, _value, max_size=4),
    sys=st.dictionaries(_key, _scalar.filter(_is_shown), max_size=4),
    config_version=_text,
)


def _wire(**changes: Any) -> dict[str, Any]:
    wire = msgspec.msgpack.decode(encode(ServiceRumor("redis", "default", sys={"ip": "::1"})))
    return {**wire, **changes}


@given(_rumors)
def test_encode_then_decode_gives_the_same_rumor(rumor: ServiceRumor) -> None:
    """Every field survives gossip with its type."""
    assert decode(encode(rumor)) == rumor


@given(st.binary(max_size=64))
def test_decode_any_bytes_raise_the_typed_error_only(data: bytes) -> None:
    """Remote bytes never raise anything else."""
    with pytest.raises(ServiceRumorError):
        decode(data)


@given(st.data())
def test_decode_damaged_rumor_raises_the_typed_error_or_decodes(data: st.DataObject) -> None:
    """One flipped byte anywhere in a real rumor; what is accepted can be gossiped on."""
    rumor = ServiceRumor("a", "b", exports={"p": [1, {"x": 2.5}]}, sys={"ip": "10.0.0.1", "n": 7})
    good = bytearray(encode(rumor))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(bytes(good))
    except ServiceRumorError:
        return
    assert decode(encode(read)) == read


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"service": ""},
        {"service": "a/b"},
        {"service": "a\n"},
        {"group": "x" * 65},
        {"package": "x" * 257},
        {"process": "x" * 33},
        {"health": -1},
        {"health": "ok"},
        {"health_since_s": -1},
        {"health_since_s": 1 << 40},
        {"output": "x" * (OUTPUT_BYTES_MAX + 1)},
        {"output": None},
        {"exports": {str(i): 1 for i in range(65)}},
        {"exports": {"": 1}},
        {"exports": {"p": b"bytes"}},
        {"exports": {"p": {1: 2}}},
        {"exports": {"p": {b"k": 2}}},
        {"exports": {"p": float("nan")}},
        {"exports": {"p": (1 << 64) - 1}},
        {"exports": {"p": [[[[[[[[[1]]]]]]]]]}},
        {"exports": {"p": msgspec.msgpack.Ext(5, b"x")}},
        {"exports": {"p": [1] * 17000}},
        {"sys": {"ip": [1]}},
        {"sys": {"ip": float("nan")}},
        {"sys": {str(i): 1 for i in range(33)}},
        {"topology": "a b"},
        {"strategy": ""},
        {"config_version": "x" * 65},
    ],
)
def test_decode_field_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    """Each known field has its bound; a rumor that breaks one is dropped whole."""
    decode(msgspec.msgpack.encode(_wire()))
    with pytest.raises(ServiceRumorError):
        decode(msgspec.msgpack.encode(_wire(**changes)))


def test_decode_deep_nesting_is_refused_without_recursion_error() -> None:
    """Nesting that would exhaust the stack is a typed error."""
    data = msgspec.msgpack.encode(_wire(exports={"p": None}))
    deep = data.replace(b"\xa1p\xc0", b"\xa1p" + b"\x91" * 9000 + b"\xc0")
    assert deep != data
    with pytest.raises(ServiceRumorError):
        decode(deep)


def test_decode_ignores_unknown_fields_and_later_health_words() -> None:
    """A later version may say more; what is not understood is unknown, not lost."""
    read = decode(msgspec.msgpack.encode(_wire(health=9, suitability=[1, 2])))
    assert read.health is Health.UNKNOWN
    assert read.service == "redis"


def test_encode_dates_become_text() -> None:
    """An exported TOML date arrives as ISO text."""
    rumor = ServiceRumor("a", "b", exports={"since": {"d": [date(2024, 2, 29)]}})
    assert decode(encode(rumor)).exports == {"since": {"d": ["2024-02-29"]}}


def test_encode_keeps_the_tail_of_a_long_output() -> None:
    """The end of a check's output says why it failed; a character is never cut in two."""
    read = decode(encode(ServiceRumor("a", "b", output="x" * 3000 + "é" * 100 + "why")))
    assert read.output.endswith("éwhy")
    assert len(read.output.encode()) <= OUTPUT_BYTES_MAX
    assert tail("é" * 600) == "é" * 512
    assert tail("a" + "é" * 512) == "é" * 512


def test_encode_too_large_says_what_to_do() -> None:
    """The owner learns it, not the ring."""
    with pytest.raises(ServiceRumorError, match=f"limit is {RUMOR_BYTES_MAX}; export fewer"):
        encode(ServiceRumor("redis", "b", exports={"p": "x" * RUMOR_BYTES_MAX}))
    with pytest.raises(ServiceRumorError):
        encode(ServiceRumor("a", "b", exports={"p": 1 << 70}))


@pytest.mark.parametrize("ip", ["10.0.0.1\nrequirepass x", "10.0.0.1\x1b[2J", "\u2028"])
def test_decode_sys_that_is_not_printable_is_refused(ip: str) -> None:
    """``{{svc.leader.sys.ip}}`` must not write lines of its own into somebody's configuration."""
    with pytest.raises(ServiceRumorError, match="can't be shown"):
        decode(msgspec.msgpack.encode(_wire(sys={"ip": ip})))
