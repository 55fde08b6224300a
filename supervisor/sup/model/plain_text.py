"""Text of other hosts made harmless for a terminal and a log (pure).

A member's name, a check's output or the author of a configuration may hold anything, also the
sequences by which a terminal is told to clear itself, to hide what follows or to answer as if typed
at. Whatever is not printable is shown by its number. The form is also TOML's and Python's, so that
a document stays the document that it was.
"""

from __future__ import annotations

import re

_SUSPECT = re.compile(r"[^ -~]")
"""Most text is printable ASCII: only what is not is looked at closer."""


def printable(text: str, keep: str = "\n\t") -> str:
    """``text`` with every character that can't be printed as ``\\uXXXX``, but for ``keep``."""
    return _SUSPECT.sub(lambda m: m[0] if m[0] in keep else _shown(m[0]), text)


def one_line(text: str) -> str:
    """``printable``, and runs of white space, line ends included, as one space."""
    return " ".join(printable(text).split())


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
