"""How long things may take in a simulated ring: bounds computed from configuration and network.

A scenario asserts these; none is tuned to a run. They are sums of the waits that the protocol has
by design, each named where it is added, so a bound that breaks points at the wait that grew.
"""

from __future__ import annotations

import math

from sup_core.config import Config
from sup_core.simulator import Simulator
from sup_core.simulator_network import Network


def dissemination_s(config: Config, members: int) -> float:
    """Bound for news to reach everybody: twice the rounds that a doubling spread takes, plus two.

    A round is one gossip interval; the fan-out is three, so doubling is pessimistic.
    """
    rounds = 2 * math.ceil(math.log2(members + 1)) + 2
    return rounds * config.gossip_interval_us / 1e6


def timeout_s(config: Config, network: Network) -> float:
    """Bound for one retransmission time-out on this network: the floor, or eight medians."""
    return min(config.rto_max_us, max(config.rto_min_us, 8 * network.latency_us)) / 1e6


def detection_s(config: Config, network: Network, members: int) -> float:
    """Bound from a crash until everybody knows: it is probed, fails, is waited for, and is told.

    Every second probe goes to the next member in id order, so the predecessor's comes within two
    periods and one of jitter; then the pause tolerance and nine time-outs (three of the probe, six
    of the checks) until the verdict.
    """
    return (
        3 * config.probe_interval_us / 1e6
        + config.pause_tolerance_us / 1e6
        + 9 * timeout_s(config, network)
        + dissemination_s(config, members)
    )


def settle_s(config: Config, network: Network, members: int) -> float:
    """Bound for agreement after all faults have ended.

    A silent member is contacted again within the longest wait and its jitter; what bystanders hold
    takes their wait and two thirds more; then a detection and a dissemination for what that finds.
    """
    return (
        1.25 * config.contact_max_us / 1e6
        + 5 / 3 * config.bystander_wait_us / 1e6
        + 2 * detection_s(config, network, members)
    )


def ghost_s(config: Config, network: Network, members: int) -> float:
    """Bound from the return of a laggard until it has given up who all others have forgotten.

    Its own probes are stretched threefold until one is answered, and two failed ones may be under
    way; then it questions everybody, one after the other with half the interval of jitter, and
    detects the ghost like anybody else; what bystanders hold takes their wait and two thirds more.
    Then an exchange, and the contacts with members that were dead to it.
    """
    return (
        9 * config.probe_interval_us / 1e6
        + 1.5 * members / config.questions_per_second
        + 5 / 3 * config.bystander_wait_us / 1e6
        + detection_s(config, network, members)
        + dissemination_s(config, members)
    )


def form(sim: Simulator, members: int, *, over: float = 1.0, ring: str = "sim") -> float:
    """Start a ring and wait until it agrees; return the seconds from the last start."""
    sim.add(members, ring=ring, over=over)
    sim.run(over)
    limit = 10.0 + members / 50 + dissemination_s(sim.config, members)
    return sim.run_until(sim.converged, limit, every=0.05, what="the join")


def settle(sim: Simulator) -> float:
    """Wait for agreement within its bound; return the seconds."""
    limit = settle_s(sim.config, sim.network, sim.size)
    spread = dissemination_s(sim.config, sim.size)
    start = sim.now_us
    free = 0.0  # until when somebody was held down, from the start on
    while not sim.converged():
        # Who holds a flapping member down shows it later: its hold, once more in the tenth of it
        # that a question may take, and twice for one that was not clean. Not longer than it lasts,
        # and a spread of the news.
        waited = (sim.now_us - start) / 1e6
        held, longest = holds(sim)
        if held and waited < limit + 2.2 * longest:
            free = waited
        if waited >= max(limit, free + spread):
            return sim.run_until(sim.converged, 0.0, what="agreement")
        sim.run(0.2)
    return (sim.now_us - start) / 1e6


def holds(sim: Simulator) -> tuple[int, float]:
    """Return how many members are held down now, summed over their viewers, and the longest hold
    there was, in seconds."""
    held, longest = 0, 0
    for index in sim.running():
        counters = sim.node_of(index).counters()
        held += counters["members_held"]
        longest = max(longest, counters["hold_longest_us"])
    return held, longest / 1e6
