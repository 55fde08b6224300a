"""Layers: laws of the merge, errors that name both sides, and bounds of TOML from outside."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.config_layers import (
    DEPTH_MAX,
    ConfigTypeError,
    check_types,
    effective_config,
    environment_layer,
    environment_name,
    lookup,
    merge,
    parse_toml,
    type_word,
)

# Keys a-c hold tables and x-z values, so that any two layers agree on what is a table.
_values = st.one_of(st.integers(-5, 5), st.text(max_size=3), st.lists(st.integers(), max_size=3))
_tables = st.recursive(
    st.dictionaries(st.sampled_from("xyz"), _values, max_size=3),
    lambda inner: st.builds(
        lambda tables, values: {**tables, **values},
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.dictionaries(st.sampled_from("xyz"), _values, max_size=3),
    ),
    max_leaves=12,
)


@given(_tables, _tables, _tables)
def test_merge_is_associative(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    """Layers may be merged in any grouping, as long as their order is kept."""
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(a, b, c)


@given(_tables, _tables)
def test_merge_is_idempotent_with_empty_as_identity(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Applying a layer twice is applying it once, and an empty layer changes nothing."""
    assert merge(a, a) == a
    assert merge(a, b, b) == merge(a, b)
    assert merge({}, a) == merge(a, {}) == a


@given(_tables, _tables)
def test_merge_later_layer_wins_at_every_leaf(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Every value of the later layer is in the result, and its inputs are untouched."""
    before = repr((a, b))
    merged = merge(a, b)
    for path, value in _leaves(b):
        assert lookup(merged, path) == value
    assert repr((a, b)) == before


def _leaves(table: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        here = f"{path}.{key}" if path else key
        found += _leaves(value, here) if isinstance(value, dict) else [(here, value)]
    return found


def test_merge_result_shares_no_table_or_array() -> None:
    """Changing the result can't change a layer."""
    layer = {"t": {"x": [1, {"y": [2]}]}}
    merged = merge(layer)
    merged["t"]["x"][1]["y"].append(3)
    merged["t"]["z"] = 1
    assert layer == {"t": {"x": [1, {"y": [2]}]}}


def test_merge_arrays_replace_whole() -> None:
    """Arrays are values: they are not joined."""
    assert merge({"x": [1, 2, 3]}, {"x": [4]}) == {"x": [4]}


def test_merge_table_over_scalar_names_path_and_both_layers() -> None:
    """A mismatch says which value in which of the four layers meets which."""
    with pytest.raises(ConfigTypeError) as caught:
        effective_config({"server": {"port": 1}}, {}, {"server": 2}, {})
    assert caught.value.message == (
        "server is a table in default.toml but an integer in user.toml; make them agree"
    )
    with pytest.raises(ConfigTypeError) as caught:
        effective_config({"a": {}}, {"a": {"b c": 1}}, {}, {"a": {"b c": {"d": 1}}})
    assert caught.value.message == (
        'a."b c" is an integer in environment but a table in group config; make them agree'
    )


def test_merge_too_deep_is_refused() -> None:
    """The bound holds for tables made by code too, and is far from Python's stack."""
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_MAX + 1):
        deep = {"a": deep}
    with pytest.raises(ConfigTypeError, match="nests over 30 levels"):
        merge(deep)
    assert merge(deep["a"]) == deep["a"]


def test_parse_toml_syntax_error_has_file_line_column() -> None:
    """The place is the reader's, from 1."""
    with pytest.raises(OperatorError, match=r"^user\.toml:2:5: ") as caught:
        parse_toml(b"a = 1\nb = = 2\n", "user.toml")
    assert "\n" not in caught.value.message


def test_parse_toml_not_utf8_names_the_byte() -> None:
    """Columns count characters, not bytes."""
    with pytest.raises(OperatorError, match=r"^f:2:7: byte 0xff is not UTF-8; save"):
        parse_toml('a = 1\nb = "é'.encode() + b'\xff"', "f")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = 9223372036854775808", "a: integer does not fit in 64 bits"),
        ("a = [1, {b = -9223372036854775809}]", "does not fit in 64 bits"),
        (".".join("a" * 40) + " = 1", "nests over 30 levels"),
        ("a = " + "[" * 40 + "]" * 40, "nests over 30 levels"),
        ("a = " + "[" * 5000 + "]" * 5000, "nest"),
        ("a = " + "9" * 6000, "f:"),
        ("a = 2024-13-01", "f:1:"),
    ],
)
def test_parse_toml_hostile_values_are_refused(text: str, says: str) -> None:
    """No input ends in anything but one line."""
    with pytest.raises(OperatorError) as caught:
        parse_toml(text.encode(), "f")
    assert says in caught.value.message
    assert len(caught.value.message) < 300


