"""Scripts for the simulator: one story each, with the bounds that the story must keep.

A scenario forms a ring, does something to it and measures. Its bounds are computed from the
configuration and the network, never tuned to a run. Everything random is drawn from the simulator's
own dice, so ``(scenario, seed, members)`` is the whole input and the trace hash the whole proof.

`sup_core.simulator` holds the machinery, `sup_core.simulator_checks` what is watched all the time;
tests, the campaign runner and the benchmarks run these by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sup_core.config import Config
from sup_core.events import Event, MemberChange, MemberEvent, RumorEvent
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import detection_s, dissemination_s, form, ghost_s, settle, settle_s
from sup_core.simulator_chaos import chaos, tumble
from sup_core.simulator_checks import Check
from sup_core.simulator_network import Network

SERVICE = 1
CONFIG = 64

Measures = dict[str, float]


class Arrivals:
    """Who has heard of something, and when: watches one kind of event."""

    def __init__(self, sim: Simulator, wanted: Callable[[Event], bool]) -> None:
        self._sim = sim
        self._wanted = wanted
        self._start = sim.now_us
        self.times: dict[int, float] = {}
        sim.watch(self._see)

    def _see(self, viewer: int, event: Event) -> None:
        if self._wanted(event):
            self.times.setdefault(viewer, (self._sim.now_us - self._start) / 1e6)

    def complete(self) -> bool:
        """Return whether every running member has heard."""
        return all(index in self.times for index in self._sim.running())

    def measures(self, name: str) -> Measures:
        """Return the median and the last time."""
        times = sorted(self.times.values()) or [0.0]
        return {f"{name}_median_s": times[len(times) // 2], f"{name}_last_s": times[-1]}


def join(sim: Simulator, members: int) -> Measures:
    """All join within a second and agree."""
    return {"join_s": form(sim, members)}


def crash(sim: Simulator, members: int) -> Measures:
    """One member crashes; everybody knows within the bound, and nobody else dies."""
    form(sim, members)
    sim.run(sim.faults.integer(0, 3_000_000) / 1e6)
    victim = sim.faults.choice(sim.running())
    gone = sim.life(victim).id
    sim.crash(victim, host=sim.faults.happens(0.5))
    told = Arrivals(
        sim,
        lambda e: (
            isinstance(e, MemberEvent) and e.change is MemberChange.DIED and e.member.id == gone
        ),
    )
    sim.run_until(
        told.complete, detection_s(sim.config, sim.network, members), what=f"news of m{victim}"
    )
    settle(sim)
    return told.measures("detect")


def mass_crash(sim: Simulator, members: int) -> Measures:
    """A tenth crashes at once; the rest agrees."""
    form(sim, members)
    for victim in sim.faults.sample(sim.running(), max(1, members // 10)):
        sim.crash(victim, host=True)
    return {"detect_s": settle(sim)}


def split(sim: Simulator, members: int) -> Measures:
    """Halves are parted for five minutes, each buries the other, and they heal without help."""
    form(sim, members)
    side = sim.faults.sample(list(range(members)), max(1, members // 2))
    sim.partition([side])
    parted = settle(sim)
    sim.run(max(0.0, 300.0 - parted))
    sim.heal()
    return {"parted_s": parted, "heal_s": settle(sim)}


def minority(sim: Simulator, members: int) -> Measures:
    """A fiftieth, at least one, is parted for five minutes; the rest must not lose each other."""
    form(sim, members)
    sim.partition([sim.faults.sample(list(range(members)), max(1, members // 50))])
    sim.run(300.0)
    sim.heal()
    return {"heal_s": settle(sim)}


def wide(sim: Simulator, members: int) -> Measures:
    """A wide area at 5 % loss for five minutes, and one crash: it alone is found."""
    form(sim, members)
    sim.run(300.0)
    if sim.deaths:
        sim.violate("wide", f"{len(sim.deaths)} deaths were declared")
    sim.crash(sim.faults.choice(sim.running()), host=True)
    return {"detect_s": settle(sim), "suspicions": sim.changes[MemberChange.SUSPECTED]}


def ghost(sim: Simulator, members: int) -> Measures:
    """A laggard comes back after all others have forgotten a dead member: nobody shows that
    again."""
    form(sim, max(4, members))  # of fewer a last survivor is left, which declares nobody dead
    floor = sim.config.tombstone_floor_us / 1e6
    laggard, lost = sim.faults.sample(sim.running(), 2)
    sim.crash(lost, host=True)
    sim.partition([[laggard]])
    gone = sim.life(lost).id
    forgotten = Arrivals(
        sim,
        lambda e: (
            isinstance(e, MemberEvent)
            and e.change is MemberChange.FORGOTTEN
            and e.member.id == gone
        ),
    )
    others = set(sim.running()) - {laggard}
    sim.run_until(lambda: others <= forgotten.times.keys(), 3 * floor, every=1.0, what="forgetting")
    before = sim.changes[MemberChange.JOINED]
    sim.heal()
    # Nobody else holds the dead one: the laggard has to question everybody by itself.
    limit = ghost_s(sim.config, sim.network, members)
    took = sim.run_until(sim.converged, limit, every=0.2, what="agreement")
    sim.run(2 * floor)
    for index in others:
        if gone in sim.told(index):
            sim.violate("ghost", f"{sim.name(index)} shows {sim.name_of(gone)} again")
    return {"settle_s": took, "joined": sim.changes[MemberChange.JOINED] - before}


def lossy(sim: Simulator, members: int) -> Measures:
    """A minute of 20 % loss: the false deaths are taken back, and agreement returns after it."""
    form(sim, members)
    sim.set_network_loss(0.2)
    longest = _lasting_deaths(sim, 60.0)
    sim.set_network_loss(0.0)
    deaths = len(sim.deaths)
    return {"settle_s": settle(sim), "false_deaths": deaths, "longest_false_death_s": longest}


def rumor(sim: Simulator, members: int, size: int = 256) -> Measures:
    """One rumor reaches everybody by gossip."""
    form(sim, members)
    sim.run(3.0)
    return _spread(sim, members, size, dissemination_s(sim.config, members))


def large_rumor(sim: Simulator, members: int) -> Measures:
    """A rumor of 40 KiB reaches everybody: its header by gossip, its body by streams."""
    form(sim, members)
    sim.run(3.0)
    return _spread(sim, members, 40 * 1024, 5.0 + dissemination_s(sim.config, members))


def leave(sim: Simulator, members: int) -> Measures:
    """One member leaves: all show it as left, nobody as dead."""
    form(sim, members)
    victim = sim.faults.choice(sim.running())
    gone = sim.life(victim).id
    told = Arrivals(
        sim,
        lambda e: (
            isinstance(e, MemberEvent) and e.change is MemberChange.LEFT and e.member.id == gone
        ),
    )
    sim.leave(victim)
    limit = dissemination_s(sim.config, members) + sim.config.leave_timeout_us / 1e6
    sim.run_until(told.complete, limit, every=0.05, what="the leave")
    sim.run(30.0)
    settle(sim)
    if sim.changes[MemberChange.DIED]:
        sim.violate("leave", f"{sim.changes[MemberChange.DIED]} members show a death")
    return told.measures("leave")


def restart(sim: Simulator, members: int) -> Measures:
    """Members restart with and without their disks, at once and after their deaths are told."""
    form(sim, members)
    sim.publish(0, SERVICE, b"s", b"zero")
    measures: Measures = {}
    for disk, wait in ((True, 0.2), (False, 0.2), (True, 15.0), (False, 15.0)):
        victim = sim.faults.choice(sim.running())
        sim.publish(victim, SERVICE, b"s", b"own")
        sim.run(1.0)
        sim.crash(victim)
        sim.run(wait)
        sim.restart(victim, disk=disk)
        measures[f"{'disk' if disk else 'bare'}_{wait:g}_s"] = settle(sim)
    return measures


def pauses(sim: Simulator, members: int) -> Measures:
    """Every member stops once a minute for less than the tolerance, at 1 % loss: nobody dies."""
    form(sim, members)
    below = sim.config.pause_tolerance_us * 95 // 100
    for index in range(members):
        at = sim.now_us + sim.faults.integer(0, 57_000_000)
        pause = sim.faults.integer(min(100_000, below), below)
        sim.at(at, lambda i=index, p=pause: sim.freeze(i, p / 1e6))  # type: ignore[misc]
    sim.run(60.0)
    measures = {"settle_s": settle(sim), "suspicions": sim.changes[MemberChange.SUSPECTED]}
    if sim.deaths:
        sim.violate("pauses", f"{len(sim.deaths)} deaths were declared")
    return measures


def stalls(sim: Simulator, members: int) -> Measures:
    """Some members stop reading for 0.1 to 32 s again and again: no healthy member dies."""
    form(sim, members)
    for index in sim.faults.sample(sim.running(), max(1, members // 25)):
        t = sim.now_us
        while t < sim.now_us + 120_000_000:
            stall = 100_000 << sim.faults.integer(0, 8)
            t += sim.faults.integer(1_000_000, 20_000_000)
            sim.at(t, lambda i=index, s=stall: sim.deafen(i, s / 1e6))  # type: ignore[misc]
            t += stall
    sim.run(160.0)
    return {"settle_s": settle(sim), "deaths": len(sim.deaths)}


def one_way(sim: Simulator, members: int) -> Measures:
    """One member is half connected, 20 s on and off: it may go, no healthy member does."""
    form(sim, members)
    victim = sim.faults.choice(sim.running())
    deaf = sim.faults.happens(0.5)
    for _ in range(4):
        sim.isolate(victim, incoming=float(deaf), outgoing=float(not deaf))
        sim.run(20.0)
        sim.isolate(victim, incoming=0.0, outgoing=0.0)
        sim.run(20.0)
    others = sum(1 for _, _, host in sim.deaths if host != victim)
    if others:
        sim.violate("one way", f"{others} deaths of healthy members were declared")
    # Being kept out from the third time on is wanted: the hold doubles from 60 s.
    return {"settle_s": sim.run_until(sim.converged, 300.0, what="the return")}


def two_rings(sim: Simulator, members: int) -> Measures:
    """Two rings on one network, with seeds in the other ring too, never merge."""
    half = max(2, members // 2)
    first = sim.add(half, ring="one")
    sim.add(half, ring="two", seeds=[first[0], half, half + 1])
    took = sim.run_until(sim.converged, 30.0, what="the join")
    sim.publish(0, CONFIG, b"c", b"one")
    sim.publish(half, CONFIG, b"c", b"two")
    sim.run(10.0)
    settle(sim)
    for index in range(2 * half):
        found = sim.node_of(index).rumor(CONFIG, b"c")
        if found is None or found.value != (b"one" if index < half else b"two"):
            sim.violate("ring", f"{sim.name(index)} holds {found}")
    return {"join_s": took}


def move(sim: Simulator, members: int) -> Measures:
    """Members get new addresses; nobody dies of it."""
    form(sim, members)
    for _ in range(3):
        index = sim.faults.choice(sim.running())
        sim.move(index)
        sim.run(sim.faults.integer(100_000, 5_000_000) / 1e6)
    sim.run(10.0)
    return {"settle_s": settle(sim)}


def garbage(sim: Simulator, members: int) -> Measures:
    """Damaged packets reach the decoder: nothing raises, and the ring keeps running."""
    form(sim, members)
    sim.network.corrupt = 0.05
    for _ in range(200):
        target = sim.faults.choice(sim.running())
        size = sim.faults.integer(1, 1400)
        noise = bytes(sim.faults.integer(0, 255) for _ in range(size))
        sim.inject(target, noise, sim.address(sim.faults.choice(sim.running())))
        sim.run(0.05)
    sim.network.corrupt = 0.0
    return {"alive": len(sim.running())}


def _spread(sim: Simulator, members: int, size: int, limit: float) -> Measures:
    source = sim.faults.choice(sim.running())
    value = bytes(sim.faults.integer(0, 255) for _ in range(size))
    told = Arrivals(sim, lambda e: isinstance(e, RumorEvent) and e.rumor.key == b"news")
    before = sim.totals()
    sim.publish(source, SERVICE, b"news", value)
    told.times.setdefault(source, 0.0)
    sim.run_until(told.complete, limit, every=0.01, what="the rumor")
    for index in sim.running():
        found = sim.node_of(index).rumor(SERVICE, b"news", sim.life(source).id)
        if found is None or found.value != value:
            sim.violate("rumor", f"{sim.name(index)} holds another value")
    after = sim.totals()
    copies = (after["sent_packets"] - before["sent_packets"]) / members
    settle(sim)
    return told.measures("rumor") | {"packets_per_member": copies}


def _lasting_deaths(sim: Simulator, seconds: float) -> float:
    """Run; a healthy member may be taken for dead, but each viewer must take it back in time."""
    bound = settle_s(sim.config, sim.network, sim.size)
    since: dict[tuple[int, bytes], int] = {}
    longest = 0

    def see(viewer: int, event: Event) -> None:
        nonlocal longest
        if isinstance(event, MemberEvent):
            key = (viewer, event.member.id)
            if event.change is MemberChange.DIED:
                since[key] = sim.now_us
            elif event.change is MemberChange.RETURNED and key in since:
                longest = max(longest, sim.now_us - since.pop(key))

    sim.watch(see)
    end = sim.now_us + int(seconds * 1e6)
    while sim.now_us < end:
        sim.run(1.0)
        for (viewer, member), t in since.items():
            if sim.now_us - t > bound * 1e6:
                sim.violate(
                    "lasting death",
                    f"{sim.name(viewer)} holds {sim.name_of(member)} dead for over {bound:.0f} s",
                )
    return longest / 1e6


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script and the network it runs on."""

    script: Callable[[Simulator, int], Measures]
    network: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    checked: bool = True


