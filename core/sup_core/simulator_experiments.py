"""Experiments on simulated rings: what the targets, Lifeguard's paper and Rapid's figures ask.

Each forms a ring, does one thing to it, often several times, and measures; nothing is asserted.
The node is a parameter, so that other rules run under the same network, faults and seeds. The
docstring of each says where it comes from:

- Targets: the table of what the core must reach, in `bench/targets.py`.
- Lifeguard: Dadgar, Phillips, Currey: "Lifeguard: Local Health Awareness for More Accurate Failure
  Detection", 2017.
- Rapid: Suresh et al.: "Stable and Consistent Membership at Scale with Rapid", USENIX ATC 2018.

`sup_core.simulator_scenarios` are the scripts that must keep bounds; these only tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sup_core.config import Config
from sup_core.events import MemberChange
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_lab import EXCUSE_S, Lab, Result, median, quantile
from sup_core.simulator_network import Network

__all__ = ["EXPERIMENTS", "Experiment", "Result", "median", "quantile", "run_experiment"]

Measures = dict[str, float]

SHARED = 64  # a kind where the last writer wins
FOREVER_S = 1e9
ZONE_TAG = "zone"


def join(lab: Lab, members: int, *, over: float = 0.0, limit: float = 120.0) -> Measures:
    """All start within `over` seconds and join through the first three. Targets: burst join."""
    window = lab.open()
    lab.sim.add(members, over=over)
    lab.run(over)
    took = lab.agree(limit, every=0.05)
    window = lab.close(window)
    return {
        "join_s": took,
        "cpu_s": window.cpu_s,
        "bytes_member": window.bytes / members,
        "packets_member": window.packets / members,
    }


def bootstrap(lab: Lab, members: int, *, limit: float = 200.0) -> Measures:
    """All others start at once while one seed runs; everybody notes each second how many it sees.

    Rapid, §7.1, figure 5 and table 1: the time until all see all, and how many distinct sizes were
    noted by anybody on the way (2 is the least: one's own, and the full ring).
    """
    lab.sim.add(1)
    lab.run(1.0)
    start = lab.now
    lab.sim.add(members - 1, seeds=[0])
    sizes: set[int] = set()

    def note() -> None:
        seen = lab.sizes()
        sizes.update(seen)
        for name, value in (("least", min(seen)), ("median", median(seen)), ("most", max(seen))):
            lab.point(name, lab.now - start, value)

    while lab.now - start < limit:
        lab.run(1.0)
        note()
        if lab.sim.converged():
            break
    took = lab.now - start if lab.sim.converged() else float("inf")
    return {"join_s": took, "distinct_sizes": float(len(sizes))}


def steady(lab: Lab, members: int, *, seconds: float = 60.0, settled: float = 30.0) -> Measures:
    """Nothing happens. Targets: traffic with headers and CPU, per member and second."""
    joined = lab.form(members, settled=settled)
    before = sum(lab.sim.changes.values())
    synced = lab.sim.stream_bytes
    window = lab.open()
    lab.run(seconds)
    window = lab.close(window)
    return lab.cost(window, members) | {
        "join_s": joined,
        "changes": float(sum(lab.sim.changes.values()) - before),
        "sync_bytes": (lab.sim.stream_bytes - synced) / members * 60.0 / seconds,
    }


def crash(lab: Lab, members: int, *, rounds: int = 10, limit: float = 120.0) -> Measures:
    """One host dies, again and again; it comes back before the next. Targets: one crash.

    Lifeguard, §V: "first detection" and "full dissemination" are ``first_s`` and ``last_s``.
    """
    lab.form(members)
    window = lab.open()
    for number in range(rounds):
        lab.wait(2.0, 6.0)
        victim = lab.victims(1)[0]
        lab.sim.crash(victim, host=True)
        lab.sample(**lab.known([victim], limit, curve="" if number else "knows"))
        _revive(lab, [victim])
    window = lab.close(window)
    return {"false_deaths": float(lab.sim.ledger.false_deaths), "bytes": window.bytes}


def mass_crash(
    lab: Lab, members: int, *, percent: int = 10, rounds: int = 1, limit: float = 400.0
) -> Measures:
    """A share dies at once; how long until the last survivor knows all. Targets: 10, 50, 90 %."""
    lab.form(members)
    for number in range(rounds):
        lab.wait(2.0, 6.0)
        victims = lab.victims(max(1, members * percent // 100))
        for victim in victims:
            lab.sim.crash(victim, host=True)
        lab.sample(**lab.known(victims, limit, curve="" if number else "knows"))
        if number + 1 < rounds:
            _revive(lab, victims)
    return {"false_deaths": float(lab.sim.ledger.false_deaths)}


def rack_loss(lab: Lab, members: int, *, zones: int = 10, limit: float = 120.0) -> Measures:
    """Every member of one zone dies in the same moment, and the rack comes back.

    The correlated case of a mass crash, with the zones known to the members. Targets: what the
    model left out.
    """
    for zone in range(zones):
        share = members * (zone + 1) // zones - members * zone // zones
        lab.sim.add(share, tags={ZONE_TAG: f"z{zone}"}, seeds=[0])
    lab.agree(120.0, every=0.05)
    lab.wait(2.0, 6.0)
    zone = lab.dice.integer(0, zones - 1)
    victims = list(range(members * zone // zones, members * (zone + 1) // zones))
    for victim in victims:
        lab.sim.crash(victim, host=True)
    measures = lab.known(victims, limit)
    false = float(lab.sim.ledger.false_deaths)
    for victim in victims:
        lab.sim.restart(victim)
    return measures | {"false_deaths": false, "back_s": lab.agree(120.0)}


def rumor(
    lab: Lab, members: int, *, size: int = 256, rounds: int = 20, limit: float = 60.0
) -> Measures:
    """One member publishes; when has half of the ring heard, when all; how many copies each got.

    Targets: a 256-byte rumor. A copy is a rumor that a member received, known to it or not.
    """
    lab.form(members)
    unreached = 0
    for number in range(rounds):
        lab.wait(2.0, 4.0)
        source = lab.victims(1)[0]
        spread = lab.sim.follow(SHARED, b"news%d" % number)
        value = bytes(lab.dice.integer(0, 255) for _ in range(size))
        lab.sim.publish(source, SHARED, spread.key, value)
        lab.until(partial(lab.sim.ledger.seen_by_all, spread), limit, every=0.02)
        lab.run(2.0)  # what still circulates belongs to it
        lab.sim.ledger.unfollow(spread)
        up = [index for index in lab.sim.running() if index != source]
        heard = [spread.first_us(index) for index in up]
        delays = [(t - spread.start_us) / 1e6 if t >= 0 else math.inf for t in heard]
        unreached += sum(1 for delay in delays if math.isinf(delay))
        copies = spread.copies()
        mean = sum(copies[index] for index in up) / len(up)
        lab.sample(median_s=median(delays), last_s=max(delays), copies=mean)
        if number == 0:
            _curve(lab, "heard", [delay for delay in delays if math.isfinite(delay)], len(up))
    return {"unreached": float(unreached)}


def heal(
    lab: Lab,
    members: int,
    *,
    share: float = 0.5,
    minutes: float = 5.0,
    seeds: bool = False,
    limit: float = 200.0,
) -> Measures:
    """A share is parted from the rest for minutes, and the network mends by itself.

    Targets: heal after a split. Without ``seeds`` the ring was formed through a member that has
    left for good, so nobody has an address that always works.
    """
    lab.sim.add(1)
    lab.sim.add(members, over=1.0, seeds=[0])
    lab.run(1.0)
    lab.agree(120.0, every=0.05)
    if not seeds:
        lab.sim.leave(0)
        lab.run(10.0)
    side = lab.victims(max(1, int(members * share)))
    lab.sim.partition([side])
    parted = lab.agree(60.0 * minutes)
    lab.run(max(0.0, 60.0 * minutes - min(parted, 60.0 * minutes)))
    shown, doubted = lab.sim.ledger.false_deaths, lab.sim.changes[MemberChange.SUSPECTED]
    window = lab.open()
    lab.sim.heal()
    took = lab.agree(limit)
    window = lab.close(window)
    return {
        "parted_s": parted,
        "heal_s": took,
        "pairs_shown_dead": float(lab.sim.ledger.false_deaths - shown),
        "pairs_suspected": float(lab.sim.changes[MemberChange.SUSPECTED] - doubted),
        "heal_bytes_member": window.bytes / members,
    }


def churn(
    lab: Lab, members: int, *, percent: float = 1.0, away: float = 30.0, minutes: float = 5.0
) -> Measures:
    """Each minute a share is lost and comes back after `away` seconds. Targets: under churn."""
    lab.form(members, settled=EXCUSE_S)
    gap_us = int(60e6 / (members * percent / 100))
    end = lab.sim.now_us + int(minutes * 60e6)
    touched: set[int] = set()
    lost = 0

    def lose() -> None:
        nonlocal lost
        if lab.sim.now_us >= end:
            return
        fresh = [index for index in lab.sim.running() if index not in touched]
        victim = lab.victims(1, fresh or None)[0]
        touched.add(victim)
        lost += 1
        lab.sim.crash(victim, host=True)
        lab.sim.at(lab.sim.now_us + int(away * 1e6), partial(lab.sim.restart, victim))
        lab.sim.at(lab.sim.now_us + gap_us, lose)

    lab.sim.at(lab.sim.now_us + gap_us // 2, lose)
    window = lab.open()
    lab.run(60.0 * minutes)
    window = lab.close(window)
    false = lab.episodes()  # of members that were never lost, or not within the last 30 s
    settled = lab.agree(120.0)
    return lab.cost(window, members) | {
        "lost": float(lost),
        "false_deaths": float(false),
        "settle_s": settled,
    }


def stalls(
    lab: Lab,
    members: int,
    *,
    slow: int = 4,
    shortest: float = 0.1,
    longest: float = 32.0,
    gap: tuple[float, float] = (1.0, 20.0),
    minutes: float = 15.0,
) -> Measures:
    """Some members' receivers stop again and again; do they bury healthy ones?

    Lifeguard, §V: slow message processing at a few members while their timers run; 1, 4 or 10 of
    100, stalls of 0.1 to 32 s. False positives "at healthy members" are ``false_deaths`` here;
    the slow ones are not counted. Stalls are drawn so that every factor is equally likely.
    """
    lab.form(members, settled=EXCUSE_S)
    faulty = lab.victims(slow)
    for host in faulty:
        lab.sim.excuse(host, FOREVER_S)
    end = lab.sim.now_us + int(minutes * 60e6)
    stalled, longest_us = 0, 0

    def stall(host: int) -> None:
        nonlocal stalled, longest_us
        if lab.sim.now_us >= end:
            return
        us = int(1e6 * lab.draw_log(shortest, longest))
        stalled, longest_us = stalled + 1, max(longest_us, us)
        lab.sim.stall(host, us)
        lab.sim.at(lab.sim.now_us + us + int(1e6 * lab.draw(*gap)), partial(stall, host))

    for host in faulty:
        lab.sim.at(lab.sim.now_us + int(1e6 * lab.draw(0.0, gap[1])), partial(stall, host))
    return _hours(lab, members, minutes) | {
        "stalls": float(stalled),
        "longest_stall_s": longest_us / 1e6,
    }


def pauses(
    lab: Lab,
    members: int,
    *,
    shortest: float = 0.1,
    longest: float | None = None,
    minutes: float = 15.0,
) -> Measures:
    """Every member stops once a minute, for less than the tolerance, at 1 % loss; nobody may die.

    Targets: pauses below the tolerance; `longest` is 95 % of it by default.
    """
    lab.form(members, settled=EXCUSE_S)
    end = lab.sim.now_us + int(minutes * 60e6)
    most = longest if longest is not None else 0.95 * lab.sim.config.pause_tolerance_us / 1e6
    paused = 0

    def pause(host: int) -> None:
        nonlocal paused
        if lab.sim.now_us >= end:
            return
        paused += 1
        lab.sim.pause(host, int(1e6 * lab.draw(min(shortest, most), most)))
        lab.sim.at(lab.sim.now_us + int(1e6 * lab.draw(50.0, 70.0)), partial(pause, host))

    for host in lab.sim.running():
        lab.sim.at(lab.sim.now_us + int(1e6 * lab.draw(0.0, 60.0)), partial(pause, host))
    return _hours(lab, members, minutes) | {"pauses": float(paused)}


def flip_flop(
    lab: Lab,
    members: int,
    *,
    percent: float = 1.0,
    half: float = 20.0,
    minutes: float = 15.0,
    incoming: float = 1.0,
    outgoing: float = 0.0,
) -> Measures:
    """A share hears nothing (or says nothing) for 20 s, is well for 20 s, and so on.

    Rapid, §7.2, figure 9: one-way loss at 1 % of the processes. ``out_s``: from the first fault
    until every healthy member holds that one dead; ``returns``: how often a member took a faulty
    one back, on average; ``kept_out_share``: of the last third of the time.
    """
    lab.form(members, settled=EXCUSE_S)
    faulty = lab.victims(max(1, round(members * percent / 100)))
    for host in faulty:
        lab.sim.excuse(host, FOREVER_S)
    bad = False
    out = _Out(lab, faulty)
    returned = lab.sim.changes[MemberChange.RETURNED]

    def flip() -> None:
        nonlocal bad
        bad = not bad
        for host in faulty:
            lab.sim.set_loss(host, incoming=incoming * bad, outgoing=outgoing * bad)

    for number in range(max(2, round(60.0 * minutes / half))):
        lab.sim.at(lab.sim.now_us + int(number * half * 1e6), flip)
    lab.run(60.0 * minutes, tick=out.note)
    out.sample()
    returned = lab.sim.changes[MemberChange.RETURNED] - returned
    late = [share for t, share in lab.series["held_alive"] if t > 40.0 * minutes]
    return {
        "false_deaths": float(lab.episodes()),
        "false_declarations": float(lab.sim.ledger.healthy_deaths),
        "returns": returned / (len(faulty) * (members - len(faulty))),
        "kept_out_share": 1.0 - sum(late) / len(late),
    }


def egress_loss(
    lab: Lab, members: int, *, percent: float = 1.0, loss: float = 0.8, minutes: float = 5.0
) -> Measures:
    """A share loses 80 % of what it sends and hears everything, from one moment on.

    Rapid, §7.2, figure 10. ``disputed``: how many of them some healthy members hold alive in
    the end and others do not; ``flaps``: returns per healthy member and faulty one.
    """
    lab.form(members, settled=EXCUSE_S)
    faulty = lab.victims(max(1, round(members * percent / 100)))
    for host in faulty:
        lab.sim.excuse(host, FOREVER_S)
        lab.sim.set_loss(host, incoming=0.0, outgoing=loss)
    out = _Out(lab, faulty)
    returned = lab.sim.changes[MemberChange.RETURNED]
    lab.run(60.0 * minutes, tick=out.note)
    out.sample()
    returned = lab.sim.changes[MemberChange.RETURNED] - returned
    held = [share for _, share in lab.series["held_alive"]]
    counts = [lab.holders(host, out.healthy) for host in faulty]
    split = [count for count in counts if 0 < count < len(out.healthy)]
    return {
        "false_deaths": float(lab.episodes()),
        "false_declarations": float(lab.sim.ledger.healthy_deaths),
        "flaps": returned / (len(faulty) * (members - len(faulty))),
        "held_alive_share": sum(held) / len(held),
        "disputed": float(len(split)),
    }


class _Out:
    """Notes how many healthy members hold faulty ones alive, and when first none of them did."""

    def __init__(self, lab: Lab, faulty: list[int]) -> None:
        self._lab, self._faulty, self._start = lab, faulty, lab.sim.now_us
        self.healthy = [index for index in lab.sim.running() if index not in set(faulty)]
        self._place = len(lab.sim.deaths)

    def note(self) -> None:
        """Look, once per tick."""
        held = sum(self._lab.holders(host, self.healthy) for host in self._faulty)
        share = held / (len(self._faulty) * len(self.healthy))
        self._lab.point("held_alive", (self._lab.sim.now_us - self._start) / 1e6, share)

    def sample(self) -> None:
        """Keep, of each, when the last healthy member first told of its death."""
        told: dict[int, dict[int, int]] = {host: {} for host in self._faulty}
        for t_us, viewer, host in self._lab.sim.deaths[self._place :]:
            if host in told and viewer not in told:
                told[host].setdefault(viewer, t_us - self._start)
        for host in self._faulty:
            full = len(told[host]) == len(self.healthy)
            self._lab.sample(out_s=max(told[host].values()) / 1e6 if full else math.inf)


def mass_restart(
    lab: Lab, members: int, *, over: float = 0.0, disk: bool = True, limit: float = 200.0
) -> Measures:
    """Every member is killed and started again, all at once or one after the other.

    memberlist #311: members stuck dead after a mass restart, their incarnations lost. ``disk``:
    each remembers who it was; without, all are new members and the old ones must go.
    """
    lab.form(members)
    lab.wait(2.0, 6.0)
    shown = lab.sim.ledger.false_deaths
    window = lab.open()
    for number, index in enumerate(lab.sim.running()):
        t_us = lab.sim.now_us + int(over * 1e6 * number / members)
        lab.sim.at(t_us, partial(lab.sim.restart, index, disk=disk))
    lab.run(over + 0.001)
    took = lab.agree(limit)
    window = lab.close(window)
    return {
        "settle_s": took,
        "pairs_shown_dead": float(lab.sim.ledger.false_deaths - shown),
        "missing_pairs": float(lab.missing_pairs()),
        "bytes_member": window.bytes / members,
    }


def _hours(lab: Lab, members: int, minutes: float) -> Measures:
    """Let the time pass and count what was said of members that are well, per member-hour."""
    window = lab.open()
    excused = lab.sim.ledger.false_deaths - lab.sim.ledger.healthy_deaths
    lab.run(60.0 * minutes)
    window = lab.close(window)
    hours = members * minutes / 60.0
    return {
        "member_hours": hours,
        "false_deaths": float(lab.episodes()),
        "false_declarations": float(lab.sim.ledger.healthy_deaths),
        "faulty_declarations": float(
            lab.sim.ledger.false_deaths - lab.sim.ledger.healthy_deaths - excused
        ),
        # Each suspicion that is gossiped makes its subject refute it once.
        "suspicions": float(window.counters.get("refuted", 0)),
        "suspicions_hour": window.counters.get("refuted", 0) / hours,
    } | lab.cost(window, members)


def _revive(lab: Lab, victims: list[int]) -> None:
    """Start the members again and wait until that is settled."""
    for victim in victims:
        lab.sim.restart(victim)
    lab.agree(120.0, every=0.2)


def _curve(lab: Lab, name: str, times: list[float], whole: int) -> None:
    """Keep how the share of those who know grows."""
    for number, t in enumerate(sorted(times), 1):
        lab.point(name, t, number / max(1, whole))


@dataclass(frozen=True, slots=True)
class Experiment:
    """A script and the network it runs on, unless the caller says otherwise.

    ``light``: without a Python object per event; only what is read from single views needs those.
    """

    script: Callable[..., Measures]
    network: Mapping[str, Any] = field(default_factory=dict)
    light: bool = True


EXPERIMENTS: dict[str, Experiment] = {
    "join": Experiment(join),
    "bootstrap": Experiment(bootstrap),
    "steady": Experiment(steady),
    "crash": Experiment(crash),
    "mass-crash": Experiment(mass_crash),
    "rack-loss": Experiment(rack_loss),
    "rumor": Experiment(rumor),
    "heal": Experiment(heal),
    "churn": Experiment(churn),
    "stalls": Experiment(stalls),
    "pauses": Experiment(pauses, {"loss": 0.01}),
    "flip-flop": Experiment(flip_flop, light=False),
    "egress-loss": Experiment(egress_loss, light=False),
    "mass-restart": Experiment(mass_restart),
}


def run_experiment(
    name: str,
    *,
    seed: int,
    members: int,
    config: Config | None = None,
    network: Network | None = None,
    node_type: Callable[..., Any] = Node,
    clock: Callable[[], float] | None = None,
    progress: Callable[[float], None] | None = None,
    **options: Any,
) -> Result:
    """Run one experiment; ``options`` are the keyword arguments of its script.

    ``clock``, in seconds, fills the ``cpu`` measures; ``progress`` gets the virtual time.
    Raises: KeyError for an unknown name, TypeError for an unknown option.
    """
    experiment = EXPERIMENTS[name]
    sim = Simulator(
        seed=seed,
        config=config,
        network=network or Network(**experiment.network),
        checks=[],
        light=experiment.light,
        node_type=node_type,
        replay=f"python bench/targets.py --experiment {name} --members {members} --seed {seed}",
    )
    lab = Lab(sim, clock=clock, progress=progress)
    measures = experiment.script(lab, members, **options)
    return Result(
        experiment=name,
        seed=seed,
        members=members,
        measures=measures,
        samples={key: tuple(values) for key, values in lab.samples.items()},
        series={key: tuple(points) for key, points in lab.series.items()},
        trace=sim.trace,
        events=sim.steps,
        virtual_s=sim.now_us / 1e6,
    )
