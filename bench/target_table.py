"""The targets as data: what is measured, how, what the best peer does, and what must hold.

The peer's column is what was measured of hashicorp/memberlist 0.2.2 and 0.6.0 with LAN defaults on
a machine with two cores, all members in one process, or (marked) modelled; `bench/peers` measures
it anew where Go is present. `bench/targets.py` runs and prints the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sup_core.simulator_experiments import median, quantile

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one seed: an experiment, or a probe of `bench/targets.py`."""

    experiment: str
    members: int
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        words = "".join(f" {key}={value}" for key, value in self.options)
        return f"{self.experiment} {self.members}{words}"


def job(experiment: str, members: int, **options: Any) -> Job:
    """A job with its options in order."""
    return Job(experiment, members, tuple(sorted(options.items())))


def middle(values: Sequence[float]) -> float:
    """The median."""
    return median(values)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantile(values, 0.99)


def worst(values: Sequence[float]) -> float:
    """The largest."""
    return max(values, default=math.nan)


def least(values: Sequence[float]) -> float:
    """The smallest."""
    return min(values, default=math.nan)


def total(values: Sequence[float]) -> float:
    """The sum: of counts that must be zero."""
    return sum(values) if values else math.nan


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table: a figure of a job over its seeds, summed up, against a bound."""

    key: str
    measure: str
    job: Job
    figure: str
    sum_up: Callable[[Sequence[float]], float]
    bound: float | None
    unit: str
    peer: str = ""
    at_least: bool = False
    seeds: int = 5
    full_seeds: int | None = None
    quick: bool = True
    over: tuple[Job, str] | None = field(default=None)
    """A second figure by whose median this one's values are divided."""

    def holds(self, value: float) -> bool | None:
        """Return whether the value keeps the bound; None without one, or without a value."""
        if self.bound is None or math.isnan(value):
            return None
        return value >= self.bound if self.at_least else value <= self.bound


def _detection(members: int, peer: str, mid: float, far: float, **how: Any) -> list[Target]:
    runs = job("crash", members, rounds=how.pop("rounds", 20))
    name = f"one crash, N = {members:,}, until the last knows"
    return [
        Target(
            f"crash-{members}", f"{name}: median", runs, "last_s", middle, mid, "s", peer, **how
        ),
        Target(f"crash-{members}", f"{name}: p99", runs, "last_s", p99, far, "s", "", **how),
        Target(
            f"crash-{members}", "… healthy declared dead", runs, "false_deaths", total, 0, "", **how
        ),
    ]


def _mass(
    members: int, percent: int, peer: str, mid: float, far: float | None, **how: Any
) -> list[Target]:
    runs = job("mass-crash", members, percent=percent)
    key, name = f"mass-{percent}-{members}", f"{percent} % crash at once, N = {members:,}"
    lines = [Target(key, f"{name}: median", runs, "last_s", middle, mid, "s", peer, **how)]
    if far is not None:
        lines.append(Target(key, f"{name}: worst", runs, "last_s", worst, far, "s", "", **how))
    return lines


def _stalls(slow: int, peer: str) -> list[Target]:
    runs = job("stalls", 100, slow=slow, minutes=15.0)
    name, how = f"{slow} of 100 with stalled receivers (0.1–32 s)", {"seeds": 10, "full_seeds": 40}
    return [
        Target(
            f"stalls-{slow}",
            f"{name}: healthy declared dead",
            runs,
            "false_deaths",
            total,
            0,
            "",
            peer,
            **how,
        ),
        Target(f"stalls-{slow}", "… member-hours", runs, "member_hours", total, None, "h", **how),
        Target(f"stalls-{slow}", "… stalls injected", runs, "stalls", total, None, "", **how),
    ]