SCENARIOS: dict[str, Scenario] = {
    "join": Scenario(join),
    "crash": Scenario(crash),
    "mass-crash": Scenario(mass_crash),
    "split": Scenario(split),
    "minority": Scenario(minority),
    "wide": Scenario(wide, {"latency_us": 40_000, "tail_us": 400_000, "loss": 0.05}),
    "ghost": Scenario(ghost, config={"tombstone_floor_us": 60_000_000}),
    "lossy": Scenario(lossy),
    "rumor": Scenario(rumor),
    "large-rumor": Scenario(large_rumor),
    "leave": Scenario(leave),
    "restart": Scenario(restart),
    "pauses": Scenario(pauses, {"loss": 0.01}),
    "stalls": Scenario(stalls),
    "one-way": Scenario(one_way),
    "two-rings": Scenario(two_rings),
    "move": Scenario(move),
    # Forged content is what damaged packets are, so only "nothing raises" is checked here.
    "garbage": Scenario(garbage, {"checksum": False}, checked=False),
    "chaos": Scenario(chaos, {"loss": 0.01, "duplicate": 0.01, "corrupt": 0.002}),
    "tumble": Scenario(tumble, {"loss": 0.01, "duplicate": 0.01, "corrupt": 0.002}),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to."""

    scenario: str
    seed: int
    members: int
    trace: int
    events: int
    virtual_s: float
    measures: Measures


def run_scenario(
    name: str,
    *,
    seed: int,
    members: int,
    config: Config | None = None,
    checks: list[Check] | None = None,
    node_type: Callable[..., Any] = Node,
) -> Outcome:
    """Run one scenario to its end.

    Raises: Violation, with the line that replays it; KeyError for an unknown name.
    """
    scenario = SCENARIOS[name]
    sim = Simulator(
        seed=seed,
        config=config or Config(**scenario.config),
        network=Network(**scenario.network),
        checks=checks if scenario.checked else [],
        node_type=node_type,
        replay=f"python bench/campaign.py --scenario {name} --members {members} --seed {seed}",
    )
    measures = scenario.script(sim, members)
    return Outcome(
        scenario=name,
        seed=seed,
        members=members,
        trace=sim.trace,
        events=sim.steps,
        virtual_s=sim.now_us / 1e6,
        measures=measures,
    )
