"""Maintenances: their bounds, their end by whatever clock, and damaged files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.maintenance import (
    ALL,
    ENTRIES_MAX,
    MaintenanceError,
    MaintenanceList,
    Moment,
    entry,
)

NOW = Moment(wall_s=1_000_000.0, boot_s=500.0, boot_id="a")


def test_reason_of_a_service_goes_before_that_of_all() -> None:
    """The nearer one explains more."""
    found = MaintenanceList([entry(ALL, "moving", None, NOW)])
    assert (found.reason("db"), found.reason("web")) == ("moving", "moving")
    found.add(entry("db", "vacuum", None, NOW))
    assert (found.reason("db"), found.reason("web")) == ("vacuum", "moving")
    found.end("db")
    assert found.reason("db") == "moving"
    assert [gone.name for gone in found.end(ALL)] == [ALL]
    assert not found


@pytest.mark.parametrize(
    ("reason", "for_s", "words"),
    [
        (" ", None, "needs a reason"),
        ("two\nlines", None, "all printable"),
        ("x" * 201, None, "has 201 characters, it may have 200"),
        ("x", 0.0, "out of bounds"),
        ("x", 1e9, "out of bounds"),
        ("x", float("nan"), "out of bounds"),
    ],
)
def test_entry_out_of_bounds_is_refused(reason: str, for_s: float | None, words: str) -> None:
    """One line that names the bound."""
    with pytest.raises(OperatorError) as caught:
        entry("db", reason, for_s, NOW)
    assert words in caught.value.message


def test_list_is_bounded() -> None:
    """One more than the limit is refused; a new reason for an old one is not."""
    found = MaintenanceList(entry(f"s{i}", "x", None, NOW) for i in range(ENTRIES_MAX))
    found.add(entry("s0", "y", None, NOW))
    with pytest.raises(OperatorError):
        found.add(entry("more", "x", None, NOW))


@given(st.floats(-1e8, 1e8), st.floats(0.0, 4000.0), st.floats(1.0, 3600.0))
def test_end_in_one_boot_ignores_the_wall_clock(
    wall_jump_s: float, passed_s: float, for_s: float
) -> None:
    """However the clock is set, it lasts as long as asked."""
    found = MaintenanceList([entry("db", "x", for_s, NOW)])
    later = Moment(NOW.wall_s + passed_s + wall_jump_s, NOW.boot_s + passed_s, "a")
    ended = bool(found.expire(later))
    if abs(passed_s - for_s) > 1e-3:
        assert ended == (passed_s > for_s)


@given(st.floats(-1e8, 1e8), st.floats(1.0, 3600.0), st.floats(0.0, 3600.0))
def test_end_after_another_boot_is_never_longer_than_asked(
    wall_jump_s: float, for_s: float, then_s: float
) -> None:
    """A clock that was set back does not keep a service out of use for years."""
    found = MaintenanceList.decode(MaintenanceList([entry("db", "x", for_s, NOW)]).encode())
    loaded = Moment(NOW.wall_s + wall_jump_s, 10.0, "b")
    found.expire(loaded)
    found.rebase(loaded)
    for one in found.entries:
        left_s = one.left_s(loaded)
        assert left_s is not None
        assert 0 < left_s <= for_s
        assert left_s == pytest.approx(min(for_s - wall_jump_s, for_s), abs=1e-3)
    later = Moment(-1.0, 10.0 + for_s + then_s + 1e-3, "b")
    found.expire(later)
    assert not found


def test_without_an_end_it_stays_over_boots_and_clocks() -> None:
    """Until it is ended by hand."""
    found = MaintenanceList([entry("db", "x", None, NOW)])
    found.expire(Moment(1e12, 1e9, "b"))
    assert found.reason("db") == "x"


@given(st.binary(max_size=200))
def test_decode_any_bytes_gives_a_list_or_its_error(data: bytes) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(MaintenanceError):
        MaintenanceList.decode(data)
