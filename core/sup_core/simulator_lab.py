"""What experiments on simulated rings have in common: forming, waiting, reading off, summing up.

A `Lab` wraps one `Simulator`. It never judges: what does not happen within its limit took for
ever (``inf``), so that rules which never heal can be measured beside rules which do. It has no
clock; who wants to know what a phase costs in real time hands one in.

`sup_core.simulator_experiments` has the experiments themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sup_core.events import Event, MemberChange, MemberEvent, MemberState
from sup_core.simulator import Simulator

HEADER_BYTES = 28
"""IPv4 and UDP: what a datagram weighs beside its content."""

EPISODE_US = 30_000_000
"""Declarations about one member that are not further apart are one false death, however many
viewers it reaches: the longest that the consequences of one fault are told."""

JOIN_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of an experiment came to: a value of its seed, but for ``cpu`` measures.

    ``measures`` are single figures, ``samples`` one figure per repetition (of several runs they
    are put together), ``series`` curves as (x, y). Times are seconds; ``inf`` means not within the
    limit.
    """

    experiment: str
    seed: int
    members: int
    measures: Mapping[str, float]
    samples: Mapping[str, tuple[float, ...]]
    series: Mapping[str, tuple[tuple[float, float], ...]]
    trace: int
    events: int
    virtual_s: float