def test_parse_toml_too_long_says_size_and_limit() -> None:
    """The bound is checked before anything is parsed."""
    with pytest.raises(OperatorError, match="f is 65537 bytes, limit is 65536"):
        parse_toml(b"#" * 65537, "f")


@given(st.binary(max_size=80))
def test_parse_toml_any_bytes_give_table_or_operator_error(data: bytes) -> None:
    """Nothing else is ever raised."""
    with contextlib.suppress(OperatorError):
        assert isinstance(parse_toml(data, "f"), dict)


def test_environment_layer_reads_toml_of_the_services_variable() -> None:
    """``my-app`` is configured by ``SUP_CFG_MY_APP``; unset is empty."""
    assert environment_name("my-app") == "SUP_CFG_MY_APP"
    assert environment_layer("my-app", {"SUP_CFG_MY_APP": "a.b = 1"}) == {"a": {"b": 1}}
    assert environment_layer("my-app", {"SUP_CFG_OTHER": "a = 1"}) == {}


def test_environment_layer_bad_text_names_the_variable() -> None:
    """Also when the variable is not UTF-8 (a surrogate escape in Python)."""
    with pytest.raises(OperatorError, match=r"^SUP_CFG_APP:1:"):
        environment_layer("app", {"SUP_CFG_APP": "nonsense"})
    with pytest.raises(OperatorError, match="SUP_CFG_APP:1:6: byte 0xfe"):
        environment_layer("app", {"SUP_CFG_APP": 'a = "\udcfe"'})


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"server": {"port": "1"}}, "server.port: expected integer, got string (default is 80)"),
        ({"server": {"port": True}}, "server.port: expected integer, got boolean"),
        ({"server": 1}, "server: expected table, got integer"),
        ({"ratio": "x"}, "ratio: expected float, got string"),
        ({"names": "x"}, "names: expected array, got string"),
        ({"on": 1}, "on: expected boolean, got integer"),
        ({"server": {"port": 1.5}}, "server.port: expected integer, got float"),
        ({"since": "2024-01-01"}, "since: expected date, got string"),
    ],
)
def test_check_types_other_type_than_default_is_refused(patch: dict[str, Any], says: str) -> None:
    """The line has the path, both types, and the default where it is short."""
    default = {
        "server": {"port": 80},
        "ratio": 0.5,
        "names": ["a"],
        "on": True,
        "since": date(2024, 1, 1),
    }
    with pytest.raises(ConfigTypeError) as caught:
        check_types(patch, default)
    assert says in caught.value.message


def test_check_types_accepts_integer_for_float_and_unknown_keys() -> None:
    """A whole number is a fine ratio; keys without default are free."""
    check_types({"ratio": 1, "new": {"x": 1}, "t": {}}, {"ratio": 0.5, "t": {"x": 1}})


def test_type_word_tells_dates_apart() -> None:
    """A date-time is not a date, though Python says it is."""
    now = datetime(2024, 1, 1, 12)
    assert [type_word(v) for v in (now, now.date(), time(1))] == ["date-time", "date", "time"]


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("port = 1\n[a]\nb = 2", {"port": 1, "a": {"b": 2}}),
        ('{"port": 1, "a": {"b": 2}}', {"port": 1, "a": {"b": 2}}),
        ("  ", {}),
    ],
)
def test_environment_layer_of_a_habitat_plan_takes_hab_variables(
    text: str, layer: dict[str, Any]
) -> None:
    """``HAB_<NAME>``, TOML or JSON; for Habitat plans alone, and ours goes before it."""
    environment = {"HAB_MY_APP": text}
    assert environment_layer("my-app", environment, habitat=True) == layer
    assert environment_layer("my-app", environment) == {}
    environment["SUP_CFG_MY_APP"] = "port = 3"
    assert environment_layer("my-app", environment, habitat=True) == {"port": 3}


@pytest.mark.parametrize("text", ["port", '{"port": }', '{"port": 99999999999999999999}', "{" * 99])
def test_environment_layer_that_is_neither_toml_nor_json_names_the_variable(text: str) -> None:
    """One line that begins with the variable's name."""
    with pytest.raises(OperatorError, match=r"^HAB_X") as refusal:
        environment_layer("x", {"HAB_X": text}, habitat=True)
    assert "\n" not in refusal.value.message
