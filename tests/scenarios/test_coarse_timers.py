"""Rings whose timers fire only at the multiples of some milliseconds: they find the dead as others.

A hub of many members rounds their timers to one moment, and so does a host with coarse clock ticks.
What is due at different times within a grain happens at once then: a helper's nack leaves in the
wake-up in which its prober gives up. No rule may need less than that.
"""

from __future__ import annotations

import pytest

from sup_core.config import Config
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form

MEMBERS = 12
ROUNDS = 4
KNOWN_S = 6.0
"""As for exact timers: what 99 of 100 crashes keep at a hundred members."""


def ring(grain_us: int, seed: int, *, coarse: int = MEMBERS) -> Simulator:
    """A ring that has formed; the timers of its first members are coarse."""
    sim = Simulator(seed=seed, config=Config(), light=True)
    form(sim, MEMBERS)
    for index in range(coarse):
        sim.coarsen(index, grain_us)
    return sim


def slowest_crash_s(sim: Simulator) -> float:
    """One dies, and comes back before the next; the longest time until all others knew."""
    slowest = 0.0
    for number in range(ROUNDS):
        sim.run(2.0 + 0.37 * number)
        victim = (5 * number + 3) % MEMBERS
        died = sim.now_us
        sim.crash(victim, host=True)
        sim.run(KNOWN_S + 4.0)
        ending = sim.ending(victim)
        assert ending.unaware == 0, f"{ending.unaware} of the others never knew"
        slowest = max(slowest, (ending.last_us - died) / 1e6)
        sim.restart(victim)
        sim.run(8.0)
    assert sim.ledger.false_deaths == 0
    return slowest


@pytest.mark.parametrize("grain_ms", [5, 10, 20, 25, 50, 64, 70, 100])
def test_crash_is_detected_on_a_shared_grid_of_timers(grain_ms: int) -> None:
    """At the grains at which a nack (32 ms) meets the prober's wait (40), or the last check's (60),
    and at those that are late by the least time-out each time."""
    assert max(slowest_crash_s(ring(1_000 * grain_ms, seed)) for seed in (1, 2)) <= KNOWN_S


@pytest.mark.parametrize("coarse", [1, 6, 11])
def test_crash_is_detected_by_members_of_different_grains(coarse: int) -> None:
    """Exact probers with coarse helpers and the other way round."""
    assert max(slowest_crash_s(ring(50_000, seed, coarse=coarse)) for seed in (3, 4)) <= KNOWN_S


def test_pause_below_the_tolerance_kills_nobody_on_a_shared_grid() -> None:
    """Longer waits for answers are no shorter waits for the suspect."""
    sim = ring(25_000, 5)
    for number in range(60):
        sim.freeze(number % MEMBERS, 1.85)
        sim.run(1.9)
    sim.run(5.0)
    assert sim.ledger.false_deaths == 0
    assert len(sim.running()) == MEMBERS
