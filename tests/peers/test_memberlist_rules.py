"""The simulated memberlist of the benchmarks: its formulas, and that it still runs.

The comparison with our rules is worth what these rules are worth; `bench/peers/validate.py` holds
them against the real program where there is Go, these tests hold them everywhere.
"""

from __future__ import annotations

from functools import partial

import pytest
from bench.peers.memberlist_node import Directory, MemberlistNode
from bench.peers.memberlist_rules import (
    Settings,
    push_pull_interval_us,
    retransmit_limit,
    suspicion_remaining_us,
    suspicion_timeout_us,
)

from sup_core.simulator import Simulator
from sup_core.simulator_experiments import run_experiment

SECOND = 1_000_000


@pytest.mark.parametrize(("members", "seconds"), [(5, 4), (10, 4), (100, 8), (1_000, 12)])
def test_suspicion_timeout_grows_with_log10(members: int, seconds: int) -> None:
    """memberlist's documented wait: mult × max(1, log10 n) × probe interval."""
    assert suspicion_timeout_us(4, members, SECOND) == seconds * SECOND


@pytest.mark.parametrize(("confirmations", "seconds"), [(0, 48.0), (1, 22.763), (2, 8.0)])
def test_suspicion_remaining_each_accuser_shortens_it(confirmations: int, seconds: float) -> None:
    """Lifeguard, §IV-B: from the most to the least with the logarithm of the accusers."""
    left = suspicion_remaining_us(confirmations, 2, 0, 8 * SECOND, 48 * SECOND)
    assert left == pytest.approx(seconds * SECOND, rel=1e-3)


def test_suspicion_remaining_nobody_wanted_is_the_least() -> None:
    """A ring too small for accusers does not wait for any."""
    assert suspicion_remaining_us(0, 0, SECOND, 4 * SECOND, 24 * SECOND) == 3 * SECOND


@pytest.mark.parametrize(("members", "copies"), [(9, 4), (50, 8), (100, 12), (1_000, 16)])
def test_retransmit_limit_counts_copies(members: int, copies: int) -> None:
    """memberlist's documented limit: mult × ceil(log10(n + 1))."""
    assert retransmit_limit(4, members) == copies


@pytest.mark.parametrize(("members", "factor"), [(32, 1), (33, 2), (64, 2), (100, 3), (1_000, 6)])
def test_push_pull_interval_grows_past_32_members(members: int, factor: int) -> None:
    """memberlist's documented scale for full exchanges."""
    assert push_pull_interval_us(30 * SECOND, members) == factor * 30 * SECOND


def test_ring_of_memberlist_nodes_finds_a_crash() -> None:
    """The node still fits the simulator: a ring forms, and a crash is known in its time."""
    node = partial(MemberlistNode, settings=Settings(), directory=Directory())
    result = run_experiment("crash", seed=1, members=12, node_type=node, rounds=1)
    # Suspicion takes 4.3 s, after one to three probes of a second.
    assert 4.0 < result.samples["first_s"][0] <= result.samples["last_s"][0] < 12.0
    assert result.measures["false_deaths"] == 0


def test_memberlist_rumor_reaches_all_in_limited_copies() -> None:
    """A message is sent to everybody, each member sending no more copies than the limit."""
    members = 12
    node = partial(MemberlistNode, settings=Settings(), directory=Directory())
    sim = Simulator(seed=1, checks=[], node_type=node)
    sim.add(members)
    sim.run(20.0)
    nodes = [sim.node(index) for index in range(members)]
    nodes[0].publish_rumor(7, sim.clock(0))  # type: ignore[attr-defined]
    sim.touch(0)
    sim.run(10.0)
    assert all(7 in one.rumors_seen for one in nodes)  # type: ignore[attr-defined]
    copies = sum(one.rumor_copies for one in nodes)  # type: ignore[attr-defined]
    assert copies <= members * retransmit_limit(4, members)
