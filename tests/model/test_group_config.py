"""Group configuration: round trips, compare-and-set, and bytes from strangers."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import ConflictError, ExitCode, OperatorError
from sup.model.config_layers import ConfigTypeError
from sup.model.group_config import (
    GroupConfig,
    GroupConfigError,
    apply_patch,
    decode,
    encode,
    version_text,
)
from sup_core.events import Version

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_scalars = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    _text,
    st.dates(min_value=date(1000, 1, 1)),
    st.times(),
    st.datetimes(min_value=datetime(1000, 1, 1)),
    st.datetimes(
        min_value=datetime(1000, 1, 2),
        max_value=datetime(9999, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))]),
    ),
)
_tables = st.dictionaries(
    _text,
    st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(_tables, _text, st.integers(0, 1 << 33))
def test_encode_then_decode_gives_the_same_config(
    table: dict[str, Any], author: str, stamp_s: int
) -> None:
    """Every TOML type survives gossip, dates and offsets included, with its type."""
    config = GroupConfig(table, author, stamp_s)
    back = decode(encode(config))
    assert back == config
    assert repr(sorted(back.table.items(), key=repr)) == repr(sorted(table.items(), key=repr)) or (
        encode(back) == encode(config)
    )


def test_encode_equal_tables_are_equal_bytes() -> None:
    """Key order is not content."""
    one = GroupConfig({"a": 1, "b": {"x": 1, "y": [{"p": 1, "q": 2}]}})
    two = GroupConfig({"b": {"y": [{"q": 2, "p": 1}], "x": 1}, "a": 1})
    assert encode(one) == encode(two)


def test_encode_over_the_bound_says_size_and_limit() -> None:
    """64 KiB is what one rumor may hold."""
    with pytest.raises(OperatorError, match=r"group config is 655.. bytes, limit is 65536; move"):
        encode(GroupConfig({"a": "x" * 65530}))
    with pytest.raises(OperatorError, match="author is 129 characters, limit is 128"):
        encode(GroupConfig({}, "x" * 129))


@given(st.binary(max_size=64))
def test_decode_any_bytes_raise_the_typed_error_only(data: bytes) -> None:
    """Remote bytes never raise anything else."""
    with contextlib.suppress(GroupConfigError):
        decode(data)


@given(st.data())
def test_decode_damaged_value_raises_the_typed_error_or_decodes(data: st.DataObject) -> None:
    """One flipped byte anywhere in a real value."""
    good = bytearray(encode(GroupConfig({"a": {"b": [1, 2.5, "x"]}, "t": time(1)}, "me", 7)))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(GroupConfigError):
        assert encode(decode(bytes(good)))


@pytest.mark.parametrize(
    "wire",
    [
        {"v": 2, "toml": ""},
        {"v": 1},
        {"v": 1, "toml": "a ="},
        {"v": 1, "toml": "", "author": "x" * 129},
        {"v": 1, "toml": "", "stamp_s": -1},
        {"v": 1, "toml": 7},
        {"v": 1, "toml": "x" * 65536},
        [],
    ],
)
def test_decode_out_of_bounds_is_refused(wire: Any) -> None:
    """Every field has a bound, and an unknown format is not guessed at."""
    with pytest.raises(GroupConfigError):
        decode(msgspec.msgpack.encode(wire))


def test_decode_ignores_fields_of_later_versions() -> None:
    """An older supervisor understands what it knows."""
    wire = {"v": 1, "toml": "a = 1", "secret_keys": [1, {"x": 2}]}
    assert decode(msgspec.msgpack.encode(wire)).table == {"a": 1}


def test_apply_patch_merges_or_replaces() -> None:
    """Merge is the default; ``replace`` drops what the patch does not name."""
    current = GroupConfig({"a": {"x": 1, "y": 2}, "b": 3}, "old", 1)
    merged = apply_patch(current, "v1", {"a": {"x": 9}}, author="new", stamp_s=2)
    assert merged == GroupConfig({"a": {"x": 9, "y": 2}, "b": 3}, "new", 2)
    replaced = apply_patch(current, "v1", {"a": {"x": 9}}, replace=True)
    assert replaced.table == {"a": {"x": 9}}
    assert current.table == {"a": {"x": 1, "y": 2}, "b": 3}


def test_apply_patch_without_effect_returns_current_itself() -> None:
    """Unchanged is told by identity: no new version, no gossip, author kept."""
    current = GroupConfig({"a": 1, "b": {"c": 2.0}}, "old", 1)
    assert apply_patch(current, "v", {"b": {"c": 2.0}}, author="new") is current
    assert apply_patch(current, "v", {"b": {"c": 2.0}, "a": 1}, replace=True) is current
    assert apply_patch(current, "v", {"b": {"c": 2}}) is not current
    assert apply_patch(current, "v", {"a": True}) is not current
    assert apply_patch(None, "", {}) == GroupConfig({})


def test_apply_patch_if_version_is_compare_and_set() -> None:
    """A stale version is a conflict that says the current one; empty means none yet."""
    current = GroupConfig({"a": 1})
    assert apply_patch(current, "v2", {"a": 2}, if_version="v2").table == {"a": 2}
    with pytest.raises(ConflictError, match="config is at version v2, not v1") as caught:
        apply_patch(current, "v2", {"a": 2}, if_version="v1")
    assert caught.value.exit_code is ExitCode.CONFLICT
    with pytest.raises(ConflictError, match=r"at version v2, not \(none\)"):
        apply_patch(current, "v2", {"a": 2}, if_version="")
    assert apply_patch(None, "", {"a": 2}, if_version="").table == {"a": 2}


def test_apply_patch_over_a_bound_is_refused_before_publishing() -> None:
    """What can't be gossiped is an error at the operator, not later in the ring."""
    with pytest.raises(OperatorError, match="limit is 65536"):
        apply_patch(GroupConfig({"a": "x" * 40000}), "v", {"b": "x" * 40000})
    with pytest.raises(
        ConfigTypeError, match="a is an integer in group config but a table in patch"
    ):
        apply_patch(GroupConfig({"a": 1}), "v", {"a": {"b": 1}})


_versions = st.builds(
    Version,
    st.integers(0, (1 << 56) - 1),
    st.integers(0, 0xFFFF),
    st.binary(min_size=4, max_size=4),
)


@given(_versions, _versions)
def test_version_text_sorts_as_versions(one: Version, two: Version) -> None:
    """The text is of fixed width, so sorting text is sorting versions."""
    assert (version_text(one) < version_text(two)) == (one < two)
    assert (version_text(one) == version_text(two)) == (one == two)
    assert len(version_text(one)) == 27


def test_version_text_of_none_is_empty() -> None:
    """No configuration has the empty version, as the API says it."""
    assert version_text(None) == ""


def test_kinds_are_the_cores() -> None:
    """The numbers written here are the core's."""
    kinds = pytest.importorskip("sup_core.kinds")
    from sup.model.group_config import CONFIG_KIND
    from sup.model.service_rumor import SERVICE_KIND

    assert (kinds.SERVICE, kinds.CONFIG) == (SERVICE_KIND, CONFIG_KIND)
