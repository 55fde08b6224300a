"""From a parsed TOML table to a typed value, with errors an operator can act on (pure).

``msgspec`` checks; this file only turns its message into one line that names the file, the dotted
path, what was expected, what is there, and, for an unknown key, the key that was probably meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from sup.errors import OperatorError
from sup.model.config_layers import type_word

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_TOKEN = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_WORDS = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "array",
    "object": "table",
    "null": "nothing",
}
# The names that msgspec gives to what is there.
_GOT = {"string": "str", "integer": "int", "float": "float", "boolean": "bool", "table": "object"}


def convert_table(table: Mapping[str, Any], type_: type[T], file: str) -> T:
    """Check ``table`` against the msgspec Struct ``type_``.

    Raises:
        OperatorError: one line, ``file: path: expected …, got …``.
    """
    try:
        return msgspec.convert(table, type_)
    except msgspec.ValidationError as error:
        raise OperatorError(f"{file}: {_explain(str(error), table, type_)}") from None


def near(word: str, known: list[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of ``known``, else the list of them."""
    import difflib  # only for a mistake: it costs a start that has none

    matches = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    if matches:
        return "; did you mean " + " or ".join(repr(match) for match in matches) + "?"
    return "; known: " + ", ".join(known)


def _explain(message: str, table: Mapping[str, Any], type_: type[Any]) -> str:
    match = _AT.match(message)
    what, path = (match["what"], match["path"] or "$") if match else (message, "$")
    got = re.search(r"got `(\w+)`", what)
    keys, value = _resolve(table, path, got[1] if got else None)
    dotted = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys).lstrip(".")
    prefix = f"{dotted}: " if dotted else ""
    unknown = re.search(r"unknown field `(.*)`$", what)
    if unknown:
        known = _fields_at(type_, [k for k in keys if isinstance(k, str)])
        return f"{prefix}unknown key {unknown[1]!r}{near(unknown[1], known)}"
    missing = re.search(r"missing required field `(.*)`$", what)
    if missing:
        return f"{prefix}{missing[1]!r} is missing; add it"
    if what.startswith("Invalid enum value"):
        words = _words_at(type_, [k for k in keys if isinstance(k, str)])
        return f"{prefix}{value!r:.60} is not one of {', '.join(words)}" if words else what
    types = re.match(r"Expected `([^`]*)`, got `(\w+)`$", what)
    if types:
        names = [_WORDS.get(t.strip(), t.strip()) for t in types[1].split("|")]
        expected = " or ".join(n for n in names if n != "nothing")
        return f"{prefix}expected {expected}, got {type_word(value)}"
    shown = "" if isinstance(value, (Mapping, list)) else f", got {value!r:.60}"
    plain = re.sub(r"`(\w+)`", _word, what)
    return f"{prefix}{_lower(plain)}{shown}"


def _word(match: re.Match[str]) -> str:
    return _WORDS.get(match[1], match[1])


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _resolve(table: Mapping[str, Any], path: str, got: str | None) -> tuple[list[str | int], Any]:
    """Follow a msgspec path such as ``$.binds[...][0]``; ``[...]`` is any key of a free table."""
    tokens = [(m["key"], m["index"]) for m in _TOKEN.finditer(path)]
    return _follow(table, tokens, got) or ([], table)


def _follow(
    value: Any, tokens: list[tuple[str | None, str | None]], got: str | None
) -> tuple[list[str | int], Any] | None:
    if not tokens:
        return (
            ([], value)
            if got is None or _GOT.get(type_word(value), type_word(value)) == got
            else None
        )
    (key, index), rest = tokens[0], tokens[1:]
    candidates: list[tuple[str | int, Any]] = []
    if isinstance(value, Mapping):
        if key is not None and key in value:
            candidates = [(key, value[key])]
        elif index == "...":
            candidates = list(value.items())
    elif (
        isinstance(value, list)
        and index is not None
        and index.isdigit()
        and int(index) < len(value)
    ):
        candidates = [(int(index), value[int(index)])]
    for name, item in candidates:
        found = _follow(item, rest, got)
        if found is not None:
            return [name, *found[0]], found[1]
    return None


def _words_at(type_: Any, keys: list[str]) -> list[str]:
    """The words that a string at ``keys`` may be, when its type is a choice of them."""
    info: Any = msgspec.inspect.type_info(type_)
    for key in [*keys, None]:
        options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
        for option in options:
            if key is None and isinstance(option, msgspec.inspect.LiteralType):
                return [str(word) for word in option.values]
            if isinstance(option, msgspec.inspect.DictType):
                info = option.value_type
                break
            if isinstance(option, msgspec.inspect.StructType):
                info = next((f.type for f in option.fields if f.encode_name == key), None)
                break
    return []


def _fields_at(type_: Any, keys: list[str]) -> list[str]:
    info = msgspec.inspect.type_info(type_)
    for key in [*keys, None]:
        if isinstance(info, msgspec.inspect.UnionType):
            info = next(t for t in info.types if isinstance(t, msgspec.inspect.StructType))
        if not isinstance(info, msgspec.inspect.StructType):
            return []
        if key is None:
            return [field.encode_name for field in info.fields]
        info = next(field.type for field in info.fields if field.encode_name == key)
    return []
