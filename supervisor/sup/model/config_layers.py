"""Layers of configuration: reading TOML, deep merge, and the types a package expects (pure).

Later layers win: the package's ``default.toml`` < the environment (``SUP_CFG_<NAME>``, TOML text)
< ``user.toml`` on the host < the gossiped configuration of the group. Tables merge key by key;
arrays and scalars replace. A table can't replace a scalar, nor a scalar a table: that is a
mistake in one of two files, and the error names both. Merge is associative where it is defined,
and idempotent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

import tomli

from sup.errors import OperatorError
from sup.model.service_group import check_name

CONFIG_BYTES_MAX = 64 * 1024
"""TOML of one layer from outside the package: the bound of a gossiped group configuration."""
DEPTH_MAX = 30
"""Nested tables and arrays; Habitat's bound, deeper than any configuration that people read."""
ENVIRONMENT_PREFIX = "SUP_CFG_"
HABITAT_PREFIX = "HAB_"
LAYER_NAMES = ("default.toml", "environment", "user.toml", "group config")
"""The layers in order, as errors call them."""

_INTEGER_BOUND = 1 << 63
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class ConfigTypeError(OperatorError):
    """Two layers disagree on what a value is, or a value has another type than the package's
    default."""


def path_text(path: Sequence[str]) -> str:
    """A dotted TOML path; a key that is not bare is quoted."""
    return ".".join(key if _BARE_KEY.fullmatch(key) else f'"{key}"' for key in path)


