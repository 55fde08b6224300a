"""The configuration of a service group as it is gossiped: one value, the last writer wins (pure).

The table travels as TOML text inside a msgpack map, so that every TOML type, dates included,
arrives as it was written. The text is canonical (keys sorted), so equal tables are equal bytes.
Versions are given by the core's hybrid logical clock; here they are only compared and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import tomli_w

from sup.errors import ConflictError, OperatorError
from sup.model.config_layers import CONFIG_BYTES_MAX, check_table, merge, parse_toml
from sup.model.service_group import ServiceGroup

CONFIG_KIND = 64
"""Rumor kind of a group's configuration (a last-writer kind)."""
AUTHOR_CHARACTERS_MAX = 128
FORMAT = 1
"""Version of the encoding."""

_STAMP_S_MAX = 1 << 40


class GroupConfigError(ValueError):
    """Bytes that are not a group configuration; only ever of remote origin."""


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """What was applied, by whom (``user@host`` or a supervisor's name), and when (Unix seconds).

    ``stamp_s`` is for people; order comes from the rumor's version alone.
    """

    table: Mapping[str, Any]
    author: str = ""
    stamp_s: int = 0


class _Version(Protocol):
    @property
    def a(self) -> int: ...
    @property
    def b(self) -> int: ...
    @property
    def c(self) -> bytes: ...


class _Wire(msgspec.Struct, frozen=True):
    v: int
    toml: str
    author: str = ""
    stamp_s: int = 0


def config_key(group: ServiceGroup) -> bytes:
    """Rumor key of the group's configuration."""
    return str(group).encode()


def config_text(table: Mapping[str, Any]) -> str:
    """Canonical TOML: the same for equal tables, whatever the order of their keys."""
    return tomli_w.dumps(_sorted(table))


def encode(config: GroupConfig) -> bytes:
    """The gossiped bytes, at most ``CONFIG_BYTES_MAX``.

    Raises:
        OperatorError: the table is too large or too deep, or the author's name too long.
    """
    check_table(config.table, "group config")
    text = config_text(config.table)
    if len(config.author) > AUTHOR_CHARACTERS_MAX:
        raise OperatorError(
            f"author is {len(config.author)} characters, limit is {AUTHOR_CHARACTERS_MAX}"
        )
    data = msgspec.msgpack.encode(_Wire(FORMAT, text, config.author, config.stamp_s))
    if len(data) > CONFIG_BYTES_MAX:
        raise OperatorError(
            f"group config is {len(data)} bytes, limit is {CONFIG_BYTES_MAX};"
            " move large values to a file"
        )
    return data


def decode(data: bytes) -> GroupConfig:
    """Read gossiped bytes; fields of later versions of ``sup`` are ignored.

    Raises:
        GroupConfigError: anything is wrong with them.
    """
    if len(data) > CONFIG_BYTES_MAX:
        raise GroupConfigError(f"group config is {len(data)} bytes, limit is {CONFIG_BYTES_MAX}")
    try:
        wire = msgspec.msgpack.decode(data, type=_Wire)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise GroupConfigError(f"group config can't be read: {error}") from None
    if wire.v != FORMAT:
        raise GroupConfigError(f"group config has format {wire.v}, known is {FORMAT}")
    if len(wire.author) > AUTHOR_CHARACTERS_MAX or not 0 <= wire.stamp_s < _STAMP_S_MAX:
        raise GroupConfigError("group config has an author or a time out of bounds")
    try:
        return GroupConfig(
            parse_toml(wire.toml.encode(), "group config"), wire.author, wire.stamp_s
        )
    except (OperatorError, UnicodeEncodeError) as error:
        raise GroupConfigError(str(error)) from None


def apply_patch(
    current: GroupConfig | None,
    current_version: str,
    patch: Mapping[str, Any],
    *,
    replace: bool = False,
    if_version: str | None = None,
    author: str = "",
    stamp_s: int = 0,
) -> GroupConfig:
    """The configuration after ``patch``; ``current`` itself (the same object) when nothing changes.

    Merges into the current table, or replaces it. ``if_version`` makes it compare-and-set; the
    empty string stands for "there is none yet".

    Raises:
        ConflictError: the current version is not ``if_version``; the line says which it is.
        ConfigTypeError: a table meets a value that is not one.
        OperatorError: the result is over a bound.
    """
    if if_version is not None and if_version != current_version:
        raise ConflictError(
            f"config is at version {current_version or '(none)'}, not {if_version or '(none)'};"
            " read it again and decide anew"
        )
    before: Mapping[str, Any] = {} if current is None else current.table
    table = merge({} if replace else before, patch, names=("group config", "patch"))
    if current is not None and config_text(table) == config_text(before):
        return current
    after = GroupConfig(table, author, stamp_s)
    encode(after)  # refuse now, before anything is published, what is over a bound
    return after


def version_text(version: _Version | None) -> str:
    """A version as people see and give it back: ``TIME COUNTER-WRITER`` in hex, empty for None.

    Fixed width (14 + 4 + 8 digits), so that text sorts as versions do. Of the writer only four
    bytes are shown; two versions that differ behind them alone would need two writers in the same
    microsecond with equal beginnings of their random ids.
    """
    if version is None:
        return ""
    return f"{version.a:014x}{version.b:04x}-{version.c[:4].hex():0<8}"


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value
