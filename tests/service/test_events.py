"""Telling and following events, and that telling can't hurt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sup import events
from sup.model.event_log import EventLog


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A list of this test's own."""
    monkeypatch.setattr(events, "kept", EventLog())
    yield
    assert not events._waiting


async def test_since_waits_for_the_first_event_that_fits() -> None:
    """Who follows is woken at once, by what it asked for and by nothing else."""
    asked = asyncio.create_task(events.since(0, wait_s=20, kinds=frozenset({"hook"})))
    await asyncio.sleep(0)
    events.tell("bind", "web", "not asked for")
    await asyncio.sleep(0.01)
    assert not asked.done()
    events.tell("hook", "web", "init failed", code=1)
    found, following, lost = await asked
    assert [(e.text, e.fields) for e in found] == [("init failed", {"code": 1})]
    assert (following, lost) == (2, 0)


async def test_since_without_an_event_ends_with_its_time() -> None:
    """An empty answer says where the next question begins."""
    events.tell("bind", "web", "x")
    assert await events.since(1, wait_s=0.05) == ([], 1, 0)


async def test_since_cancelled_leaves_nobody_waiting() -> None:
    """A client that goes away is forgotten."""
    asked = asyncio.create_task(events.since(0, wait_s=20))
    await asyncio.sleep(0.01)
    assert len(events._waiting) == 1
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not events._waiting


async def test_since_beyond_the_followers_answers_without_waiting() -> None:
    """A crowd of followers costs a bounded number of waits."""
    asked = [asyncio.create_task(events.since(0, wait_s=20)) for _ in range(events.FOLLOWERS_MAX)]
    await asyncio.sleep(0.01)
    assert await events.since(0, wait_s=20) == ([], 0, 0)
    events.tell("hook", "", "end")
    for one in asked:
        assert (await one)[1] == 1


async def test_since_is_answered_when_the_supervisor_ends() -> None:
    """Who follows does not hold up an end, neither those that wait nor who asks from then on."""
    asked = asyncio.create_task(events.since(0, wait_s=20))
    await asyncio.sleep(0.01)
    events.hold(False)
    try:
        assert await asked == ([], 0, 0)
        assert await events.since(0, wait_s=20) == ([], 0, 0)
    finally:
        events.hold(True)


def test_tell_never_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in an event is a line in the log, not the end of a service's task."""
    events.tell("hook", "web", None)  # type: ignore[arg-type]
    assert "event lost" in caplog.text
