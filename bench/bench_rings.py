"""What simulated rings cost: speed at rest and the join, at 100, 1,000, 5,000 and 10,000 members.

The rings run in light mode, without a Python object per event, and hold full views. 5,000 and
10,000 take minutes and gigabytes, so they run only when asked for: ``RINGS=10000 make bench``
measures all sizes up to that. How fast rings detect, spread and heal is `bench/targets.py`'s.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from sup_core.simulator import Simulator
from sup_core.simulator_lab import Lab
from sup_core.simulator_scenarios import run_scenario

SIZES = [n for n in (100, 1000, 5000, 10000) if n <= int(os.environ.get("RINGS", "1000"))]


def started() -> Lab:
    """A light simulation without members."""
    return Lab(Simulator(seed=1, light=True), clock=time.process_time)


@pytest.mark.parametrize("members", SIZES)
def test_quiet_ring(benchmark: Any, members: int) -> None:
    """How long does one virtual second of a quiet ring take? (virtual s per real s = 1 / result)"""
    lab = started()
    lab.form(members, settled=30.0, limit=600.0)
    window = lab.open()
    benchmark.pedantic(lab.sim.run, args=(1.0,), rounds=20, warmup_rounds=2)
    benchmark.extra_info |= lab.cost(lab.close(window), members)


@pytest.mark.parametrize("members", [n for n in SIZES if n <= 5000])
def test_join(benchmark: Any, members: int) -> None:
    """How long does it take to simulate a ring that forms within a second, until all agree?"""
    took: list[float] = []

    def join() -> None:
        lab = started()
        lab.sim.add(members, over=1.0)
        lab.run(1.0)
        took.append(1.0 + lab.agree(600.0, every=0.05))

    benchmark.pedantic(join, rounds=5 if members <= 100 else 1)
    benchmark.extra_info["virtual_s"] = took


def test_chaos_seed(benchmark: Any) -> None:
    """How long does one seed of the campaign take at 100 members, with all checks?"""

    def run() -> None:
        run_scenario("chaos", seed=1, members=100)

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
