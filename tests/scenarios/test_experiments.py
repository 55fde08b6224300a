"""The experiments, tiny: each runs, replays and gives measures that make sense.

What they show about the core at full size is printed by `bench/targets.py`; here only the
measuring itself is held, so that a figure means what its name says.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_experiments import EXPERIMENTS, run_experiment
from sup_core.simulator_lab import EXCUSE_S, Lab, median, quantile

SHORT: dict[str, dict[str, Any]] = {
    "crash": {"rounds": 2},
    "rumor": {"rounds": 2},
    "heal": {"minutes": 0.5},
    "churn": {"minutes": 1.0, "percent": 10.0},
    "stalls": {"minutes": 1.0, "slow": 1},
    "pauses": {"minutes": 1.0},
    "flip-flop": {"minutes": 1.5},
    "egress-loss": {"minutes": 1.0},
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_of_twelve_measures_and_replays(name: str) -> None:
    """Same seed, same figures and same trace; no figure is negative and no name is empty."""
    options = SHORT.get(name, {})
    result = run_experiment(name, seed=1, members=12, **options)
    again = run_experiment(name, seed=1, members=12, **options)
    assert result.trace == again.trace
    assert result.samples == again.samples
    figures = [*result.measures.items(), *((k, v) for k, vs in result.samples.items() for v in vs)]
    assert figures
    assert [pair for pair in figures if pair[1] < 0] == []


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n not in ("join", "bootstrap")])
def test_experiment_without_a_clock_has_no_cpu_time(name: str) -> None:
    """The core reads no clock: CPU is measured only for who hands one in."""
    result = run_experiment(name, seed=2, members=5, **SHORT.get(name, {}))
    assert math.isnan(result.measures.get("cpu_ms_s", math.nan))


def test_experiment_with_a_clock_measures_its_phase() -> None:
    """The window takes what the clock says at its ends."""
    ticks = iter(range(100))
    result = run_experiment("join", seed=1, members=5, clock=lambda: float(next(ticks)))
    assert result.measures["cpu_s"] == 1.0


def test_crash_knowledge_is_ordered_and_full() -> None:
    """The first knows before the median before the last, and the curve ends at all of them."""
    result = run_experiment("crash", seed=3, members=20, rounds=3)
    for first, middle, last in zip(
        *(result.samples[k] for k in ("first_s", "median_s", "last_s")), strict=True
    ):
        assert 0 < first <= middle <= last < 10
    assert result.series["knows"][-1][1] == 1.0
    assert result.measures["false_deaths"] == 0


def test_steady_ring_counts_headers() -> None:
    """Two packets a second of at least 28 bytes of headers each, and nothing changes."""
    measures = run_experiment("steady", seed=1, members=10).measures
    assert 1.5 < measures["packets_s"] < 3
    assert measures["bytes_s"] > 28 * measures["packets_s"]
    assert measures["changes"] == 0


def test_stalls_and_pauses_are_really_injected() -> None:
    """A campaign without faults would be clean too: the counts say that there were some."""
    stalls = run_experiment("stalls", seed=1, members=10, slow=2, minutes=2.0).measures
    assert stalls["stalls"] >= 4
    assert stalls["longest_stall_s"] > 1
    pauses = run_experiment("pauses", seed=1, members=10, minutes=2.0).measures
    assert 15 <= pauses["pauses"] <= 25


def test_flip_flop_holds_the_faulty_out_at_times() -> None:
    """A deaf member is declared dead and taken back; healthy ones are not declared."""
    result = run_experiment("flip-flop", seed=1, members=20, minutes=3.0)
    assert result.measures["false_deaths"] == 0
    assert result.measures["returns"] >= 1
    shares = [share for _, share in result.series["held_alive"]]
    assert min(shares) == 0.0
    assert max(shares) == 1.0


class Mute(Node):
    """A node that never tells anybody anything: what it is asked, it does not answer."""

    def poll_transmit(self) -> tuple[bytes, bytes] | None:
        """Nothing, ever."""
        while super().poll_transmit() is not None:
            pass
        return None


def test_experiment_takes_what_never_happens_for_ever() -> None:
    """Rules under which a ring never forms are measured, not raised at."""
    result = run_experiment("join", seed=1, members=3, node_type=Mute, limit=5.0)
    assert result.measures["join_s"] == math.inf


def test_episodes_count_a_verdict_once_however_many_hear_it() -> None:
    """Two members whom loss makes look dead, each to many: two, not hundreds."""
    sim = Simulator(seed=1, checks=[], light=True)
    lab = Lab(sim)
    lab.form(12, settled=EXCUSE_S)
    assert lab.episodes() == 0
    for host in (3, 4):
        sim.set_loss(host, incoming=1.0, outgoing=1.0)  # not excused: nobody was told
    lab.run(15.0)
    assert sim.ledger.healthy_deaths >= 2 * 9
    assert lab.episodes() == 2


def test_quantiles_are_of_the_values() -> None:
    """Nearest rank, and the mean of the two in the middle."""
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(1, 101), 0.99) == 99
    assert median([1, 2, 3, 4]) == 2.5
    assert math.isnan(median([]))
