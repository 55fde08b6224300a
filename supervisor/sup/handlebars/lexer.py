"""Reading characters: where text ends, and the words that stand inside tags.

The cursor knows the alphabet of handlebars-rust 6 (which characters make a name, how numbers,
strings and paths are written) and nothing of blocks. Space is allowed between the words of a tag.
Neighbour: ``parser`` decides what the words mean.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sup.handlebars.limits import NESTING_MAX
from sup.handlebars.syntax import Literal, Path, Source
from sup.policies import TemplateError

SPACE = " \t\r\n"
_SYMBOL = r"[0-9A-Za-z_$:\-\u0080-\U0010ffff]"
_WORD = re.compile(_SYMBOL + "+")
# Possessive: a long run of digits must not be tried in every split.
_NUMBER = re.compile(rf"-?+[0-9]++\.?+[0-9]*+(?:E-?+[0-9]++)?+(?!{_SYMBOL})")
_CONSTANT = re.compile(rf"(?:null|true|false)(?!{_SYMBOL})")
_KEYWORD = re.compile(rf"(?:as|else)(?!{_SYMBOL})")
_DOUBLE = re.compile(r'"(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"')
_SINGLE = re.compile(r"'((?:[^'\\]|\\(?:['\\/bfnrt]|u[0-9A-Fa-f]{4}))*)'")
_PARTIAL_WORD = re.compile(r"[0-9A-Za-z_@/.\-\u0080-\U0010ffff]+")

NUMBER_CHARS_MAX = 64
"""Longer than any number that a 64-bit integer or float needs."""


class Cursor:
    """A position in a source text; every ``take_*`` moves it, or leaves it and returns None."""

    __slots__ = ("depth", "pos", "source", "text")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.pos = 0
        self.depth = 0

    def error(self, message: str, at: int | None = None, name: str = "") -> TemplateError:
        """Make an error for offset ``at``, by default the present one."""
        return self.source.error(message, self.pos if at is None else at, name)

    def found(self) -> str:
        """Say what stands here, for an error message."""
        if self.pos >= len(self.text):
            return "the end of the template"
        word = _WORD.match(self.text, self.pos)
        shown = word.group()[:40] if word else self.text[self.pos]
        return "a line break" if shown in "\r\n" else f"`{shown}`"

    def skip_space(self) -> None:
        """Move over blanks and line breaks."""
        text, pos, end = self.text, self.pos, len(self.text)
        while pos < end and text[pos] in SPACE:
            pos += 1
        self.pos = pos

    def at(self, literal: str) -> bool:
        """Tell whether ``literal`` stands here."""
        return self.text.startswith(literal, self.pos)

    def take(self, literal: str) -> bool:
        """Move over ``literal`` if it stands here."""
        if self.text.startswith(literal, self.pos):
            self.pos += len(literal)
            return True
        return False

    def take_word(self) -> str | None:
        """Read an identifier."""
        match = _WORD.match(self.text, self.pos)
        if match is None:
            return None
        self.pos = match.end()
        return match.group()

    def peek_word(self) -> str | None:
        """Tell which identifier stands here."""
        match = _WORD.match(self.text, self.pos)
        return match.group() if match else None

    def at_keyword(self) -> bool:
        """Tell whether ``as`` or ``else`` stands here, which can't be arguments."""
        return _KEYWORD.match(self.text, self.pos) is not None

    def take_partial_word(self) -> str | None:
        """Read the name of a partial: a word, ``/``, ``.`` and ``@`` allowed, or a string."""
        start = self.pos
        if self.text[start : start + 1] in ("'", '"'):
            literal = self.take_literal()
            assert literal is not None
            return str(literal.value)
        match = _PARTIAL_WORD.match(self.text, start)
        if match is None:
            return None
        self.pos = match.end()
        return match.group()

    # -- text between tags ---------------------------------------------------------------------

    def take_text(self, stop: str) -> str:
        """Read up to the next unescaped ``stop`` (braces) or the end; escapes lose one backslash.

        ``\\{{`` is text, braces included. Two or more backslashes before ``{{`` are text, one
        fewer of them, and the braces that follow are live.
        """
        text, pos = self.text, self.pos
        pieces: list[str] = []
        start = pos
        while True:
            found = text.find("{{", pos)
            if found < 0:
                pieces.append(text[start:])
                self.pos = len(text)
                break
            slash = found
            while slash > pos and text[slash - 1] == "\\":
                slash -= 1
            if found - slash == 1:
                pieces.append(text[start:slash])
                start = found
                pos = found + (4 if text.startswith("{{{{", found) else 2)
                continue
            if found - slash > 1:
                pieces.append(text[start:slash])
                start = slash + 1
            if not text.startswith(stop, found):
                pos = found + 1
                continue
            pieces.append(text[start:found])
            self.pos = found
            break
        return "".join(pieces)

    # -- values --------------------------------------------------------------------------------

    def take_literal(self) -> Literal | None:
        """Read a string, number, true, false, null, list or object."""
        text, at = self.text, self.pos
        char = text[at : at + 1]
        if char == '"':
            match = _DOUBLE.match(text, at)
            if match is None:
                raise self.error("string has no closing quote, or a bad escape")
            self.pos = match.end()
            return Literal(self._decode(match.group(), at), at)
        if char == "'":
            match = _SINGLE.match(text, at)
            if match is None:
                raise self.error("string has no closing quote, or a bad escape")
            self.pos = match.end()
            inner = match.group(1).replace("\\'", "'").replace('"', '\\"')
            return Literal(self._decode(f'"{inner}"', at), at)
        if char == "[":
            return self._take_list(at)
        if char == "{":
            return self._take_object(at)
        match = _NUMBER.match(text, at) or _CONSTANT.match(text, at)
        if match is None:
            return None
        self.pos = match.end()
        if match.end() - at > NUMBER_CHARS_MAX:
            raise self.error(f"number is longer than {NUMBER_CHARS_MAX} characters", at)
        return Literal(self._decode(match.group(), at), at)

    def _decode(self, fragment: str, at: int) -> Any:
        try:
            value = json.loads(fragment)
            if isinstance(value, str):
                value.encode()
        except ValueError:
            raise self.error(f"`{fragment[:40]}` is not a JSON value", at) from None
        return None if value in (float("inf"), float("-inf")) else value

    def _take_list(self, at: int) -> Literal | None:
        """Read ``[a, b]``; None (and no move) if it is a path segment such as ``[some key]``."""
        self.pos += 1
        values: list[Any] = []
        with _Nested(self):
            self.skip_space()
            while not self.take("]"):
                if values and not self.take(","):
                    self.pos = at
                    return None
                self.skip_space()
                literal = self.take_literal()
                if literal is None:
                    self.pos = at
                    return None
                values.append(literal.value)
                self.skip_space()
        return Literal(values, at)

    def _take_object(self, at: int) -> Literal:
        self.pos += 1
        values: dict[str, Any] = {}
        with _Nested(self):
            self.skip_space()
            while not self.take("}"):
                if values and not self.take(","):
                    raise self.error(f"expected `,` or `}}` in an object, found {self.found()}")
                self.skip_space()
                key = self.take_literal() if self.text[self.pos : self.pos + 1] in "'\"" else None
                if key is None:
                    raise self.error(f"expected a quoted key in an object, found {self.found()}")
                self.skip_space()
                if not self.take(":"):
                    raise self.error(f"expected `:` in an object, found {self.found()}")
                self.skip_space()
                value = self.take_literal()
                if value is None:
                    raise self.error(f"expected a literal in an object, found {self.found()}")
                values[str(key.value)] = value.value
                self.skip_space()
        return Literal(values, at)

    def take_path(self) -> Path | None:
        """Read a path. Raises for spellings that handlebars-rust 6 refuses."""
        at = self.pos
        for word in ("this.", "this/", "./"):
            if self.take(word):
                break
        root = local = False
        if self.at("@root") and self.text[self.pos + 5 : self.pos + 6] in ("/", "."):
            self.pos += 6
            root = True
        elif self.at("@root") and self.pos + 5 == self._word_end(self.pos + 1):
            self.pos += 5
            return Path("@root", (), 0, True, False, at)
        elif self.take("@"):
            local = True
        ups = 0
        while self.at("../"):
            self.pos += 3
            ups += 1
        if self.at("@") and ups:
            raise self.error("write `@../name`, not `../@name`", at)
        first = self._take_segment()
        if first is None:
            if self.at(".."):
                raise self.error("a bare `..` is not a value; write `../this`", at)
            if self.at(".") and self.pos == at:
                raise self.error("a bare `.` is not a value; write `this`", at)
            if self.pos == at:
                return None
            raise self.error(f"expected a name in a path, found {self.found()}")
        segments = [first]
        while True:
            before = self.pos
            if self.text[before : before + 1] in ("/", "."):
                self.pos += 1
            elif not self.at("["):
                break
            segment = self._take_segment()
            if segment is None:
                self.pos = before
                break
            segments.append(segment)
        kept = tuple(segment for segment in segments if segment != "this")
        return Path(self.text[at : self.pos], kept, ups, root, local and bool(kept), at)

    def _word_end(self, pos: int) -> int:
        match = _WORD.match(self.text, pos)
        return match.end() if match else pos

    def _take_segment(self) -> str | None:
        if self.at("["):
            end = self.text.find("]", self.pos)
            if end < 0:
                raise self.error("`[` has no closing `]`")
            segment = self.text[self.pos + 1 : end]
            self.pos = end + 1
            return segment
        return self.take_word()


class _Nested:
    """Counts nesting while a literal or subexpression is read."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def __enter__(self) -> None:
        self._cursor.depth += 1
        if self._cursor.depth > NESTING_MAX:
            raise self._cursor.error(f"expressions are nested deeper than {NESTING_MAX}")

    def __exit__(self, *_: object) -> None:
        self._cursor.depth -= 1


nested = _Nested
"""``with nested(cursor):`` bounds recursion of the caller."""
