"""Question: what does fast detection cost in false deaths, here and with memberlist's rules?

Lifeguard's experiment: 1, 4 or 10 of 100 members stall for 0.1 to 32 s again and again, in one of
two ways. `receivers`: they read nothing, while their timers run and they send. `process`: they stop
altogether, as in a collector's pause or on a starved machine. Ours is run with pause tolerances
from 0.5 to 8 s, memberlist's rules (`bench/peers/memberlist_node.py`) with suspicion multipliers
from 2 to 6, and with the LAN defaults at faster probe intervals; all in one simulated network.
A point is the median time until all know of a crash (nobody stalled), and how often per member-hour
a healthy member was declared dead, by whomever and by healthy members.

    python bench/curve.py                        # ~10 minutes of both cores
    python bench/curve.py --minutes 2 --stalled 4 --no-results
    python bench/curve.py --json curve.json

Writes ``bench/results/curve_<fault>_<stalled>.svg`` and its section of ``bench/RESULTS.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import report
from bench import charts
from bench.peers.memberlist_node import Directory, MemberlistNode
from bench.peers.memberlist_rules import Settings
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sup_core.config import Config
from sup_core.simulator import Simulator
from sup_core.simulator_experiments import crash
from sup_core.simulator_lab import EPISODE_US, Lab, median, quantile

SECTION = "bench/curve.py"
PLOTS = Path(__file__).with_name("results")
CRASHES = 20
FAULTS = ("receivers", "process")
STALL_S = (0.1, 32.0)
GAP_S = (1.0, 20.0)

OURS, BY_MULT, BY_SPEED = "ours", "memberlist, suspicion mult", "memberlist, probe interval"
TOLERANCES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
MULTS = (2, 3, 4, 6)
SPEEDS = (0.15, 0.27, 0.5)


@dataclass(frozen=True, slots=True)
class Point:
    """One way to run a ring: whose rules, and the dial's position."""

    system: str
    dial: float

    def simulator(self, seed: int) -> Simulator:
        """Return an empty simulator for it."""
        if self.system == OURS:
            return Simulator(
                seed=seed, checks=[], config=Config(pause_tolerance_us=int(self.dial * 1e6))
            )
        settings = Settings()
        if self.system == BY_MULT:
            settings = Settings(suspicion_mult=int(self.dial))
        else:
            settings = settings.scaled(self.dial)
        node = partial(MemberlistNode, settings=settings, directory=Directory())
        return Simulator(seed=seed, checks=[], node_type=node)

    def text(self) -> str:
        """Return the dial's position in words."""
        if self.system == OURS:
            return f"pause tolerance {self.dial:g} s"
        if self.system == BY_MULT:
            return f"suspicion mult {self.dial:g}"
        return f"probe interval {self.dial:g} s"


POINTS = (
    *(Point(OURS, value) for value in TOLERANCES_S),
    *(Point(BY_MULT, value) for value in MULTS),
    *(Point(BY_SPEED, value) for value in SPEEDS),
)


Job = tuple[Point, int, int, str, int, float]


def detection(point: Point, members: int, seed: int) -> dict[str, float]:
    """Measure how long a crash stays unknown while nobody is stalled."""
    lab = Lab(point.simulator(seed))
    crash(lab, members, rounds=CRASHES)
    last = lab.samples["last_s"]
    return {"median_s": median(last), "p99_s": quantile(last, 0.99)}


def false_deaths(
    point: Point, members: int, seed: int, fault: str, stalled: int, minutes: float
) -> dict[str, float]:
    """Count how often members that never stalled were declared dead."""
    sim = point.simulator(seed)
    lab = Lab(sim)
    lab.form(members)
    victims = set(lab.victims(stalled))
    end = sim.now_us + int(minutes * 60e6)
    stop = sim.stall if fault == "receivers" else sim.pause

    def stall(host: int) -> None:
        if sim.now_us < end:
            us = int(1e6 * lab.draw_log(*STALL_S))
            stop(host, us)
            sim.at(sim.now_us + us + int(1e6 * lab.draw(*GAP_S)), partial(stall, host))

    for host in sorted(victims):
        sim.at(sim.now_us + int(1e6 * lab.draw(0.0, GAP_S[1])), partial(stall, host))
    lab.run(minutes * 60)
    wrong = [death for death in sim.deaths if death[2] not in victims]
    by_healthy = [death for death in wrong if death[1] not in victims]
    return {
        "hours": members * minutes / 60,
        "false": float(episodes(wrong)),
        "false_healthy": float(episodes(by_healthy)),
        "declarations": float(len(wrong)),
        "declarations_healthy": float(len(by_healthy)),
    }


def episodes(deaths: Iterable[tuple[int, int, int]]) -> int:
    """Count the members declared dead: of one member once, until it is quiet for a while."""
    last: dict[int, int] = {}
    count = 0
    for t_us, _, host in deaths:
        count += t_us - last.get(host, -EPISODE_US) >= EPISODE_US
        last[host] = t_us
    return count


def work(job: Job) -> dict[str, float]:
    """Do one job in a process of its own."""
    point, members, seed, fault, stalled, minutes = job
    if stalled == 0:
        return detection(point, members, seed)
    return false_deaths(point, members, seed, fault, stalled, minutes)


def plan(options: argparse.Namespace) -> list[Job]:
    """Return all jobs, the longest first, so that the cores end together."""
    jobs: list[Job] = [(point, options.members, options.seed, "", 0, 0.0) for point in POINTS]
    jobs += [
        (point, options.members, options.seed + number, fault, stalled, options.minutes)
        for point in POINTS
        for fault in options.fault
        for stalled in options.stalled
        for number in range(options.seeds)
    ]
    return sorted(jobs, key=lambda job: (job[0].system == OURS, -job[4], job[0].dial))