def _rumor(members: int, peer: str, **how: Any) -> list[Target]:
    runs = job("rumor", members, rounds=how.pop("rounds", 20))
    key, name = f"rumor-{members}", f"256-byte rumor, N = {members:,}"
    last, far = (0.5, None) if members <= 100 else (0.8, 1.5)
    return [
        Target(
            key,
            f"{name}: median member",
            runs,
            "median_s",
            middle,
            0.05 if members <= 100 else None,
            "s",
            peer,
            **how,
        ),
        Target(key, f"{name}: last, median", runs, "last_s", middle, last, "s", "", **how),
        Target(key, f"{name}: last, p99", runs, "last_s", p99, far, "s", "", **how),
        Target(
            key,
            f"{name}: copies per member",
            runs,
            "copies",
            middle,
            7.0 if members <= 100 else None,
            "",
            "12" if members <= 100 else "",
            **how,
        ),
        Target(
            key,
            "… members never reached",
            runs,
            "unreached",
            total,
            0,
            "",
            "some (local profile)" if members <= 100 else "",
            **how,
        ),
    ]


def _heal(share: float, name: str, members: int, **how: Any) -> list[Target]:
    runs = job("heal", members, share=share)
    key = f"heal-{members}-{'half' if share == 0.5 else 'few'}"
    return [
        Target(
            key,
            f"heal after 5 min, no seeds, {name}",
            runs,
            "heal_s",
            worst,
            20,
            "s",
            "never",
            **how,
        ),
        Target(
            key,
            "… reachable pairs shown dead on the way",
            runs,
            "pairs_shown_dead",
            total,
            0,
            "",
            **how,
        ),
    ]


def _churn(members: int, bound: float, peer: str, **how: Any) -> list[Target]:
    runs = job("churn", members)
    key = f"churn-{members}"
    return [
        Target(
            key,
            f"1 % lost and back per minute, N = {members:,}: traffic",
            runs,
            "bytes_s",
            middle,
            bound,
            "B/s",
            peer,
            **how,
        ),
        Target(key, "… healthy declared dead", runs, "false_deaths", total, 0, "", **how),
    ]


def _steady(members: int, **how: Any) -> list[Target]:
    runs = job("steady", members)
    peers = {100: "150–240 B/s", 1000: "+1–3 KB/s push-pull", 10000: "+7–20 KB/s push-pull"}
    return [
        Target(
            f"steady-{members}",
            f"quiet traffic per member, N = {members:,}",
            runs,
            "bytes_s",
            middle,
            150,
            "B/s",
            peers.get(members, ""),
            **how,
        ),
        Target(
            f"steady-{members}",
            "… CPU of the core per member and second",
            runs,
            "cpu_ms_s",
            middle,
            0.08,
            "ms",
            "0.7–0.9 ms (with sockets)" if members <= 100 else "cannot",
            **how,
        ),
    ]


def _speed(members: int, bound: float | None, **how: Any) -> list[Target]:
    runs = job("speed", members)
    lines = [
        Target(
            "speed",
            f"simulated seconds per second, N = {members:,}",
            runs,
            "speed",
            middle,
            bound,
            "×",
            at_least=True,
            **how,
        )
    ]
    if bound is None:
        return lines
    return [
        *lines,
        Target(
            "speed",
            "… slowest 5 s of a minute",
            runs,
            "speed",
            least,
            bound,
            "×",
            "",
            at_least=True,
            **how,
        ),
        Target("speed", "… first 10 s", runs, "start", least, bound, "×", "", at_least=True, **how),
        Target("speed", "… CPU until the ring stands", runs, "form_s", worst, None, "s", **how),
        Target("speed", "… resident, peak", runs, "gib_peak", worst, 12, "GiB", **how),
    ]


def _packet(case: str, words: str, peer: str) -> list[Target]:
    runs = job("packet", 100, case=case)
    return [
        Target(f"packet-{case}", f"{words}: median", runs, "median_us", middle, 1.0, "µs", peer),
        Target(f"packet-{case}", "… p99", runs, "p99_us", middle, None, "µs"),
    ]


_PAUSES = job("pauses", 100, minutes=15.0)
_FLIP = job("flip-flop", 300)
_EGRESS = job("egress-loss", 1000)
_RACK = job("rack-loss", 200)
_RESTART = job("mass-restart", 200)
_BARE = job("mass-restart", 200, disk=False)
_BOOT = job("bootstrap", 2000)
_JOIN = job("join", 200)