@dataclass(slots=True)
class Window:
    """Counters at its start, or their differences at its end."""

    t_us: int
    packets: int
    bytes: int
    cpu_s: float
    counters: dict[str, int] = field(default_factory=dict)


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that `share` of all do not exceed (nearest rank); ``nan`` of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """Return the middle value, of an even number the mean of both; ``nan`` of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Lab:
    """One ring under experiment.

    ``clock`` returns seconds of real or CPU time; ``progress`` is called with the virtual time in
    seconds about once per virtual second.
    """

    def __init__(
        self,
        sim: Simulator,
        *,
        clock: Callable[[], float] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.sim = sim
        self.dice = sim.faults
        self.samples: dict[str, list[float]] = {}
        self.series: dict[str, list[tuple[float, float]]] = {}
        self._clock = clock
        self._progress = progress

    # time

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.sim.now_us / 1e6

    def run(
        self, seconds: float, *, every: float = 1.0, tick: Callable[[], None] | None = None
    ) -> None:
        """Let time pass in steps of at most `every`; call `tick` after each."""
        end = self.sim.now_us + int(seconds * 1e6)
        while self.sim.now_us < end:
            self.sim.run(min(every, (end - self.sim.now_us) / 1e6))
            if self._progress is not None:
                self._progress(self.now)
            if tick is not None:
                tick()

    def until(self, condition: Callable[[], bool], limit: float, *, every: float = 0.1) -> float:
        """Let time pass until the condition holds; return the seconds, ``inf`` past the limit."""
        start = self.sim.now_us
        while not condition():
            if self.sim.now_us - start >= limit * 1e6:
                return math.inf
            self.run(every, every=every)
        return (self.sim.now_us - start) / 1e6

    def agree(self, limit: float, *, every: float = 0.1) -> float:
        """Wait until all that can reach each other agree."""
        return self.until(self.sim.converged, limit, every=every)

    def wait(self, low: float, high: float) -> None:
        """Let a drawn time pass, so that a fault meets the ring in any phase."""
        self.run(self.draw(low, high))

    def draw(self, low: float, high: float) -> float:
        """Draw evenly between two values."""
        return low + (high - low) * self.dice.integer(0, 1_000_000) / 1e6

    def draw_log(self, low: float, high: float) -> float:
        """Draw so that every factor between two values is equally likely."""
        return low * math.pow(high / low, self.dice.integer(0, 1_000_000) / 1e6)

    # rings

    def form(
        self,
        members: int,
        *,
        over: float = 1.0,
        seeds: Sequence[int] | None = None,
        settled: float = 3.0,
        limit: float = JOIN_LIMIT_S,
    ) -> float:
        """Start a ring, wait until it agrees and `settled` seconds more; return the join."""
        self.sim.add(members, over=over, seeds=seeds)
        self.run(over)
        took = self.agree(limit, every=0.05)
        self.run(settled)
        return took

    def victims(self, count: int, among: Iterable[int] | None = None) -> list[int]:
        """Draw members that run."""
        return self.dice.sample(list(among) if among is not None else self.sim.running(), count)

    # reading off

    def known(self, victims: Iterable[int], limit: float) -> dict[int, list[float]]:
        """Wait until all that run hold the victims dead.

        Return, per viewer, the seconds from now until it knew each, in order; a viewer that misses
        one within the limit gets fewer.
        """
        start, wanted = self.sim.now_us, set(victims)
        viewers = [index for index in self.sim.running() if index not in wanted]
        told: dict[int, dict[int, float]] = {index: {} for index in viewers}
        place = len(self.sim.deaths)

        def complete() -> bool:
            nonlocal place
            for t_us, viewer, host in self.sim.deaths[place:]:
                place += 1
                if host in wanted and viewer in told:
                    told[viewer].setdefault(host, (t_us - start) / 1e6)
            return all(len(mine) == len(wanted) for mine in told.values())

        self.until(complete, limit, every=0.05)
        return {viewer: sorted(mine.values()) for viewer, mine in told.items()}

    def knowledge(self, told: Mapping[int, Sequence[float]], wanted: int) -> dict[str, float]:
        """Sum up what `known` returned: the first news, half of the viewers and all knowing all."""
        full = [times[-1] if len(times) == wanted else math.inf for times in told.values()]
        first = min((times[0] for times in told.values() if times), default=math.inf)
        return {"first_s": first, "median_s": median(full), "last_s": max(full, default=math.nan)}

    def sample(self, **values: float) -> None:
        """Keep one repetition's figures."""
        for name, value in values.items():
            self.samples.setdefault(name, []).append(value)

    def point(self, name: str, x: float, y: float) -> None:
        """Keep one point of a curve."""
        self.series.setdefault(name, []).append((x, y))

    def false_deaths(self, healthy: Callable[[int, int], bool], since: int = 0) -> tuple[int, int]:
        """Return (members, declarations) of DIED events where ``healthy(t_us, host)``.

        A member counts once per episode, whoever believed it; a declaration is one viewer's.
        """
        last: dict[int, int] = {}
        members = declarations = 0
        for t_us, _, host in self.sim.deaths[since:]:
            if healthy(t_us, host):
                declarations += 1
                if t_us - last.get(host, -EPISODE_US) >= EPISODE_US:
                    members += 1
                last[host] = t_us
        return members, declarations

    def open(self) -> Window:
        """Start to count traffic, node counters and real time."""
        totals = self.sim.totals()
        packets = totals.get("sent_packets", 0)  # absent before the first host
        counters: dict[str, int] = {}
        for index in self.sim.running():
            for name, value in self.sim.node_of(index).counters().items():
                counters[name] = counters.get(name, 0) + value
        return Window(
            self.sim.now_us,
            packets,
            totals.get("sent_bytes", 0) + HEADER_BYTES * packets + totals["stream_bytes"],
            self._clock() if self._clock is not None else math.nan,
            counters,
        )

    def close(self, window: Window) -> Window:
        """Return what happened since `open`; counters of members that ended are not in it."""
        cpu_s = self._clock() if self._clock is not None else math.nan
        end = self.open()
        counters = {
            name: value - window.counters.get(name, 0) for name, value in end.counters.items()
        }
        return Window(
            end.t_us - window.t_us,
            end.packets - window.packets,
            end.bytes - window.bytes,
            cpu_s - window.cpu_s,
            counters,
        )

    def cost(self, window: Window, members: int) -> dict[str, float]:
        """Return the cost per member and second of a closed window, headers and streams in it."""
        seconds = window.t_us / 1e6 * members
        return {
            "bytes_s": window.bytes / seconds,
            "packets_s": window.packets / seconds,
            "cpu_ms_s": window.cpu_s * 1e3 / seconds,
        }

    def held_alive(self, viewer: int, host: int) -> bool:
        """Return whether a viewer's events say that the member on a host lives, or is doubted."""
        seen = self.sim.told(viewer).get(self.sim.life(host).id)
        return seen is not None and seen.state in (MemberState.ALIVE, MemberState.SUSPECT)

    def missing_pairs(self, viewers: Sequence[int], hosts: Sequence[int]) -> int:
        """Count the pairs where the viewer does not hold the host alive."""
        return sum(
            1
            for viewer in viewers
            for host in hosts
            if viewer != host and not self.held_alive(viewer, host)
        )

    def sizes(self) -> list[int]:
        """Return the size of the ring as each running member tells it, itself included."""
        return [1 + self.sim.live_count(index) for index in self.sim.running()]


class Returns:
    """Counts how often each viewer took a member back from the dead."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self.times: dict[tuple[int, bytes], list[int]] = {}
        sim.watch(self._see)

    def _see(self, viewer: int, event: Event) -> None:
        if isinstance(event, MemberEvent) and event.change is MemberChange.RETURNED:
            self.times.setdefault((viewer, event.member.id), []).append(self._sim.now_us)

    def of(self, hosts: Iterable[int]) -> list[int]:
        """Return the number of returns per (viewer, host) pair that had any."""
        ids = {self._sim.life(host).id for host in hosts}
        return [len(times) for (_, member), times in self.times.items() if member in ids]