def measure(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Run all jobs on all cores; return one record per point and share of stalled members."""
    jobs = plan(options)
    latency: dict[Point, dict[str, float]] = {}
    counts: dict[tuple[Point, str, int], dict[str, float]] = {}
    with (
        ProcessPoolExecutor(max_workers=options.jobs) as pool,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress,
    ):
        bar = progress.add_task("rings", total=len(jobs))
        futures = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(futures):
            point, _, _, fault, stalled, _ = futures[future]
            if stalled == 0:
                latency[point] = future.result()
            else:
                total = counts.setdefault((point, fault, stalled), {})
                for name, value in future.result().items():
                    total[name] = total.get(name, 0.0) + value
            progress.advance(bar)
    records = []
    for fault, stalled, point in product(options.fault, options.stalled, POINTS):
        found = counts[point, fault, stalled]
        records.append(
            {
                "system": point.system,
                "dial": point.dial,
                "text": point.text(),
                "fault": fault,
                "stalled": stalled,
                **latency[point],
                **found,
                "per_hour": found["false"] / found["hours"],
            }
        )
    return records


def plot(path: Path, records: list[dict[str, Any]], members: int, fault: str, stalled: int) -> bool:
    """Draw the chart of one share of stalled members; return whether that was possible."""
    lines = []
    hours = max(r["hours"] for r in records)
    floor = 10 ** math.floor(math.log10(0.5 / hours))
    for system in (OURS, BY_MULT, BY_SPEED):
        points = sorted(
            (r["median_s"], max(r["per_hour"], floor))
            for r in records
            if (r["system"], r["fault"], r["stalled"]) == (system, fault, stalled)
        )
        lines.append(charts.Line(system, points, marks=True))
    return charts.save(
        path,
        f"{stalled} of {members} stall ({fault}); {floor:g} stands for none in {hours:.0f} hours",
        charts.Axis("median time until all know of a crash, s", low=0.0),
        charts.Axis("healthy members declared dead per member-hour", low=floor, log=True),
        lines,
    )


HEADS = (
    "stalls", "rules", "dial", "all know of a crash: median, p99, s",
    "healthy declared dead per member-hour", "by healthy members", "declarations",
)  # fmt: skip


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """Return the table's lines."""
    return [
        [
            f"{r['stalled']}, {r['fault']}",
            r["system"].partition(",")[0],
            r["text"],
            f"{r['median_s']:.1f}, {r['p99_s']:.1f}",
            f"{r['per_hour']:.3g} ({r['false']:.0f} in {r['hours']:.0f})",
            f"{r['false_healthy'] / r['hours']:.3g} ({r['false_healthy']:.0f})",
            f"{r['declarations']:.0f}, by healthy {r['declarations_healthy']:.0f}",
        ]
        for r in records
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; return the exit status."""
    options = parse(arguments)
    console = Console(stderr=options.json == "-")
    if not console.is_terminal:
        console = Console(stderr=options.json == "-", width=150)
    records = measure(options, console)
    table = Table(title=f"false deaths against detection, {options.members} members")
    for head in HEADS:
        table.add_column(head)
    for row in rows(records):
        table.add_row(*row)
    console.print(table)
    if options.json == "-":
        print(json.dumps(records))
    elif options.json:
        Path(options.json).write_text(json.dumps(records, indent=1) + "\n")
    if options.results:
        write_results(records, options)
    return 0


def write_results(records: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write the plots and the section of the results."""
    PLOTS.mkdir(exist_ok=True)
    pictures = []
    for fault, stalled in product(options.fault, options.stalled):
        name = f"curve_{fault}_{stalled}.svg"
        if plot(PLOTS / name, records, options.members, fault, stalled):
            pictures.append(f"![{stalled} stalled, {fault}]({PLOTS.name}/{name})")
    lines = [
        report.machine(),
        "",
        f"`python bench/curve.py --fault {' '.join(options.fault)} --minutes {options.minutes:g} "
        f"--seeds {options.seeds}`: {options.members} simulated members, "
        f"{options.minutes:g} minutes × {options.seeds} seeds per line, stalls of 0.1–32 s, "
        "1–20 s apart. A member that is declared dead counts once per 30 s; declarations count "
        "each viewer. In the pictures, the stalled members' own declarations are in.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|---" * len(HEADS) + "|",
        *("| " + " | ".join(row) + " |" for row in rows(records)),
        "",
        *pictures,
    ]
    report.write_section(SECTION, "\n".join(lines))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=100, help="members of a ring, 20..1000")
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual minutes per run (10)")
    parser.add_argument("--seeds", type=int, default=1, help="runs per point, 1..100 (1)")
    parser.add_argument("--seed", type=int, default=1, help="the first (1)")
    parser.add_argument(
        "--stalled", type=int, nargs="+", default=[1, 4, 10], help="stalled members (1 4 10)"
    )
    parser.add_argument(
        "--fault", nargs="+", choices=FAULTS, default=list(FAULTS), help="how they stall (both)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (cores)")
    parser.add_argument("--json", metavar="FILE", help="write the points there, - is the output")
    parser.add_argument(
        "--no-results", dest="results", action="store_false", help="write no plots, no RESULTS.md"
    )
    options = parser.parse_args(arguments)
    if not 20 <= options.members <= 1000 or not 1 <= options.seeds <= 100:
        parser.error("members are 20..1000, seeds 1..100")
    if any(not 1 <= stalled <= options.members // 2 for stalled in options.stalled):
        parser.error("stalled members are 1 to half of all")
    return options


if __name__ == "__main__":
    sys.exit(main())
