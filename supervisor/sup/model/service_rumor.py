"""What a supervisor gossips about one of its services: role, health, exports (pure).

A msgpack map with a format number. Fields that a later version of ``sup`` adds are ignored; every
known field has a bound, because the bytes come from other hosts. Decoding raises
``ServiceRumorError`` and nothing else. A value that can't be gossiped is refused when it is
encoded, by the host it is about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sup.model.health import MAINTENANCE_CHARS_MAX, OUTPUT_BYTES_MAX, Health
from sup.model.service_group import NAME_PATTERN, ServiceGroup

SERVICE_KIND = 1
"""Rumor kind of a service (an owner kind: one per member and service group)."""
RUMOR_BYTES_MAX = 16 * 1024
"""Encoded size; a full rumor is then at most a dozen datagrams, and it is sent anew at every
change."""
EXPORTS_MAX = 64
SYS_MAX = 32
VALUE_DEPTH_MAX = 8
"""Nesting of an exported value."""
FORMAT = 1

_Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
_Ident = Annotated[str, Meta(max_length=256)]
_Key = Annotated[str, Meta(min_length=1, max_length=64)]
_Scalar = str | int | float | bool | None
_INTEGER_BOUND = 1 << 63


class ServiceRumorError(ValueError):
    """Bytes that are not a service rumor, or a value that can't be one."""


@dataclass(frozen=True, slots=True)
class ServiceRumor:
    """One member's part in one group. Strings and tables are bounded by this module's constants.

    ``health_since_s`` is Unix seconds. ``exports`` holds plain values: a TOML date goes as text.
    """

    service: str
    group: str
    package: str = "-"
    process: str = "down"
    health: Health = Health.UNKNOWN
    health_since_s: int = 0
    output: str = ""
    exports: Mapping[str, Any] = field(default_factory=dict)
    sys: Mapping[str, Any] = field(default_factory=dict)
    topology: str = "standalone"
    strategy: str = "none"
    config_version: str = ""
    maintenance: str = ""
    """The reason of the maintenance that the service is in, or empty; cut to its bound."""
    restart: str = ""
    """``wanted`` or ``claimed`` while a restart for a failed check is; see ``restart_share``."""


class _Wire(msgspec.Struct, frozen=True):
    v: int
    service: _Name
    group: _Name
    package: _Ident
    process: Annotated[str, Meta(max_length=32)]
    health: Annotated[int, Meta(ge=0, le=255)]
    health_since_s: Annotated[int, Meta(ge=0, lt=1 << 40)]
    output: Annotated[str, Meta(max_length=OUTPUT_BYTES_MAX)]
    exports: Annotated[dict[_Key, Any], Meta(max_length=EXPORTS_MAX)]
    sys: Annotated[dict[_Key, _Scalar], Meta(max_length=SYS_MAX)]
    topology: _Name
    strategy: _Name
    config_version: Annotated[str, Meta(max_length=64)] = ""
    maintenance: Annotated[str, Meta(max_length=MAINTENANCE_CHARS_MAX)] = ""
    restart: Annotated[str, Meta(max_length=32)] = ""


def service_key(group: ServiceGroup) -> bytes:
    """Rumor key of a service in its group; the origin is part of the store's key already."""
    return str(group).encode()


def tail(output: str) -> str:
    """The end of ``output``, at most ``OUTPUT_BYTES_MAX`` bytes of UTF-8, cut at a character."""
    data = output.encode(errors="replace")
    return data[-OUTPUT_BYTES_MAX:].decode(errors="ignore")


