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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sup_core.config import Config
from sup_core.events import Event, MemberChange, RumorEvent
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_lab import Lab, Result, Returns, median, quantile
from sup_core.simulator_network import Network

__all__ = ["EXPERIMENTS", "Experiment", "Result", "median", "quantile", "run_experiment"]

Measures = dict[str, float]

SERVICE = 1
ZONE_TAG = "zone"


def join(lab: Lab, members: int, *, over: float = 0.0, limit: float = 120.0) -> Measures:
    """All start within `over` seconds and join through the first three. Targets: burst join."""
    window = lab.open()
    took = lab.form(members, over=over, settled=0.0, limit=limit)
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
    window = lab.open()
    lab.run(seconds)
    changed = sum(lab.sim.changes.values()) - before
    return lab.cost(lab.close(window), members) | {"join_s": joined, "changes": float(changed)}


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
        told = lab.known([victim], limit)
        lab.sample(**lab.knowledge(told, 1))
        if number == 0:
            _curve(lab, "knows", [times[0] for times in told.values() if times], len(told))
        _revive(lab, [victim])
    window = lab.close(window)
    deaths = lab.sim.deaths
    return {"false_deaths": float(len(deaths) - rounds * (members - 1)), "bytes": window.bytes}


def mass_crash(
    lab: Lab, members: int, *, percent: int = 10, rounds: int = 1, limit: float = 400.0
) -> Measures:
    """A share dies at once; how long until the last survivor knows all. Targets: 10, 50, 90 %."""
    lab.form(members)
    false = 0
    for number in range(rounds):
        lab.wait(2.0, 6.0)
        victims = lab.victims(max(1, members * percent // 100))
        gone, place = set(victims), len(lab.sim.deaths)
        for victim in victims:
            lab.sim.crash(victim, host=True)
        told = lab.known(victims, limit)
        lab.sample(**lab.knowledge(told, len(victims)))
        if number == 0:
            all_known = [times[-1] for times in told.values() if len(times) == len(victims)]
            _curve(lab, "knows", all_known, len(told))
        false += lab.false_deaths(lambda _, host, gone=gone: host not in gone, place)[0]  # type: ignore[misc]
        if number + 1 < rounds:
            _revive(lab, victims)
    return {"false_deaths": float(false)}


def rack_loss(lab: Lab, members: int, *, zones: int = 10, limit: float = 120.0) -> Measures:
    """Every member of one zone dies in the same moment, and the rack comes back.

    The correlated case of a mass crash: the predecessors in a zone die with their successors only
    by chance of their ids. Targets: what the model left out.
    """
    for zone in range(zones):
        share = members * (zone + 1) // zones - members * zone // zones
        lab.sim.add(share, tags={ZONE_TAG: f"z{zone}"}, seeds=[0])
    lab.agree(120.0, every=0.05)
    lab.wait(2.0, 6.0)
    zone = lab.dice.integer(0, zones - 1)
    victims = list(range(members * zone // zones, members * (zone + 1) // zones))
    gone = set(victims)
    for victim in victims:
        lab.sim.crash(victim, host=True)
    told = lab.known(victims, limit)
    measures = lab.knowledge(told, len(victims))
    false = lab.false_deaths(lambda _, host: host not in gone)[0]
    for victim in victims:
        lab.sim.restart(victim)
    return measures | {"false_deaths": float(false), "back_s": lab.agree(120.0)}


def rumor(
    lab: Lab, members: int, *, size: int = 256, rounds: int = 20, limit: float = 60.0
) -> Measures:
    """One member publishes; when has half of the ring heard, when all; how many copies each got.

    Targets: a 256-byte rumor. A copy is a rumor that a member received, known to it or not.
    """
    lab.form(members)
    times: dict[int, float] = {}
    start = 0

    def hear(viewer: int, event: Event) -> None:
        if isinstance(event, RumorEvent) and event.rumor.key == b"news":
            times.setdefault(viewer, (lab.sim.now_us - start) / 1e6)

    lab.sim.watch(hear)
    unreached = 0
    for number in range(rounds):
        lab.wait(2.0, 4.0)
        source = lab.victims(1)[0]
        window = lab.open()
        start = lab.sim.now_us
        times.clear()
        value = bytes(lab.dice.integer(0, 255) for _ in range(size))
        # Last writer wins: one key whoever publishes, so every member's news is an event.
        lab.sim.publish(source, 64, b"news", value)
        times[source] = 0.0
        lab.until(lambda: len(times) >= members, limit, every=0.02)
        heard = [t for viewer, t in times.items() if viewer != source]
        missing = members - 1 - len(heard)
        unreached += missing
        if number == 0:
            _curve(lab, "heard", heard, members - 1)
        heard += [float("inf")] * missing
        lab.run(2.0)  # what still circulates belongs to it
        window = lab.close(window)
        copies = (window.counters.get("rumor_stale", 0) + members - 1 - missing) / (members - 1)
        lab.sample(median_s=median(heard), last_s=max(heard), copies=copies)
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
    place, changes = len(lab.sim.deaths), dict(lab.sim.changes)
    window = lab.open()
    lab.sim.heal()
    took = lab.agree(limit)
    window = lab.close(window)
    up = set(lab.sim.running())
    shown_dead = lab.false_deaths(lambda _, host: host in up, place)
    doubted = lab.sim.changes[MemberChange.SUSPECTED] - changes[MemberChange.SUSPECTED]
    return {
        "parted_s": parted,
        "heal_s": took,
        "members_shown_dead": float(shown_dead[0]),
        "pairs_shown_dead": float(shown_dead[1]),
        "pairs_suspected": float(doubted),
        "heal_bytes_member": window.bytes / members,
    }


def churn(
    lab: Lab, members: int, *, percent: float = 1.0, away: float = 30.0, minutes: float = 5.0
) -> Measures:
    """Each minute a share is lost and comes back after `away` seconds. Targets: under churn."""
    lab.form(members, settled=10.0)
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
    false = lab.false_deaths(lambda _, host: host not in touched)
    settled = lab.agree(120.0)
    return lab.cost(window, members) | {
        "lost": float(lost),
        "false_deaths": float(false[0]),
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
    lab.form(members)
    faulty = lab.victims(slow)
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
    return _hours(lab, members, minutes, set(faulty)) | {
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
    lab.form(members)
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
    return _hours(lab, members, minutes, set()) | {"pauses": float(paused)}


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
    until every healthy member holds that one dead; ``returns``: how often a healthy member took a
    faulty one back; ``kept_out_share``: of the last third of the time.
    """
    lab.form(members)
    faulty = lab.victims(max(1, round(members * percent / 100)))
    start = lab.sim.now_us
    healthy = [index for index in lab.sim.running() if index not in set(faulty)]
    returns = Returns(lab.sim)
    out: dict[int, dict[int, int]] = {host: {} for host in faulty}
    place, bad, late_pairs, late_out = 0, False, 0, 0

    def flip() -> None:
        nonlocal bad
        bad = not bad
        for host in faulty:
            lab.sim.isolate(host, incoming=incoming * bad, outgoing=outgoing * bad)

    def note() -> None:
        nonlocal place, late_pairs, late_out
        for t_us, viewer, host in lab.sim.deaths[place:]:
            place += 1
            if host in out and viewer not in out:
                out[host].setdefault(viewer, t_us)
        missing = lab.missing_pairs(healthy, faulty)
        lab.point("held_alive", lab.now - start / 1e6, 1 - missing / (len(healthy) * len(faulty)))
        if lab.now - start / 1e6 > 40.0 * minutes:
            late_pairs += len(healthy) * len(faulty)
            late_out += missing

    for number in range(max(2, round(60.0 * minutes / half))):
        lab.sim.at(start + int(number * half * 1e6), flip)
    lab.run(60.0 * minutes, tick=note)
    for host in faulty:
        full = len(out[host]) == len(healthy)
        lab.sample(out_s=(max(out[host].values()) - start) / 1e6 if full else float("inf"))
    false = lab.false_deaths(lambda _, host: host not in out)
    counts = returns.of(faulty)
    return {
        "false_deaths": float(false[0]),
        "false_declarations": float(false[1]),
        "returns_most": float(max(counts, default=0)),
        "kept_out_share": late_out / max(1, late_pairs),
    }


def egress_loss(
    lab: Lab, members: int, *, percent: float = 1.0, loss: float = 0.8, minutes: float = 5.0
) -> Measures:
    """A share loses 80 % of what it sends and hears everything, from one moment on.

    Rapid, §7.2, figure 10. ``views``: how many different sets of faulty ones the healthy members
    hold alive in the end (1: they agree); ``flaps``: returns per healthy member and faulty one.
    """
    lab.form(members)
    faulty = lab.victims(max(1, round(members * percent / 100)))
    healthy = [index for index in lab.sim.running() if index not in set(faulty)]
    returns = Returns(lab.sim)
    start = lab.sim.now_us
    for host in faulty:
        lab.sim.isolate(host, incoming=0.0, outgoing=loss)
    first: dict[int, dict[int, int]] = {host: {} for host in faulty}
    held = 0.0

    def note() -> None:
        nonlocal held
        share = 1 - lab.missing_pairs(healthy, faulty) / (len(healthy) * len(faulty))
        lab.point("held_alive", lab.now - start / 1e6, share)
        held += share

    lab.run(60.0 * minutes, tick=note)
    for t_us, viewer, host in lab.sim.deaths:
        if host in first and viewer not in first:
            first[host].setdefault(viewer, t_us)
    for host in faulty:
        full = len(first[host]) == len(healthy)
        lab.sample(out_s=(max(first[host].values()) - start) / 1e6 if full else float("inf"))
    views = {tuple(host for host in faulty if lab.held_alive(v, host)) for v in healthy}
    false = lab.false_deaths(lambda _, host: host not in first)
    flaps = sum(returns.of(faulty)) / (len(healthy) * len(faulty))
    return {
        "false_deaths": float(false[0]),
        "false_declarations": float(false[1]),
        "flaps": flaps,
        "held_alive_share": held / (60.0 * minutes),
        "views": float(len(views)),
    }


def mass_restart(
    lab: Lab, members: int, *, over: float = 0.0, disk: bool = True, limit: float = 200.0
) -> Measures:
    """Every member is killed and started again, all at once or one after the other.

    memberlist #311: members stuck dead after a mass restart, their incarnations lost. ``disk``:
    each remembers who it was; without, all are new members and the old ones must go.
    """
    lab.form(members)
    lab.wait(2.0, 6.0)
    place = len(lab.sim.deaths)
    window = lab.open()
    for number, index in enumerate(lab.sim.running()):
        t_us = lab.sim.now_us + int(over * 1e6 * number / members)
        lab.sim.at(t_us, partial(lab.sim.restart, index, disk=disk))
    lab.run(over + 0.001)
    took = lab.agree(limit)
    window = lab.close(window)
    up = lab.sim.running()
    return {
        "settle_s": took,
        "pairs_shown_dead": float(len(lab.sim.deaths) - place) if disk else 0.0,
        "missing_pairs": float(lab.missing_pairs(up, up)),
        "bytes_member": window.bytes / members,
    }


def _hours(lab: Lab, members: int, minutes: float, faulty: set[int]) -> Measures:
    """Let the time pass and count what was said of members that are well, per member-hour."""
    window = lab.open()
    lab.run(60.0 * minutes)
    window = lab.close(window)
    false = lab.false_deaths(lambda _, host: host not in faulty)
    hours = members * minutes / 60.0
    return {
        "member_hours": hours,
        "false_deaths": float(false[0]),
        "false_declarations": float(false[1]),
        "faulty_deaths": float(lab.false_deaths(lambda _, host: host in faulty)[0]),
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
    """A script and the network it runs on, unless the caller says otherwise."""

    script: Callable[..., Measures]
    network: Mapping[str, Any] = field(default_factory=dict)


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
    "flip-flop": Experiment(flip_flop),
    "egress-loss": Experiment(egress_loss),
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
