"""Writing a value as TOML or YAML; imported only when a template asks for it.

TOML tables go through ``tomli_w``. YAML is written here: PyYAML would be a dependency for one
helper, and its output (quoting, indented lists) is not that of serde_yaml 0.9, which existing
packages were written against. Only what plain data needs exists: block mappings and sequences, and
the scalar styles that libyaml chooses. Source of the style rules: the analysis of scalars in
libyaml's emitter, YAML 1.1 §5.
"""

from __future__ import annotations

import re
from typing import Any

from sup.handlebars.limits import VALUE_DEPTH_MAX
from sup.handlebars.values import MISSING, ValueTooDeep, is_list, is_table, number_text

_SIMPLE_KEY_BYTES_MAX = 128
_AMBIGUOUS = {"", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"}
_AMBIGUOUS |= {".nan", ".NaN", ".NAN"}
_NUMBER_LIKE = re.compile(
    r"""[+-]?(?:0x[0-9A-Fa-f]+|0o[0-7]+|0b[01]+|[0-9]+
      |(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|\.(?:inf|Inf|INF))""",
    re.VERBOSE,
)
_ESCAPES = {
    "\0": "\\0", "\x07": "\\a", "\x08": "\\b", "\t": "\\t", "\n": "\\n", "\x0b": "\\v",
    "\x0c": "\\f", "\r": "\\r", "\x1b": "\\e", '"': '\\"', "\\": "\\\\", "\x85": "\\N",
    "\xa0": "\\_", "\u2028": "\\L", "\u2029": "\\P",
}  # fmt: skip
_BREAKS = "\n\r\x85\u2028\u2029"


def to_toml(value: Any) -> str:
    """Write a table as a TOML document, anything else as a bare TOML value.

    Null values of a table are left out. Raises ``ValueError`` for a null inside a list.
    """
    value = _toml_value(value, 0)
    import tomli_w

    if is_table(value):
        return tomli_w.dumps(value)
    # A list of tables would become [[sections]]; the inline form is what fits after `key = `.
    return _toml_inline(value)


def _toml_value(value: Any, depth: int) -> Any:
    if depth > VALUE_DEPTH_MAX:
        raise ValueTooDeep
    if is_table(value):
        kept = {str(key): item for key, item in value.items() if item is not None}
        return {key: _toml_value(item, depth + 1) for key, item in kept.items()}
    if is_list(value):
        return [_toml_value(item, depth + 1) for item in value]
    if value is None or value is MISSING:
        raise ValueError("TOML has no null")
    return value


def _toml_inline(value: Any) -> str:
    import tomli_w

    if is_list(value):
        return "[" + ", ".join(_toml_inline(item) for item in value) + "]"
    if is_table(value):
        pairs = []
        for key, item in value.items():
            written = tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
            pairs.append(f"{written} = {_toml_inline(item)}")
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def to_yaml(value: Any) -> str:
    """Write ``value`` as a YAML document of block style, ending in a line break."""
    lines: list[str] = []
    _yaml(value, lines, "", "", 0)
    return "\n".join(lines) + "\n"


def _yaml(value: Any, lines: list[str], head: str, indent: str, depth: int) -> None:
    """Append ``value``; ``head`` begins its first line, ``indent`` the others."""
    if depth > VALUE_DEPTH_MAX:
        raise ValueTooDeep
    if is_table(value) and value:
        for index, (key, item) in enumerate(value.items()):
            start = head if index == 0 else indent
            name = _yaml_scalar(str(key), indent, in_key=True)
            if len(str(key).encode("utf-8", "surrogatepass")) > _SIMPLE_KEY_BYTES_MAX:
                lines.append(f"{start}? {name}")
                start, name = indent, ""
            if is_list(item) and item:
                lines.append(f"{start}{name}:")
                _yaml(item, lines, indent, indent, depth + 1)
            elif is_table(item) and item:
                lines.append(f"{start}{name}:")
                _yaml(item, lines, indent + "  ", indent + "  ", depth + 1)
            else:
                lines.append(f"{start}{name}: {_yaml_scalar(item, indent + '  ')}")
    elif is_list(value) and value:
        for index, item in enumerate(value):
            start = head if index == 0 else indent
            _yaml(item, lines, start + "- ", indent + "  ", depth + 1)
    else:
        lines.append(head + _yaml_scalar(value, indent or "  "))


def _yaml_scalar(value: Any, indent: str, *, in_key: bool = False) -> str:
    if value is None or value is MISSING:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # NaN and infinities are null in JSON, which is what Rust's templates see.
        return number_text(value).replace("e+", "e") or "null"
    if is_table(value):
        return "{}"
    if is_list(value):
        return "[]"
    text = value if isinstance(value, str) else str(getattr(value, "isoformat", value.__str__)())
    if "\n" in text:
        literal = not in_key and not _special(text) and not text.endswith(" ")
        if literal and " \n" not in text:
            return _literal(text, indent)
        return _double(text)
    if _special(text) or any(char in text for char in _BREAKS):
        return _double(text)
    if _ambiguous(text) or not _plain(text):
        return "'" + text.replace("'", "''") + "'"
    return text


def _ambiguous(text: str) -> bool:
    """Tell whether ``text``, unquoted, would be read as something else than a string."""
    return text in _AMBIGUOUS or _NUMBER_LIKE.fullmatch(text) is not None


def _plain(text: str) -> bool:
    if text.startswith(("---", "...")) or text[0] in "#,[]{}&*!|>'\"%@` " or text[-1] == " ":
        return False
    if text[0] in "?:-" and (len(text) == 1 or text[1] == " "):
        return False
    return not (": " in text or text.endswith(":") or " #" in text)


def _special(text: str) -> bool:
    """Tell whether ``text`` has a character that YAML can only write escaped."""
    return any(not _printable(char) for char in text)


def _printable(char: str) -> bool:
    code = ord(char)
    return (
        code == 0x0A
        or 0x20 <= code <= 0x7E
        or code == 0x85
        or (0xA0 <= code <= 0xD7FF)
        or (0xE000 <= code <= 0xFFFD and code != 0xFEFF)
        or code > 0xFFFF
    )


def _double(text: str) -> str:
    pieces: list[str] = []
    for char in text:
        code = ord(char)
        if char == "\xa0" or (char not in '"\\' and char not in _BREAKS and _printable(char)):
            pieces.append(char)
        elif char in _ESCAPES:
            pieces.append(_ESCAPES[char])
        else:
            pieces.append(f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}")
    return '"' + "".join(pieces) + '"'


def _literal(text: str, indent: str) -> str:
    hint = "2" if text[0] in " \n" else ""
    if not text.endswith("\n"):
        chomp = "-"
    elif text == "\n" or text.endswith("\n\n"):
        chomp = "+"
    else:
        chomp = ""
    body = text.removesuffix("\n").split("\n")
    return f"|{hint}{chomp}\n" + "\n".join(indent + line if line else "" for line in body)
