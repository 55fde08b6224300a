"""The counts of logs: fresh when asked for, never waited for long, never an error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sup import log_counts
from sup.log_counts import LogCounts

TALLY = {"web": [5, 50, 2, 20, 1, "No space left on device"]}


async def test_counts_are_named_and_asked_for_once_a_second() -> None:
    """Two questions in a row cost the launcher one."""
    asked = 0

    async def ask() -> Mapping[str, Sequence[Any]]:
        nonlocal asked
        asked += 1
        return TALLY

    counts = LogCounts(ask)
    await counts.refresh()
    await counts.refresh()
    assert asked == 1
    assert counts.of("web") == {
        "lines": 5,
        "bytes": 50,
        "dropped_lines": 2,
        "dropped_bytes": 20,
        "rotations": 1,
        "problem": "No space left on device",
    }
    assert counts.of("db") is None


async def test_counts_without_a_launcher_are_none() -> None:
    """A log that the service writes itself is not counted."""
    counts = LogCounts(None)
    await counts.refresh()
    assert counts.of("web") is None


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("no"), None])
async def test_counts_of_a_launcher_that_fails_stay_as_they_were(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead or hung launcher must not take the status along."""
    monkeypatch.setattr(log_counts, "ASK_S", 0.05)
    monkeypatch.setattr(log_counts, "FRESH_S", -1.0)
    answers = [TALLY]

    async def ask() -> Mapping[str, Sequence[Any]]:
        if answers:
            return answers.pop()
        if error is not None:
            raise error
        await asyncio.sleep(60)
        return {}

    counts = LogCounts(ask)
    await counts.refresh()
    async with asyncio.timeout(10):
        await counts.refresh()
    found = counts.of("web")
    assert found is not None
    assert found["lines"] == 5
