"""Who starts after whom: conditions, circles, and the way down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.process_plan import Condition
from sup.model.process_state import State
from sup.model.start_order import (
    Standing,
    circle,
    circle_line,
    dependants,
    parse_after,
    waits_for,
)

UP = Standing(State.UP, has_process=True, started=True)


@pytest.mark.parametrize(
    ("standing", "met"),
    [
        (Standing(State.DOWN), ""),
        (Standing(State.BACKOFF), ""),
        (Standing(State.STARTING), ""),
        (Standing(State.STARTING, has_process=True), "started"),
        (UP, "started ready"),
        (Standing(State.ADOPTED, has_process=True, started=True), "started ready"),
        (Standing(State.UP, True, True, healthy=True), "started ready healthy"),
        (Standing(State.STOPPING, True, True, healthy=True), ""),
        (Standing(State.DONE), "started ready healthy"),
        (Standing(State.FAILED), ""),
    ],
)
def test_standing_meets_by_table(standing: Standing, met: str) -> None:
    """A oneshot that is done meets every condition; one that goes down meets none."""
    conditions: list[Condition] = ["started", "ready", "healthy"]
    assert [c for c in conditions if standing.meets(c)] == met.split()


def test_waits_for_names_each_service_and_how_far_it_is() -> None:
    """The reason that an operator reads."""
    after: dict[str, Condition] = {"db": "healthy", "cache": "ready", "bus": "started"}
    line = waits_for(after, {"db": UP, "bus": UP})
    assert line == ("waits for db (healthy), which is up; cache (ready), which is not loaded here")
    assert waits_for({}, {}) == ""


def test_circle_names_the_way_round() -> None:
    """One clear line; the shortest way."""
    orders = {"web": ["db", "cache"], "db": ["disk"], "disk": ["web"], "cache": []}
    assert circle(orders, "web") == ("web", "db", "disk", "web")
    assert "web -> db -> disk -> web" in circle_line(circle(orders, "web"))
    assert circle(orders, "cache") == ()
    assert circle({"a": ["a"]}, "a") == ("a", "a")


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdefg"), max_size=4), max_size=6
    )
)
def test_dependants_outside_of_circles_always_have_an_order(
    orders: dict[str, set[str]],
) -> None:
    """Taking down whoever has no dependants left comes to an end, for every graph."""
    left = set(orders)
    while left:
        free = {name for name in left if not dependants(orders, name) & left}
        assert free
        left -= free


def test_parse_after_takes_a_bare_name_for_ready() -> None:
    """``--after db`` and ``--after db:healthy``; anything else is one line."""
    assert parse_after(["db:healthy", "bus"]) == {"db": "healthy", "bus": "ready"}
    for words in (["db:well"], [":ready"], ["db", "db:started"]):
        with pytest.raises(OperatorError):
            parse_after(words)
