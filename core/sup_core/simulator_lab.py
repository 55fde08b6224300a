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

from sup_core.events import MemberState
from sup_core.simulator import Simulator
from sup_core.simulator_start import acquaint

HEADER_BYTES = 28
"""IPv4 and UDP: what a datagram weighs beside its content."""

EPISODE_US = 30_000_000
"""Declarations about one member that are not further apart are one false death, however many
viewers it reaches: the longest that the consequences of one fault are told."""

JOIN_LIMIT_S = 120.0

ACQUAINTED = 1000
"""Rings of more members start knowing each other, unless joining is the experiment."""

EXCUSE_S = 31.0
"""After a start, deaths are excused for 30 s; what counts false deaths waits that out."""


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
        """Start a ring, wait until it agrees and `settled` seconds more; return the join.

        Rings above `ACQUAINTED` start acquainted: what they cost is not what is asked of them.
        """
        if members > ACQUAINTED and seeds is None:
            acquaint(self.sim, members)
        else:
            self.sim.add(members, over=over, seeds=seeds)
            self.run(over)
        took = self.agree(limit, every=0.05)
        self.run(settled)
        return took

    def victims(self, count: int, among: Iterable[int] | None = None) -> list[int]:
        """Draw members that run."""
        return self.dice.sample(list(among) if among is not None else self.sim.running(), count)

    # reading off

    def known(self, victims: Sequence[int], limit: float, *, curve: str = "") -> dict[str, float]:
        """Wait until all that run hold the crashed victims dead; return when, from their end.

        ``first_s``: the first news at any member, ``median_s``: half know the median victim,
        ``last_s``: the last member knows the last victim, ``inf`` past the limit. With `curve` the
        share of (member, victim) pairs that know is kept as a curve of that name.
        """
        start = self.sim.now_us

        def complete() -> bool:
            endings = [self.sim.ending(host) for host in victims]
            aware = sum(ending.aware for ending in endings)
            unaware = sum(ending.unaware for ending in endings)
            if curve:
                share = aware / max(1, aware + unaware)
                self.point(curve, (self.sim.now_us - start) / 1e6, share)
            return unaware == 0

        took = self.until(complete, limit, every=0.05)
        ends = [self.sim.ending(host) for host in victims]
        told = [(end.first_us - end.ended_us) / 1e6 for end in ends if end.aware]
        half = [(end.median_us - end.ended_us) / 1e6 for end in ends if end.median_us >= 0]
        last = [(end.last_us - end.ended_us) / 1e6 for end in ends]
        return {
            "first_s": min(told, default=math.inf),
            "median_s": median(half) if len(half) == len(ends) else math.inf,
            "last_s": max(last, default=math.nan) if math.isfinite(took) else math.inf,
        }

    def sample(self, **values: float) -> None:
        """Keep one repetition's figures."""
        for name, value in values.items():
            self.samples.setdefault(name, []).append(value)

    def point(self, name: str, x: float, y: float) -> None:
        """Keep one point of a curve."""
        self.series.setdefault(name, []).append((x, y))

    def episodes(self) -> int:
        """Count the deaths told of members that ran and had no excuse, each once per episode.

        Whoever believed it: one wrong verdict that a hundred viewers hear is one. Beyond what the
        ledger remembers one by one they are only told to be some.
        """
        last: dict[int, int] = {}
        found = 0
        for t_us, _, host, excused in self.sim.ledger.deaths:
            if not excused:
                if t_us - last.get(host, -EPISODE_US) >= EPISODE_US:
                    found += 1
                last[host] = t_us
        return max(found, 1 if self.sim.ledger.healthy_deaths else 0)

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

    def holders(self, host: int, viewers: Sequence[int]) -> int:
        """Count the viewers that show the member on a host as alive or suspect; not light."""
        wanted = self.sim.life(host).id
        shown = (MemberState.ALIVE, MemberState.SUSPECT)
        found = (self.sim.told(viewer).get(wanted) for viewer in viewers)
        return sum(1 for seen in found if seen is not None and seen.state in shown)

    def missing_pairs(self) -> int:
        """Return in how many entries all views together differ from the truth."""
        return self.sim.ledger.wrong

    def sizes(self) -> list[int]:
        """Return the size of the ring as each running member tells it, itself included.

        True while nobody has died: what a view then differs in, it has not heard of yet.
        """
        up = self.sim.running()
        return [len(up) - self.sim.ledger.missing(index) for index in up]
