"""The list of events: numbered without gaps, bounded in every direction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.model import event_log
from sup.model.event_log import EventLog


def test_add_numbers_from_one_and_keeps_the_newest() -> None:
    """The oldest goes when there is no room, and the numbers go on."""
    log = EventLog(3)
    for number in range(5):
        log.add(0.0, "hook", "web", f"text {number}")
    assert (log.first, log.last) == (3, 5)
    found, following, lost = log.since(0)
    assert [event.text for event in found] == ["text 2", "text 3", "text 4"]
    assert (following, lost) == (5, 2)


def test_since_the_last_number_is_empty_and_the_future_is_the_beginning() -> None:
    """A number from an earlier supervisor, which counted further, gets everything there is."""
    log = EventLog()
    log.add(0.0, "hook", "web", "x")
    assert log.since(1) == ([], 1, 0)
    assert [event.seq for event in log.since(7)[0]] == [1]


def test_since_of_one_kind_or_service_skips_the_others() -> None:
    """What is not asked for counts as read."""
    log = EventLog()
    log.add(0.0, "hook", "web", "a")
    log.add(0.0, "bind", "web", "b")
    log.add(0.0, "bind", "db", "c")
    assert [e.text for e in log.since(0, kinds=frozenset({"bind"}))[0]] == ["b", "c"]
    assert [e.text for e in log.since(0, service="web")[0]] == ["a", "b"]
    assert log.since(0, kinds=frozenset({"none"}))[1] == 3


def test_add_cuts_what_is_too_long_and_flattens_lines() -> None:
    """An event is one bounded line with a few bounded fields, whatever it is made of."""
    event = EventLog().add(
        0.0, "k" * 99, "s" * 999, "a\nb\t" + "x" * 9999, {f"f{n}": "y" * 999 for n in range(99)}
    )
    assert len(event.kind) == event_log.KIND_CHARACTERS_MAX
    assert len(event.service) == event_log.FIELD_CHARACTERS_MAX
    assert len(event.text) == event_log.TEXT_CHARACTERS_MAX
    assert event.text.startswith("a b x")
    assert len(event.fields) == event_log.FIELDS_MAX
    assert {len(str(value)) for value in event.fields.values()} == {event_log.FIELD_CHARACTERS_MAX}


def test_event_log_without_room_is_refused() -> None:
    """A size below one would keep nothing and say so nowhere."""
    with pytest.raises(ValueError, match="at least 1"):
        EventLog(0)


@given(st.integers(1, 9), st.integers(0, 600), st.integers(0, 700))
def test_since_pages_give_every_kept_event_once(size: int, count: int, start: int) -> None:
    """Following ``next`` reads all that is kept, in order, without a repeat."""
    log = EventLog(size * 60)
    for number in range(count):
        log.add(0.0, "k", "", str(number))
    seq, seen = start, []
    for _ in range(20):
        found, following, _ = log.since(seq)
        seen += [event.seq for event in found]
        if following == seq:
            break
        seq = following
    start = 0 if start > count else start
    assert seen == list(range(max(log.first, start + 1), count + 1))
