"""The small regular expression: the same answers as Python's, in bounded time."""

from __future__ import annotations

import random
import re
import time

import pytest

from sup_health_http.pattern import Pattern, TooManySteps

PATTERNS = [
    *("abc", "a.c", "a*b", "a+b?c", "(ab|cd)+", "(?:a|b){2,3}c", "^a", "c$", "^a*$", "^$", "$"),
    *(r"\d+", r"\w\s\w", r"\D\W\S", "[a-c]x", "[^a-c]x", "[]a]", "[a-]", r"[\d.]+z", r"a\.b"),
    *(r"\\$", r"a\$", "(a*)*b", "(a|a)*b", "a{2}", "a{2,}", "a{0,2}b", "x|", "(|a)b"),
    *("a{0}b", r"\n", "^(a|b)$", "(c|d)b?$"),
]
TEXTS = [
    *("", "a", "b", "abc", "aabbcc", "abab", "cdab", "bac", "aaac", "a c", "1 2", "x.y", "ax"),
    *("]", "-", "12.5z", "a.b", "axb", "a\\", "a$", "aaab", "aaaa", "\n", "a\nb", "ab\n", "0x1"),
]


@pytest.mark.parametrize("source", PATTERNS)
def test_search_agrees_with_re(source: str) -> None:
    """On every text; ``$`` is the end of the text alone, which re writes ``\\Z``."""
    theirs = re.compile(
        source[:-1] + r"\Z" if source.endswith("$") and not source.endswith(r"\$") else source
    )
    ours = Pattern(source)
    for text in TEXTS:
        assert ours.search(text) == bool(theirs.search(text)), (source, text)


@pytest.mark.parametrize("source", ["(a*)*b", "(a|a)*b", "(a|aa)+$", "a*a*a*a*a*b", ".*.*.*x"])
def test_search_of_what_makes_re_stand_still_is_soon_over(source: str) -> None:
    """Patterns that would take a backtracking search longer than the sun will shine."""
    begun_s = time.monotonic()
    assert not Pattern(source).search("a" * 65_536 + "!")
    assert time.monotonic() - begun_s < 5.0


def test_search_over_its_bound_says_so() -> None:
    """A pattern of many states on a text that never repeats a set of them."""
    pattern = Pattern("(a|b)*a" + "(a|b){60}c")
    text = "".join(random.Random(1).choices("ab", k=60_000))
    with pytest.raises(TooManySteps):
        pattern.search(text)


@pytest.mark.parametrize(
    "source",
    [
        *("(", ")", "[", "a**{", "*", "a{x}", "a{3,2}", "a{101}", "(?=a)", "(?P<x>a)", r"\b", "\\"),
        *("a^b", "(a{50}){50}", "x" * 257, "[z-a]", "^a|b", "a|b$"),
    ],
)
def test_pattern_that_is_none_is_one_line(source: str) -> None:
    """What is wrong with it, and nothing of Python's inside."""
    with pytest.raises(ValueError, match=r"^the pattern [^\n]*$"):
        Pattern(source)
