"""Backoff: bounds of each wait, of the starts in a minute for any generator, and the reset."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.model.backoff import Backoff


class _Extreme(random.Random):
    """Draws the lowest, the highest or, by turns, either value of a range."""

    def __init__(self, choices: str) -> None:
        super().__init__(0)
        self._choices = choices
        self._count = 0

    def uniform(self, a: float, b: float) -> float:
        choice = self._choices[self._count % len(self._choices)]
        self._count += 1
        return a if choice == "l" else b


def _starts_within(seconds: float, rng: random.Random) -> int:
    """Starts of a service that ends at once, in a time that begins with the first start."""
    backoff, now, starts = Backoff(), 0.0, 0
    while now < seconds:
        starts += 1
        now += backoff.next(rng)
    return starts


@pytest.mark.parametrize("choices", ["l", "h", "lh", "hl", "llh"])
def test_starts_in_first_minute_of_extreme_generator_are_at_most_12(choices: str) -> None:
    """The floor grows, so even a generator that always draws the shortest wait makes no hot
    loop."""
    assert _starts_within(60.0, _Extreme(choices)) <= 12


def test_starts_in_first_minute_worst_case_is_exactly_12() -> None:
    """The bound in the documentation is tight: it fails if the floor shrinks or grows."""
    assert _starts_within(60.0, _Extreme("l")) == 12


@given(st.integers(0, 1 << 32))
def test_starts_in_first_minute_of_any_seed_are_at_most_12(seed: int) -> None:
    """The same for real generators."""
    assert _starts_within(60.0, random.Random(seed)) <= 12


@given(st.floats(0.1, 100), st.floats(1, 100), st.integers(0, 1 << 32))
def test_next_is_always_within_min_and_max(low: float, factor: float, seed: int) -> None:
    """No wait is outside the range, for a hundred failures in a row."""
    backoff, rng = Backoff(low, low * factor), random.Random(seed)
    for _ in range(120):
        assert low <= backoff.next(rng) <= low * factor


def test_next_spreads_hosts_that_fail_together() -> None:
    """After many failures waits still differ: at least from a third of the maximum up to it."""
    waits = []
    for seed in range(200):
        backoff, rng = Backoff(), random.Random(seed)
        for _ in range(30):
            wait = backoff.next(rng)
        waits.append(wait)
    assert min(waits) < 30
    assert max(waits) > 55
    assert len(set(waits)) > 100


def test_next_after_stable_run_begins_anew() -> None:
    """Up for ``stable_for_s`` is recovered; one second less is not."""
    backoff, rng = Backoff(), _Extreme("h")
    for _ in range(6):
        backoff.next(rng)
    assert backoff.next(rng, up_s=59.0) == 60.0
    assert backoff.failures == 7
    assert backoff.next(rng, up_s=60.0) == 3.0
    assert backoff.failures == 1


def test_reset_forgets_failures() -> None:
    """An operator's start is not punished for what was before."""
    backoff, rng = Backoff(), _Extreme("l")
    for _ in range(9):
        backoff.next(rng)
    backoff.reset()
    assert backoff.next(rng) == 1.0


@pytest.mark.parametrize("arguments", [(0.0, 60.0), (0.05, 1.0), (5.0, 1.0), (1.0, 60.0, 0.0)])
def test_backoff_out_of_range_is_refused(arguments: tuple[float, ...]) -> None:
    """A hot loop can't be configured."""
    with pytest.raises(ValueError, match="need"):
        Backoff(*arguments)