TARGETS: tuple[Target, ...] = (
    *_packet("known", "handle ping + 6 known updates, write the ack", "194–216 µs (42–48 plain)"),
    *_packet("raised", "handle ping + 6 new updates, write the ack", "282–310 µs (109–163 plain)"),
    *_packet("build", "build a ping + 6 updates", "107–155 µs (46–57 plain)"),
    *_detection(50, "9.2 s (p99 modelled 12)", 3.5, 6.0),
    *_detection(100, "10.3 s (13)", 3.5, 6.0),
    *_detection(200, "12.4 s (17)", 3.5, 6.0),
    *_detection(1000, "~14 s", 4.0, 6.5, rounds=15, seeds=1, full_seeds=6),
    *_detection(10000, "~18 s", 4.5, 6.5, rounds=10, seeds=1, quick=False),
    *_mass(100, 10, "14.9 s", 5.5, 10.0, seeds=10),
    *_mass(200, 10, "20.2 s", 6.0, 10.0, seeds=10),
    *_mass(1000, 10, "18–22 s modelled", 8.0, 10.0, seeds=2, full_seeds=10),
    *_mass(200, 50, "26–28 s modelled", 15.0, None, seeds=5, full_seeds=10),
    *_mass(200, 90, "~200 s modelled", 90.0, None, seeds=5, full_seeds=10),
    *_stalls(1, ""),
    *_stalls(4, "1.7 per member-hour (modelled)"),
    *_stalls(10, ""),
    Target(
        "pauses",
        "1 % loss, pauses of 0.1–1.9 s: healthy declared dead",
        _PAUSES,
        "false_deaths",
        total,
        0,
        "",
        "0 in 400 h modelled; tuned 2",
        seeds=10,
        full_seeds=40,
    ),
    Target(
        "pauses",
        "… suspicions per member and hour",
        _PAUSES,
        "suspicions_hour",
        middle,
        5,
        "",
        "5.6 modelled",
        seeds=10,
        full_seeds=40,
    ),
    Target(
        "pauses",
        "… member-hours",
        _PAUSES,
        "member_hours",
        total,
        None,
        "h",
        seeds=10,
        full_seeds=40,
    ),
    Target(
        "pauses", "… pauses injected", _PAUSES, "pauses", total, None, "", seeds=10, full_seeds=40
    ),
    Target(
        "flip-flop",
        "3 of 300 one-way, 20 s on and off, 15 min: healthy declared dead",
        _FLIP,
        "false_deaths",
        total,
        0,
        "",
        "150–180 modelled",
        seeds=2,
        full_seeds=6,
    ),
    Target(
        "flip-flop",
        "… the faulty out after",
        _FLIP,
        "out_s",
        worst,
        10,
        "s",
        "never all (Rapid, fig. 9)",
        seeds=2,
        full_seeds=6,
    ),
    Target(
        "flip-flop",
        "… kept out, share of the last 5 min",
        _FLIP,
        "kept_out_share",
        least,
        0.9,
        "",
        at_least=True,
        seeds=2,
        full_seeds=6,
    ),
    *_rumor(100, "0.36 s; last 0.71 s"),
    *_rumor(1000, "", rounds=10, seeds=1, full_seeds=5),
    *_rumor(10000, "", rounds=5, seeds=1, quick=False),
    Target(
        "join-200",
        "burst join of 200",
        _JOIN,
        "join_s",
        middle,
        2.5,
        "s",
        "5.5 s (one in five collapsed)",
    ),
    Target(
        "join-200", "… CPU of the core", _JOIN, "cpu_s", middle, 1.0, "s", "8–15 s (with sockets)"
    ),
    *_steady(100),
    *_steady(1000, seeds=1, full_seeds=3),
    *_steady(10000, seeds=1, quick=False),
    Target(
        "flat",
        "traffic at 1,000 ÷ at 100",
        job("steady", 1000),
        "bytes_s",
        middle,
        1.2,
        "×",
        "8–20",
        seeds=1,
        over=(job("steady", 100), "bytes_s"),
    ),
    Target(
        "flat",
        "traffic at 10,000 ÷ at 100",
        job("steady", 10000),
        "bytes_s",
        middle,
        1.2,
        "×",
        "50–130",
        seeds=1,
        quick=False,
        over=(job("steady", 100), "bytes_s"),
    ),
    Target(
        "sync",
        "quiet ring of 1,000: bytes of full-state syncs per member and minute",
        job("steady", 1000),
        "sync_bytes",
        middle,
        0,
        "B",
        "71 KB per exchange, 0.7 MB at 10,000",
        seeds=1,
    ),
    *_churn(100, 200, "0.5 KB/s modelled"),
    *_churn(1000, 600, "2.6 KB/s modelled", seeds=1, full_seeds=3, quick=False),
    *(
        Target("memory", words, job("memory", 1000), figure, middle, bound, unit, peer, seeds=1)
        for words, figure, bound, unit, peer in (
            ("memory per member in one process, N = 100", "kb_member", 20, "KB", "330–480 KB"),
            ("… what the node itself holds", "kb_own", None, "KB", ""),
            ("memory per (node, member) pair, 100 to 1,000", "bytes_pair", 64, "B", "215 B"),
            ("… what the nodes themselves hold", "bytes_pair_own", None, "B", ""),
        )
    ),
    *_speed(1000, None, seeds=1, full_seeds=3),
    *_speed(2000, 10, seeds=1, quick=False),
    *_speed(10000, 1, seeds=1, quick=False),
    *_heal(0.5, "halves of 200", 200, seeds=2),
    *_heal(0.02, "4 from 196", 200, seeds=2),
    *_heal(0.5, "halves of 1,000", 1000, seeds=1, full_seeds=3, quick=False),
    *_heal(0.02, "20 from 980", 1000, seeds=1, full_seeds=3, quick=False),
    Target(
        "egress",
        "10 of 1,000 lose 80 % of what they send, 5 min: healthy declared dead",
        _EGRESS,
        "false_deaths",
        total,
        0,
        "",
        "not removed, views differ (Rapid, fig. 10)",
        seeds=1,
        full_seeds=3,
        quick=False,
    ),
    Target(
        "egress",
        "… the faulty out after",
        _EGRESS,
        "out_s",
        worst,
        None,
        "s",
        seeds=1,
        full_seeds=3,
        quick=False,
    ),
    Target(
        "egress",
        "… disputed in the end",
        _EGRESS,
        "disputed",
        worst,
        1,
        "",
        seeds=1,
        full_seeds=3,
        quick=False,
    ),
    Target("rack", "one rack of ten lost at once, N = 200", _RACK, "last_s", middle, 6.0, "s"),
    Target("rack", "… healthy declared dead", _RACK, "false_deaths", total, 0, ""),
    Target("rack", "… all back", _RACK, "back_s", worst, None, "s"),
    Target(
        "restart",
        "all 200 restart at once, until all agree",
        _RESTART,
        "settle_s",
        worst,
        None,
        "s",
        "stuck dead (#311)",
    ),
    Target("restart", "… pairs stuck", _RESTART, "missing_pairs", total, 0, ""),
    Target(
        "restart",
        "all 200 restart without their disks",
        _BARE,
        "settle_s",
        worst,
        None,
        "s",
        seeds=2,
    ),
    Target(
        "bootstrap",
        "bootstrap of 2,000",
        _BOOT,
        "join_s",
        middle,
        10,
        "s",
        "up to 95 s; Rapid 41–48 s",
        seeds=1,
        quick=False,
    ),
    Target(
        "bootstrap",
        "… distinct sizes noted",
        _BOOT,
        "distinct_sizes",
        middle,
        None,
        "",
        "1,858; Rapid 4",
        seeds=1,
        quick=False,
    ),
)

GROUPS: Mapping[str, tuple[str, ...]] = {
    "scale": ("speed", "flat", "crash-10000", "rumor-10000", "join-200"),
}
"""Keys that are asked for together: what rings of thousands cost, and what they do."""