def type_word(value: Any) -> str:
    """TOML's word for the type of ``value``."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "float"
    if isinstance(value, Mapping):
        return "table"
    if isinstance(value, (list, tuple)):
        return "array"
    if isinstance(value, datetime):
        return "date-time"
    if isinstance(value, date):
        return "date"
    if isinstance(value, time):
        return "time"
    return type(value).__name__


def decode_text(data: bytes, file: str, *, bytes_max: int) -> str:
    """Decode UTF-8 of at most ``bytes_max`` bytes.

    Raises:
        OperatorError: it is too long, or not UTF-8 (with line and column of the first bad byte).
    """
    if len(data) > bytes_max:
        raise OperatorError(f"{file} is {len(data)} bytes, limit is {bytes_max}; make it smaller")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
        byte = data[error.start]
        raise OperatorError(
            f"{file}:{line}:{column}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def parse_toml(data: bytes, file: str, *, bytes_max: int = CONFIG_BYTES_MAX) -> dict[str, Any]:
    """Parse TOML. Integers are 64-bit, nesting is at most ``DEPTH_MAX``.

    Raises:
        OperatorError: one line, ``file:line:column: …`` for syntax.
    """
    text = decode_text(data, file, bytes_max=bytes_max)
    try:
        table = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}" if error.lineno else file
        raise OperatorError(f"{where}: {error.msg or error}") from None
    except RecursionError:
        raise OperatorError(f"{file}: nested deeper than {DEPTH_MAX} levels; flatten it") from None
    except ValueError as error:  # an integer with thousands of digits, a date with month 13
        raise OperatorError(f"{file}: {error}") from None
    check_table(table, file)
    return table


def check_table(table: Mapping[str, Any], file: str) -> None:
    """Hold ``table`` to the depth and integer bounds that every layer and the wire share.

    Raises:
        OperatorError: names the path.
    """
    stack: list[tuple[tuple[str, ...], Any]] = [((), table)]
    while stack:  # a loop, not recursion: dotted keys can nest thousands deep
        path, value = stack.pop()
        if isinstance(value, (Mapping, list)):
            if len(path) > DEPTH_MAX:
                raise OperatorError(
                    f"{file}: {path_text(path[:3])}… nests over {DEPTH_MAX} levels; flatten it"
                )
            items: Iterator[tuple[str, Any]]
            if isinstance(value, Mapping):
                items = iter(value.items())
            else:
                items = ((f"[{index}]", item) for index, item in enumerate(value))
            stack.extend(((*path, key), item) for key, item in items)
        elif isinstance(value, int) and not -_INTEGER_BOUND <= value < _INTEGER_BOUND:
            raise OperatorError(
                f"{file}: {path_text(path)}: integer does not fit in 64 bits; write it as a string"
            )


def merge(*layers: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """Merge ``layers``, later wins; the result shares no table with them.

    ``names`` are what errors call the layers (``LAYER_NAMES`` for the four usual ones).

    Raises:
        ConfigTypeError: a table meets a value that is not a table, or nesting is over
        ``DEPTH_MAX``.
    """
    result: dict[str, Any] = {}
    seen: list[Mapping[str, Any]] = []
    for index, layer in enumerate(layers):
        _merge_into(result, layer, (), [*seen], _names(names, index + 1))
        seen.append(layer)
    return result


def effective_config(
    default: Mapping[str, Any],
    environment: Mapping[str, Any],
    user: Mapping[str, Any],
    group: Mapping[str, Any],
) -> dict[str, Any]:
    """``cfg`` of a service: the four layers merged.

    Raises:
        ConfigTypeError: as ``merge``, with the layers' usual names.
    """
    return merge(default, environment, user, group, names=LAYER_NAMES)


def environment_name(name: str) -> str:
    """The variable that configures service ``name``: ``SUP_CFG_MY_APP`` for ``my-app``."""
    return ENVIRONMENT_PREFIX + check_name(name, "service name").upper().replace("-", "_")


def environment_layer(
    name: str, environment: Mapping[str, str], *, habitat: bool = False
) -> dict[str, Any]:
    """The layer in ``environment`` for service ``name``; empty when the variable is unset or blank.

    ``habitat`` also takes ``HAB_<NAME>``, TOML or JSON, when ours is not set.

    Raises:
        OperatorError: it is not TOML; the error calls the file by the variable's name.
    """
    variable = environment_name(name)
    text = environment.get(variable, "")
    if habitat and not text.strip():
        variable = HABITAT_PREFIX + variable.removeprefix(ENVIRONMENT_PREFIX)
        text = environment.get(variable, "")
        if text.lstrip().startswith("{"):  # no TOML document begins so
            return _parse_json(text.encode(errors="surrogateescape"), variable)
    # The operating system's bytes that are not UTF-8 arrive as surrogates: give them back to be
    # named.
    return parse_toml(text.encode(errors="surrogateescape"), variable)


def check_types(patch: Mapping[str, Any], default: Mapping[str, Any], *, file: str = "") -> None:
    """Refuse a value of ``patch`` whose type differs from the package's default at the same path.

    An integer may stand where the default is a float. Keys that the default does not have are
    free, and so are the elements of arrays.

    Raises:
        ConfigTypeError: names the path, the type and the default's type and value.
    """
    _check_types(patch, default, (), f"{file}: " if file else "")


def lookup(table: Mapping[str, Any], dotted: str) -> Any:
    """The value at dotted path ``dotted``, or None."""
    value: Any = table
    for key in dotted.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _parse_json(data: bytes, file: str) -> dict[str, Any]:
    """A JSON object under the bounds of TOML; null has no place in it."""
    text = decode_text(data, file, bytes_max=CONFIG_BYTES_MAX)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"{file}: not JSON: {error}") from None
    if not isinstance(table, dict):
        raise OperatorError(f"{file}: expected a JSON object, got {type_word(table)}")
    check_table(table, file)
    return table


def _names(names: Sequence[str], count: int) -> list[str]:
    return [names[i] if i < len(names) else f"layer {i + 1}" for i in range(count)]


def _merge_into(
    target: dict[str, Any],
    layer: Mapping[str, Any],
    path: tuple[str, ...],
    earlier: list[Mapping[str, Any]],
    names: list[str],
) -> None:
    if len(path) > DEPTH_MAX:
        raise ConfigTypeError(
            f"{names[-1]}: {path_text(path[:3])}… nests over {DEPTH_MAX} levels; flatten it"
        )
    for key, value in layer.items():
        here = (*path, key)
        old = target.get(key)
        if key in target and isinstance(old, Mapping) is not isinstance(value, Mapping):
            raise ConfigTypeError(
                f"{path_text(here)} is {_a(old)} in {_last_with(here, earlier, names)}"
                f" but {_a(value)} in {names[-1]}; make them agree"
            )
        if isinstance(value, Mapping):
            _merge_into(target.setdefault(key, {}), value, here, earlier, names)
        else:
            target[key] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _a(value: Any) -> str:
    word = type_word(value)
    return f"an {word}" if word[0] in "aei" else f"a {word}"


def _last_with(path: Sequence[str], layers: list[Mapping[str, Any]], names: list[str]) -> str:
    for index in range(len(layers) - 1, -1, -1):
        value: Any = layers[index]
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
        else:
            return names[index]
    return names[0]


def _check_types(
    patch: Mapping[str, Any], default: Mapping[str, Any], path: tuple[str, ...], prefix: str
) -> None:
    for key, value in patch.items():
        if key not in default:
            continue
        expected = default[key]
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(expected, Mapping):
            _check_types(value, expected, here, prefix)
            continue
        word, expected_word = type_word(value), type_word(expected)
        if word == expected_word or (word, expected_word) == ("integer", "float"):
            continue
        shown = "" if isinstance(expected, (Mapping, list)) else f" (default is {expected!r:.60})"
        raise ConfigTypeError(
            f"{prefix}{path_text(here)}: expected {expected_word}, got {word}{shown}"
        )
