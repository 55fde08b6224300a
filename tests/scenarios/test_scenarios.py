"""Whole rings of real nodes in virtual time: each story within bounds computed from the
configuration.

Every run is a function of its seed; the numbers in a failure's text replay it. The campaign
runner in ``bench/`` runs the same scripts over hundreds of seeds.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sup_core.simulator_scenarios import SCENARIOS, run_scenario

CAMPAIGN_SEEDS = 100
"""Seeds of the random script here; the campaign runner does the hundreds."""

FULL_SIZE = ("join", "crash", "mass-crash", "split", "lossy", "rumor", "large-rumor", "leave")
SMALL = tuple(
    name for name in SCENARIOS if name not in FULL_SIZE and name not in ("chaos", "tumble")
)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_scenario_of_a_hundred_keeps_its_bounds(name: str) -> None:
    """The stories that a hundred members must master."""
    outcome = run_scenario(name, seed=1, members=100)
    assert outcome.measures
    assert outcome.events > 1000


@pytest.mark.parametrize("name", SMALL)
def test_scenario_of_forty_keeps_its_bounds(name: str) -> None:
    """The longer stories, on a smaller ring."""
    assert run_scenario(name, seed=2, members=40).measures


def test_laggard_of_a_hundred_gives_its_ghost_up_in_seconds() -> None:
    """It questions everybody when it is back; by the round robin alone this took minutes."""
    assert run_scenario("ghost", seed=6, members=100).measures["settle_s"] < 20


@pytest.mark.parametrize("members", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["crash", "leave", "rumor", "restart", "pauses", "two-rings"])
def test_scenario_of_a_few_keeps_its_bounds(name: str, members: int) -> None:
    """Rings too small for every number of helpers: fixed numbers must be capped by live members."""
    assert run_scenario(name, seed=3, members=members).measures


@pytest.mark.parametrize("seed", range(1, CAMPAIGN_SEEDS + 1))
def test_chaos_small_ring_settles(seed: int) -> None:
    """The whole menu of faults, in rings of 3 to 16."""
    assert run_scenario("chaos", seed=seed, members=3 + seed % 14).measures


@pytest.mark.parametrize("seed", range(1, 21))
def test_chaos_of_a_hundred_settles(seed: int) -> None:
    """The whole menu of faults, at full size."""
    assert run_scenario("chaos", seed=seed, members=100).measures


def test_crash_detection_distribution_stays_below_the_targets() -> None:
    """Ten crashes at a hundred members: median of "the last knows" at most 3.5 s, worst 6 s."""
    last = sorted(
        run_scenario("crash", seed=seed, members=100).measures["detect_last_s"]
        for seed in range(20, 30)
    )
    assert (last[4] + last[5]) / 2 <= 3.5
    assert last[-1] <= 6.0


def test_pauses_below_the_tolerance_kill_nobody_in_several_sizes() -> None:
    """Refutation wins whenever the pause is shorter than the tolerance."""
    for seed, members in ((1, 3), (2, 10), (3, 60)):
        run_scenario("pauses", seed=seed, members=members)


@pytest.mark.parametrize("name", ["chaos", "split", "restart"])
def test_replay_same_seed_gives_the_same_trace(name: str) -> None:
    """Byte for byte: every delivered packet, timer and stream, at its time."""
    first = run_scenario(name, seed=7, members=12)
    assert run_scenario(name, seed=7, members=12) == first
    assert run_scenario(name, seed=8, members=12).trace != first.trace


def test_replay_in_another_process_does_not_depend_on_the_hash_seed() -> None:
    """Nothing depends on set order, id() or hash()."""
    program = (
        "from sup_core.simulator_scenarios import run_scenario\n"
        "import sys\n"
        "sys.stdout.write(str(run_scenario('chaos', seed=7, members=12).trace))\n"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert traces == {str(run_scenario("chaos", seed=7, members=12).trace)}
