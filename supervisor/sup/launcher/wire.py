"""The launcher's side of the local protocol: messages to bytes and back, in the least code.

Every message is one SOCK_SEQPACKET datagram holding one msgpack map with string keys. The launcher
loads no library for it: this file knows the part of msgpack that such maps need (nil, booleans,
integers of 64 bits, strings, bytes, arrays, maps) and refuses the rest. The supervisor uses its own
msgpack library for the same bytes; a test holds the two beside each other. Source: the msgpack
specification.

Protocol ``PROTOCOL``. Requests carry ``id`` and ``do``, answers the same ``id`` with ``ok`` or
``error``, events have ``event`` and no ``id``. A supervisor says ``hello`` first and is answered
with the launcher's protocol number and all that it holds; a supervisor that does not know that
number says so and ends (exit 4), which ``sup upgrade`` finds out before anything is stopped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
"""Raised when a message changes its meaning. New optional fields and new requests do not."""
MESSAGE_BYTES_MAX = 262_144
"""One message. A start carries an argument list and an environment; Linux allows more, nobody
needs it."""
DEPTH_MAX = 6
ITEMS_MAX = 16_384


class WireError(Exception):
    """What came is no message of ours; the text says why."""


def pack(value: object, bytes_max: int = MESSAGE_BYTES_MAX) -> bytes:
    """The bytes of a value made of None, bool, int, str, bytes, list, tuple and dict.

    Raises:
        WireError: it holds something else, or is larger than ``bytes_max``.
    """
    out = bytearray()
    _pack(value, out, 0)
    if len(out) > bytes_max:
        raise WireError(f"message is {len(out)} bytes, limit is {bytes_max}")
    return bytes(out)


def unpack(data: bytes) -> dict[str, Any]:
    """The map in ``data``.

    Raises:
        WireError: it is no map of the known types, or there is something behind it.
    """
    try:
        value, end = _unpack(data, 0, 0)
    except (IndexError, UnicodeDecodeError, TypeError) as error:
        raise WireError(f"message is malformed: {error}") from None
    if end != len(data):
        raise WireError(f"{len(data) - end} bytes behind the message")
    if not isinstance(value, dict):
        raise WireError("message is not a map")
    return value


def _pack(value: object, out: bytearray, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise WireError(f"message is nested deeper than {DEPTH_MAX}")
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _pack_int(value, out)
    elif isinstance(value, str):
        data = value.encode("utf-8", "replace")
        _head(len(data), out, 0xA0, 32, 0xD9, 0xDA, 0xDB)
        out += data
    elif isinstance(value, bytes):
        _head(len(value), out, 0, 0, 0xC4, 0xC5, 0xC6)
        out += value
    elif isinstance(value, list | tuple):
        _head(len(value), out, 0x90, 16, None, 0xDC, 0xDD)
        for item in value:
            _pack(item, out, depth + 1)
    elif isinstance(value, dict):
        _head(len(value), out, 0x80, 16, None, 0xDE, 0xDF)
        for key, item in value.items():
            _pack(key, out, depth + 1)
            _pack(item, out, depth + 1)
    else:
        raise WireError(f"a message can't hold {type(value).__name__}")


def _pack_int(value: int, out: bytearray) -> None:
    if 0 <= value < 128:
        out.append(value)
    elif -32 <= value < 0:
        out.append(value + 256)
    elif 0 <= value < 1 << 64:
        out.append(0xCF)
        out += value.to_bytes(8, "big")
    elif -(1 << 63) <= value < 0:
        out.append(0xD3)
        out += value.to_bytes(8, "big", signed=True)
    else:
        raise WireError(f"integer {value} has more than 64 bits")


def _head(
    count: int, out: bytearray, fix: int, fix_max: int, one: int | None, two: int, four: int
) -> None:
    if count < fix_max:
        out.append(fix | count)
    elif one is not None and count < 1 << 8:
        out += bytes((one, count))
    elif count < 1 << 16:
        out.append(two)
        out += count.to_bytes(2, "big")
    else:
        out.append(four)
        out += count.to_bytes(4, "big")


_FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_TEXT = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_ARRAY = {0xDC: 2, 0xDD: 4}
_MAP = {0xDE: 2, 0xDF: 4}


def _unpack(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEPTH_MAX:
        raise WireError(f"message is nested deeper than {DEPTH_MAX}")
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 256, at
    if kind < 0x90:
        return _unpack_map(data, at, kind & 15, depth)
    if kind < 0xA0:
        return _unpack_array(data, at, kind & 15, depth)
    if kind < 0xC0:
        return _take_text(data, at, kind & 31)
    if kind in _FIXED:
        return _FIXED[kind], at
    for table, signed in ((_UNSIGNED, False), (_SIGNED, True)):
        if kind in table:
            raw, at = _take(data, at, table[kind])
            return int.from_bytes(raw, "big", signed=signed), at
    if kind in _TEXT:
        return _take_text(data, *_count(data, at, _TEXT[kind]))
    if kind in _BYTES:
        return _take(data, *_count(data, at, _BYTES[kind]))
    if kind in _ARRAY:
        return _unpack_array(data, *_count(data, at, _ARRAY[kind]), depth)
    if kind in _MAP:
        return _unpack_map(data, *_count(data, at, _MAP[kind]), depth)
    raise WireError(f"type {kind:#x} is not used here")


def _take(data: bytes, at: int, count: int) -> tuple[bytes, int]:
    end = at + count
    if end > len(data):
        raise WireError("message is cut short")
    return bytes(data[at:end]), end


def _count(data: bytes, at: int, width: int) -> tuple[int, int]:
    """Where what follows begins, and how much of it there is."""
    raw, at = _take(data, at, width)
    return at, int.from_bytes(raw, "big")


def _take_text(data: bytes, at: int, count: int) -> tuple[str, int]:
    raw, end = _take(data, at, count)
    return raw.decode("utf-8"), end


def _unpack_array(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    if count > ITEMS_MAX:
        raise WireError(f"array of {count} items, limit is {ITEMS_MAX}")
    items: list[Any] = []
    for _ in range(count):
        item, at = _unpack(data, at, depth + 1)
        items.append(item)
    return items, at


def _unpack_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    if count > ITEMS_MAX:
        raise WireError(f"map of {count} items, limit is {ITEMS_MAX}")
    found: dict[Any, Any] = {}
    for _ in range(count):
        key, at = _unpack(data, at, depth + 1)
        found[key], at = _unpack(data, at, depth + 1)
    return found, at
