"""The transition table: legal and illegal pairs, reachability, and the page made from it."""

from pathlib import Path

import pytest

from sup.model.process_state import (
    TRANSITIONS,
    Event,
    IllegalTransitionError,
    State,
    next_state,
    states_document,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "process-states.md"


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([Event.START, Event.SPAWNED], State.UP),
        ([Event.START, Event.START_FAILED, Event.RETRY, Event.SPAWNED], State.UP),
        ([Event.START, Event.SPAWNED, Event.EXITED, Event.GIVE_UP], State.FAILED),
        ([Event.START, Event.SPAWNED, Event.STOP, Event.EXITED, Event.STOPPED], State.DOWN),
        ([Event.START, Event.STOP, Event.STOPPED], State.DOWN),
        ([Event.ADOPT, Event.EXITED, Event.RETRY], State.STARTING),
        ([Event.ADOPT, Event.STOP, Event.STOPPED], State.DOWN),
        ([Event.START, Event.START_FAILED, Event.STOP], State.DOWN),
    ],
)
def test_next_state_along_a_life_ends_where_expected(events: list[Event], state: State) -> None:
    """The lives a service can lead."""
    now = State.DOWN
    for event in events:
        now = next_state(now, event)
    assert now is state


def test_next_state_of_illegal_pair_names_both_and_the_legal_ones() -> None:
    """A mistake in the caller is loud and says what would have been possible."""
    with pytest.raises(
        IllegalTransitionError, match="event spawned in state down; legal there: ad"
    ):
        next_state(State.DOWN, Event.SPAWNED)


def test_every_state_is_reachable_and_can_be_left_for_down() -> None:
    """No state is a dead end, and none is there for nothing."""
    reached, frontier = {State.DOWN}, [State.DOWN]
    while frontier:
        state = frontier.pop()
        for (before, _), after in TRANSITIONS.items():
            if before is state and after not in reached:
                reached.add(after)
                frontier.append(after)
    assert reached == set(State)
    for state in State:
        after = next_state(state, Event.STOP)
        assert after is State.DOWN or next_state(after, Event.STOPPED) is State.DOWN


def test_only_up_and_adopted_are_running() -> None:
    """What the health check and the rumor call up."""
    assert {state for state in State if state.running} == {State.UP, State.ADOPTED}


def test_document_is_made_from_the_table() -> None:
    """The page can't drift; write ``states_document()`` to it after a change."""
    assert DOCUMENT.read_text(encoding="utf-8") == states_document()
