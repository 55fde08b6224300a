"""The stories: what a small ring says, line by line, when something happens to it.

They open with why they exist. When the rules change on purpose, ``python -m
tests.scenarios.storyteller --rewrite`` writes what is said now, and the change is read in the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.storyteller import Story, stories


@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_story_is_told_as_it_stands(path: Path) -> None:
    """Same file, same words, same times."""
    text = path.read_text()
    assert text.startswith("# "), "a story opens with why it exists"
    assert Story(text).tell() == text


@pytest.mark.parametrize(
    ("text", "words"),
    [("run 3", "the first command is: ring N"), ("ring 3\nfly m1", "line 2: no command 'fly'")],
)
def test_story_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    """A typo in a story is an error, not an empty story."""
    with pytest.raises(ValueError, match=words):
        Story(text).tell()