def encode(rumor: ServiceRumor) -> bytes:
    """The gossiped bytes, at most ``RUMOR_BYTES_MAX``. ``output`` is cut to its tail.

    Raises:
        ServiceRumorError: a field is over its bound; the line names it.
    """
    wire = {
        "v": FORMAT,
        "service": rumor.service,
        "group": rumor.group,
        "package": rumor.package,
        "process": rumor.process,
        "health": int(rumor.health),
        "health_since_s": rumor.health_since_s,
        "output": tail(rumor.output),
        "exports": {name: plain(value) for name, value in rumor.exports.items()},
        "sys": dict(rumor.sys),
        "topology": rumor.topology,
        "strategy": rumor.strategy,
        "config_version": rumor.config_version,
    }
    if rumor.maintenance:
        wire["maintenance"] = rumor.maintenance[:MAINTENANCE_CHARS_MAX]
    if rumor.restart:
        wire["restart"] = rumor.restart
    try:
        data = msgspec.msgpack.encode(wire)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ServiceRumorError(f"service {rumor.service}: can't be gossiped: {error}") from None
    if len(data) > RUMOR_BYTES_MAX:
        raise ServiceRumorError(
            f"service {rumor.service}: rumor is {len(data)} bytes, limit is {RUMOR_BYTES_MAX};"
            " export fewer or smaller values"
        )
    decode(data)  # the same bounds for what we say as for what we hear
    return data


def decode(data: bytes) -> ServiceRumor:
    """Read gossiped bytes.

    Raises:
        ServiceRumorError: they are too long, of another format, or a field is out of bounds.
    """
    if len(data) > RUMOR_BYTES_MAX:
        raise ServiceRumorError(f"service rumor is {len(data)} bytes, limit is {RUMOR_BYTES_MAX}")
    try:
        wire = msgspec.msgpack.decode(data, type=_Wire)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ServiceRumorError(f"service rumor can't be read: {error}") from None
    if wire.v != FORMAT:
        raise ServiceRumorError(f"service rumor has format {wire.v}, known is {FORMAT}")
    for table in (wire.exports, wire.sys):
        for name, value in table.items():
            _check_plain(value, name)
    for name, value in wire.sys.items():
        # An address with a line end in it would write lines into other hosts' configuration.
        if isinstance(value, str) and not value.isprintable():
            raise ServiceRumorError(f"sys {name!r} has characters that can't be shown")
    return ServiceRumor(
        service=wire.service,
        group=wire.group,
        package=wire.package,
        process=wire.process,
        # A later version may know more words for health; here they mean that we can't tell.
        health=Health(wire.health) if wire.health <= Health.UNKNOWN else Health.UNKNOWN,
        health_since_s=wire.health_since_s,
        output=wire.output,
        exports=wire.exports,
        sys=wire.sys,
        topology=wire.topology,
        strategy=wire.strategy,
        config_version=wire.config_version,
        maintenance=wire.maintenance,
        restart=wire.restart,
    )


def plain(value: Any, _depth: int = 0) -> Any:
    """A TOML value as msgpack can carry it: dates become ISO text, tables and arrays are copied.

    Raises:
        ServiceRumorError: it is nested deeper than ``VALUE_DEPTH_MAX``.
    """
    if _depth > VALUE_DEPTH_MAX:
        raise ServiceRumorError(
            f"exported value is nested deeper than {VALUE_DEPTH_MAX} levels; export a part of it"
        )
    if isinstance(value, Mapping):
        return {str(key): plain(item, _depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, _depth + 1) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return value


def _check_plain(value: Any, name: str, depth: int = 0) -> None:
    if depth > VALUE_DEPTH_MAX:
        raise ServiceRumorError(f"{name!r} is nested deeper than {VALUE_DEPTH_MAX} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ServiceRumorError(f"{name!r} has a key that is not a string")
            _check_plain(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, name, depth + 1)
    elif isinstance(value, float):
        if math.isnan(value):  # not equal to itself: every comparison would see a change
            raise ServiceRumorError(f"{name!r} is not a number")
    elif isinstance(value, int):
        if not -_INTEGER_BOUND <= value < _INTEGER_BOUND:
            raise ServiceRumorError(f"{name!r} does not fit in 64 bits")
    elif value is not None and not isinstance(value, str):
        raise ServiceRumorError(f"{name!r} has a value of type {type(value).__name__}")
