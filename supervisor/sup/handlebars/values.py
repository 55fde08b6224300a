"""Values as Rust's serde_json sees them: how they print, when they are true, how they compare.

The context of a template is plain data (dict, list, str, int, float, bool, None). Floats that JSON
can't hold (NaN, infinities) count as null. Dates, which TOML has and JSON has not, print as their
ISO text. ``MISSING`` is what an undefined path gives; it never gets into output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from sup.handlebars.limits import VALUE_DEPTH_MAX


class _Missing:
    """The value of a path that leads nowhere."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()

FLOAT_NORMAL_MIN: Final = 2.2250738585072014e-308
"""Smallest normal 64-bit float; Rust's truth of a number is ``is_normal``."""


class ValueTooDeep(ValueError):
    """A value is nested deeper than ``VALUE_DEPTH_MAX``."""

    def __init__(self) -> None:
        super().__init__(f"value is nested deeper than {VALUE_DEPTH_MAX}")


def is_list(value: Any) -> bool:
    """Tell whether ``value`` is an array in JSON's sense."""
    return isinstance(value, list | tuple)


def is_table(value: Any) -> bool:
    """Tell whether ``value`` is an object in JSON's sense."""
    return isinstance(value, (dict, Mapping))


def number_text(value: int | float) -> str:
    """Write a number: ``1``, ``1.0``, ``0.00001``, ``1e-6``, ``1e+16``; no padding in exponents."""
    if isinstance(value, int):
        if value.bit_length() > 128:
            # Python refuses to print integers of thousands of digits; JSON has none beyond 64 bits.
            return number_text(float(value)) if value.bit_length() < 1000 else ""
        return str(int(value))
    if not isfinite(value):
        return ""
    text = repr(float(value))
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    power = int(exponent)
    if power == -5:
        sign = "-" if mantissa[0] == "-" else ""
        return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"


def text_of(value: Any, depth: int = 0) -> str:
    """Write ``value`` as ``{{value}}`` does: ``[1, a]`` for a list, ``[object]`` for a table."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int | float):
        return number_text(value)
    if is_table(value):
        return "[object]"
    if is_list(value):
        if depth >= VALUE_DEPTH_MAX:
            raise ValueTooDeep
        return "[" + ", ".join([text_of(item, depth + 1) for item in value]) + "]"
    return _foreign_text(value)


def _foreign_text(value: Any) -> str:
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if callable(isoformat) else str(value)


def is_true(value: Any, include_zero: bool = False) -> bool:
    """Truth in ``if``: empty text, list and table, zero, null and missing are false."""
    if value is None or value is MISSING:
        return False
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return include_zero or value != 0
    if isinstance(value, float):
        if not isfinite(value):
            return False
        return include_zero or abs(value) >= FLOAT_NORMAL_MIN
    if isinstance(value, str | list | tuple | Mapping):
        return len(value) > 0
    return True


def kind_of(value: Any) -> str:
    """Name the type of ``value`` for an error message."""
    if value is MISSING:
        return "undefined"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if is_list(value):
        return "a list"
    return "a table" if is_table(value) else type(value).__name__


def equal(left: Any, right: Any, depth: int = 0) -> bool:
    """Compare as serde_json does: ``1`` and ``1.0`` differ, and so do ``1`` and ``true``."""
    if depth > VALUE_DEPTH_MAX:
        raise ValueTooDeep
    if left is MISSING:
        left = None
    if right is MISSING:
        right = None
    if is_list(left) and is_list(right):
        return len(left) == len(right) and all(
            equal(a, b, depth + 1) for a, b in zip(left, right, strict=True)
        )
    if is_table(left) and is_table(right):
        return len(left) == len(right) and all(
            key in right and equal(value, right[key], depth + 1) for key, value in left.items()
        )
    if isinstance(left, int | float) and isinstance(right, int | float):
        return isinstance(left, type(right)) and isinstance(right, type(left)) and left == right
    return isinstance(left, str) == isinstance(right, str) and bool(left == right)


def order(left: Any, right: Any) -> int | None:
    """Compare for ``gt`` and its kin: negative, 0 or positive; None if the two have no order.

    Numbers with numbers, strings with strings by code point, booleans with booleans, and a number
    with a string that is a JSON number.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        if isinstance(left, bool) and isinstance(right, bool):
            return int(left) - int(right)
        return None
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, str) and isinstance(right, int | float):
        swapped = order(right, left)
        return None if swapped is None else -swapped
    if isinstance(left, int | float) and isinstance(right, str):
        right = _number(right)
    if isinstance(left, int | float) and isinstance(right, int | float):
        if left != left or right != right:
            return None
        return (left > right) - (left < right)
    return None


def _number(text: str) -> int | float | None:
    """Read a JSON number; None if ``text`` is none."""
    if not text or len(text) > 64 or text[-1] not in "0123456789" or text[0] not in "-0123456789":
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, int | float) else None


def json_text(value: Any, *, pretty: bool, depth: int = 0) -> str:
    """Write JSON as serde_json does: compact, or pretty with two blanks; keys keep their order."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or value is MISSING:
        return "null"
    if isinstance(value, int | float):
        return text_of(value) or "null"
    if not is_table(value) and not is_list(value):
        return json.dumps(_foreign_text(value), ensure_ascii=False)
    if depth >= VALUE_DEPTH_MAX:
        raise ValueTooDeep
    if is_table(value):
        colon = ": " if pretty else ":"
        parts = [
            json.dumps(str(key), ensure_ascii=False)
            + colon
            + json_text(item, pretty=pretty, depth=depth + 1)
            for key, item in value.items()
        ]
        brackets = "{}"
    else:
        parts = [json_text(item, pretty=pretty, depth=depth + 1) for item in value]
        brackets = "[]"
    if not parts:
        return brackets
    if not pretty:
        return brackets[0] + ",".join(parts) + brackets[1]
    inner = "\n" + "  " * (depth + 1)
    return brackets[0] + inner + f",{inner}".join(parts) + "\n" + "  " * depth + brackets[1]


def size_of(value: Any, most: int) -> int:
    """Count the values inside ``value``, up to about ``most``: what walking it costs."""
    count = 0
    todo: list[Any] = [value]
    while todo and count < most:
        item = todo.pop()
        count += 1
        if isinstance(item, str):
            count += len(item) >> 6
        elif is_table(item):
            todo.extend(item.values())
        elif is_list(item):
            todo.extend(item)
    return count


def listing(value: Any) -> Sequence[Any]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if is_list(value) else ()
