"""A small regular expression whose search takes time linear in the text, whatever it is.

The supervisor must never stand still for a pattern, and Python's ``re`` can: it backtracks, holds
the interpreter meanwhile, and can't be interrupted. This one follows all ways at once (Thompson
1968) and remembers which sets of states it has seen, as the lazy automata of grep do. In exchange
it knows less: no groups to read back, no look-around, no back-references.

Known: literals, ``.`` (not the end of a line), ``[a-z]``, ``[^…]``, ``\\d \\w \\s`` and their
capitals, ``\\n \\r \\t``, ``( )``, ``(?: )``, ``|``, ``* + ?``, ``{m}``, ``{m,}``, ``{m,n}``, and
``^`` and ``$`` at the ends of the whole pattern, for the ends of the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PATTERN_CHARS_MAX = 256
STATES_MAX = 2000
REPEAT_MAX = 100
STEPS_MAX = 300_000
"""Of the search of one text: about a tenth of a second."""
CACHE_MAX = 5_000

Test = Callable[[str], bool]
_SPECIAL = "()[]{}*+?|.^$\\"
_CLASSES: dict[str, Test] = {
    "d": lambda c: c in "0123456789",
    "w": lambda c: c == "_" or c.isalnum(),
    "s": lambda c: c in " \t\n\r\f\v",
}
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


class TooManySteps(Exception):
    """The text is too long for this pattern within the bound."""


class Pattern:
    """A compiled pattern; ``search`` says whether it is anywhere in a text."""

    def __init__(self, source: str) -> None:
        """Compile. Raises ``ValueError``, one line, when it is no pattern or over a bound."""
        if len(source) > PATTERN_CHARS_MAX:
            raise ValueError(
                f"the pattern has {len(source)} characters, it may have {PATTERN_CHARS_MAX}"
            )
        self.source = source
        body = source
        self._from_start = body.startswith("^")
        body = body[1:] if self._from_start else body
        self._to_end = body.endswith("$") and (len(body) - len(body[:-1].rstrip("\\"))) % 2 == 1
        body = body[:-1] if self._to_end else body
        self._tests: list[Test | None] = []
        """Per state: what a character must be to go to ``_next[0]``; None: it goes on freely."""
        self._next: list[tuple[int, ...]] = []
        tree = _Parser(body, source).parse()
        if tree[0] == "any" and (self._from_start or self._to_end):
            raise ValueError(f"the pattern {source!r:.80} has ^ or $ beside |; write ^(a|b)$")
        self._accept = self._add(None, ())
        self._start = self._build(tree, self._accept)
        self._cache: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    def search(self, text: str) -> bool:
        """Whether the pattern is in ``text``. Raises ``TooManySteps``."""
        steps = 0
        first = self._closure([self._start])
        now = first
        for c in text:
            if self._accept in now and not self._to_end:
                return True
            after = self._cache.get((now, c))
            if after is None:
                steps += len(now) + 1
                if steps > STEPS_MAX:
                    raise TooManySteps
                after = self._closure(
                    [
                        self._next[state][0]
                        for state in now
                        if (test := self._tests[state]) is not None and test(c)
                    ]
                )
                if not self._from_start:
                    after |= first
                if len(self._cache) >= CACHE_MAX:
                    self._cache.clear()
                self._cache[now, c] = after
            now = after
            if not now:
                return False
        return self._accept in now

    def _closure(self, states: list[int]) -> frozenset[int]:
        seen: set[int] = set()
        while states:
            state = states.pop()
            if state not in seen:
                seen.add(state)
                if self._tests[state] is None:
                    states.extend(self._next[state])
        return frozenset(seen)

    def _add(self, test: Test | None, after: tuple[int, ...]) -> int:
        if len(self._next) >= STATES_MAX:
            raise ValueError(f"the pattern {self.source!r:.80} is too large; repeat less")
        self._tests.append(test)
        self._next.append(after)
        return len(self._next) - 1

    def _build(self, node: _Node, after: int) -> int:
        """The state at which ``node`` begins when ``after`` comes behind it."""
        match node:
            case ("one", test):
                return self._add(test, (after,))
            case ("all", parts):
                for part in reversed(parts):
                    after = self._build(part, after)
                return after
            case ("any", parts):
                return self._add(None, tuple(self._build(part, after) for part in parts))
            case ("times", part, least, most):
                if most is None:
                    loop = self._add(None, ())
                    self._next[loop] = (self._build(part, loop), after)
                    after = loop
                for _ in range((most or least) - least):
                    after = self._add(None, (self._build(part, after), after))
                for _ in range(least):
                    after = self._build(part, after)
                return after
        raise AssertionError(node)


_Node = tuple[Any, ...]


class _Parser:
    """Recursive descent: alternatives of sequences of repeated atoms."""

    def __init__(self, text: str, shown: str) -> None:
        self._text = text
        self._shown = shown
        self._at = 0

    def parse(self) -> _Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise self._error("an unmatched )")
        return node

    def _alternatives(self) -> _Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else ("any", parts)

    def _sequence(self) -> _Node:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return ("all", parts)

    def _repeated(self, atom: _Node) -> _Node:
        while True:
            if self._take("*"):
                atom = ("times", atom, 0, None)
            elif self._take("+"):
                atom = ("times", atom, 1, None)
            elif self._take("?"):
                atom = ("times", atom, 0, 1)
            elif self._take("{"):
                words, brace, rest = self._text[self._at :].partition("}")
                least, comma, most = words.partition(",")
                if not brace or not least.isdigit() or (most and not most.isdigit()):
                    raise self._error("a { that is no {m}, {m,} or {m,n}; write \\{ for itself")
                self._at = len(self._text) - len(rest)
                low = int(least)
                high = (int(most) if most else None) if comma else low
                if max(low, high or 0) > REPEAT_MAX or (high is not None and high < low):
                    raise self._error(f"a repeat that is not within 0 and {REPEAT_MAX}")
                atom = ("times", atom, low, high) if high != 0 else ("all", [])
            else:
                return atom

    def _atom(self) -> _Node:
        c = self._text[self._at]
        self._at += 1
        if c == "(":
            if self._text[self._at : self._at + 1] == "?" and not self._take("?:"):
                raise self._error("a (? that is not (?:")
            node = self._alternatives()
            if not self._take(")"):
                raise self._error("an unmatched (")
            return node
        if c == "[":
            return ("one", self._set())
        if c == ".":
            return ("one", lambda c: c != "\n")
        if c == "\\":
            return ("one", self._escape())
        if c in "*+?{^$":
            raise self._error(f"a {c} with nothing before it, or inside; write \\{c} for itself")
        return ("one", c.__eq__)

    def _escape(self) -> Test:
        if self._at >= len(self._text):
            raise self._error("a \\ at its end")
        c = self._text[self._at]
        self._at += 1
        if c.lower() in _CLASSES:
            test = _CLASSES[c.lower()]
            return test if c.islower() else lambda c: not test(c)
        if c.isalnum() and c not in _ESCAPED:
            raise self._error(f"\\{c}, which is not known here")
        return _ESCAPED.get(c, c).__eq__

    def _set(self) -> Test:
        negated = self._take("^")
        tests: list[Test] = []
        first = True
        while first or not self._take("]"):
            first = False
            if self._at >= len(self._text):
                raise self._error("an unmatched [")
            if self._take("\\"):
                tests.append(self._escape())
                continue
            low = self._text[self._at]
            self._at += 1
            high = self._text[self._at + 1 : self._at + 2]
            if self._text[self._at : self._at + 1] == "-" and high not in ("", "]"):
                self._at += 2
                if high < low or high == "\\":
                    raise self._error(f"the range {low}-{high}")
                tests.append(lambda c, low=low, high=high: low <= c <= high)  # type: ignore[misc]
            else:
                tests.append(low.__eq__)
        return lambda c: any(test(c) for test in tests) != negated

    def _take(self, word: str) -> bool:
        found = self._text.startswith(word, self._at)
        if found:
            self._at += len(word)
        return found

    def _error(self, what: str) -> ValueError:
        return ValueError(f"the pattern {self._shown!r:.80} has {what}")
