"""Measure every target of the core on simulated rings and print it beside its peer.

Question: which targets hold? Each line is one figure over several seeds, with its spread (the
quartiles, of counts the range) and the bound. Without `--full` the runs fit into three minutes;
with it, rings of up to 10,000 are measured too. CPU figures are of this process alone, so other
work on the machine moves them less than wall time.

    python bench/targets.py
    python bench/targets.py --only crash-100 stalls-4 --seeds 20
    python bench/targets.py --only scale --jobs 1
    python bench/targets.py --full --write
    python bench/targets.py --peer --seeds 2
    python bench/targets.py --experiment heal --members 200 --seed 3

`--peer` runs memberlist's rules (`bench/peers`) through the same experiments, seeds and network
(of up to 300 members) and keeps their figures for the column beside ours. `--write` enters what was
measured into this file's section of `bench/RESULTS.md`; other lines stay, each with the run that it
is of. The plots are drawn anew unless `--only` chose some lines. Exit status 1 if a target does not
hold.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import charts
import memory as weigh
import report
from bench.peers.memberlist_node import Directory, MemberlistNode
from bench.peers.memberlist_rules import Settings
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from target_table import GROUPS, TARGETS, Job, Target

from sup_core.bench_hooks import PacketBench
from sup_core.config import Config
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_experiments import EXPERIMENTS, Result, median, quantile, run_experiment
from sup_core.simulator_lab import Lab

PLOTS = Path(__file__).with_name("results")
PEER = PLOTS / "memberlist-simulated.json"
KEPT = PLOTS / "targets.json"
PEER_RUNS = (
    *("crash", "mass-crash", "stalls", "pauses", "flip-flop", "egress-loss", "rack-loss"),
    *("join", "steady", "churn", "mass-restart"),
)
"""Experiments that the simulated memberlist can take part in."""

NOT_OF_PEER = (
    "cpu_ms_s",
    "cpu_s",
    "bytes_s",
    "suspicions_hour",
    "member_hours",
    "stalls",
    "pauses",
)
"""Figures that its plain Python and its nominal packet sizes say nothing about, that it does not
count, or that are the same for both."""

PEER_SEEDS = 1
PACKETS = 20_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Figures = dict[str, list[float]]


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit status."""
    options = parse(arguments)
    console = Console(stderr=True)
    if options.experiment:
        return one(options)
    targets = [t for t in TARGETS if (t.quick or options.full) and wanted(t.key, options.only)]
    if options.only:
        targets = [t for t in TARGETS if wanted(t.key, options.only)]
    if options.peer:
        targets = [t for t in targets if t.job.experiment in PEER_RUNS and t.job.members <= 300]
    if not targets:
        console.print(f"no target is called {', '.join(options.only)}; there are:", highlight=False)
        console.print(" ".join(sorted({t.key for t in TARGETS} | set(GROUPS))), highlight=False)
        return 2
    started = time.perf_counter()
    figures, results = measure(targets, options, console)
    if options.peer:
        keep_peer(targets, figures)
    lines = judge(targets, figures)
    output = {
        "machine": report.machine(),
        "real_s": round(time.perf_counter() - started, 1),
        "targets": lines,
    }
    if options.json:
        text = json.dumps(finite(output), indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text)
    show(Console(stderr=options.json == "-"), lines)
    if options.write:
        kept = keep(lines, [] if options.only else plots(results))
        report.write_section("bench/targets.py", markdown(kept["lines"], kept["images"]))
    return 1 if any(line["holds"] is False for line in lines) else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="all sizes and seeds: about an hour")
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY", help="these targets only")
    parser.add_argument("--seeds", type=int, help="how many seeds for each, instead of its own")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", metavar="FILE", help="write the table; - is standard output")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument(
        "--peer", action="store_true", help="run memberlist's rules instead, and keep its figures"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--experiment", choices=list(EXPERIMENTS), help="one run, all its figures")
    parser.add_argument("--members", type=int, default=100, help="with --experiment")
    parser.add_argument("--seed", type=int, default=1, help="with --experiment")
    parser.add_argument(
        "--option", nargs="+", default=[], metavar="NAME=VALUE", help="with --experiment"
    )
    return parser.parse_args(arguments)


def wanted(key: str, only: Sequence[str]) -> bool:
    """Whether a key, the family before its dash, or a group that it is in was asked for."""
    words = [each for word in only for each in GROUPS.get(word, (word,))]
    return not only or any(key == word or key.startswith(f"{word}-") for word in words)


def one(options: argparse.Namespace) -> int:
    """Run one experiment and print its figures as JSON."""
    extra = {}
    for pair in options.option:
        name, _, value = pair.partition("=")
        extra[name] = json.loads(value)
    result = run_experiment(
        options.experiment,
        seed=options.seed,
        members=options.members,
        clock=time.process_time,
        **extra,
    )
    figures = {
        "measures": dict(result.measures),
        "samples": {name: list(values) for name, values in result.samples.items()},
        "trace": f"{result.trace:016x}",
        "events": result.events,
        "virtual_s": result.virtual_s,
    }
    sys.stdout.write(json.dumps(finite(figures), indent=1) + "\n")
    return 0


# measuring


def measure(
    targets: Iterable[Target], options: argparse.Namespace, console: Console
) -> tuple[dict[Job, Figures], dict[Job, Result]]:
    """Run each job once per seed, in processes; return all figures, and one result per job."""
    seeds: dict[Job, int] = {}
    for target in targets:
        count = (
            options.seeds
            or (PEER_SEEDS if options.peer else 0)
            or (target.full_seeds if options.full else None)
            or target.seeds
        )
        jobs = [target.job] + ([target.over[0]] if target.over else [])
        for item in jobs:
            seeds[item] = max(seeds.get(item, 0), count)
    first = options.first
    work = [(item, seed) for item, count in seeds.items() for seed in range(first, first + count)]
    work.sort(key=lambda pair: -pair[0].members)  # the longest first, so that none is last
    figures: dict[Job, Figures] = {item: {} for item in seeds}
    results: dict[Job, Result] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    spawn = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, TimeElapsedColumn(), console=console, disable=options.quiet) as progress,
        ProcessPoolExecutor(options.jobs, spawn) as pool,
    ):
        task = progress.add_task("targets", total=len(work))
        running = {
            pool.submit(run_one, item, seed, peer=options.peer): (item, seed) for item, seed in work
        }
        for future in as_completed(running):
            item, seed = running[future]
            progress.update(task, advance=1, description=f"{str(item)[:40]:40}")
            result, values = future.result()
            if result is not None and (item not in results or seed == first):
                results[item] = result
            for name, found in values.items():
                figures[item].setdefault(name, []).extend(found)
    return figures, results


def run_one(item: Job, seed: int, *, peer: bool = False) -> tuple[Result | None, Figures]:
    """Measure one job with one seed, in a worker."""
    if item.experiment == "memory":
        return None, memory(item.members, seed)
    if item.experiment == "packet":
        return None, packet(item.members, seed, **dict(item.options))
    if item.experiment == "speed":
        return None, alone(speed, item.members, seed)
    extra = dict(item.options)
    if peer:
        extra["node_type"] = partial(MemberlistNode, settings=Settings(), directory=Directory())
    result = run_experiment(
        item.experiment, seed=seed, members=item.members, clock=time.process_time, **extra
    )
    figures = {name: [value] for name, value in result.measures.items()}
    figures |= {name: list(values) for name, values in result.samples.items()}
    return result, figures


def memory(members: int, seed: int) -> Figures:
    """What a ring of that size adds to a process per member, and a pair from 100 members on."""
    small = alone(weigh.measure, 100, 10.0, seed)
    large = alone(weigh.measure, members, 10.0, seed)
    figures = {"kb_member": [small["rss"] / 1e3], "kb_own": [small["own"] / 1e3]}
    if members > 100:
        slope = weigh.slope(small, large)
        figures |= {"bytes_pair": [slope["rss"]], "bytes_pair_own": [slope["own"]]}
    return figures


def alone(measure: Callable[..., Any], *arguments: object) -> Any:
    """Call it in a process where nothing was allocated before: of memory, others' would count."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def packet(members: int, seed: int, *, case: str) -> Figures:
    """What one packet costs in the core, measured in C around each one, in µs."""
    node = Node(
        Config(),
        member_id=bytes(16),
        name="bench",
        ring="bench",
        address=bytes(10) + b"\xff\xff\x0a\xff\x00\x01\x25\xa6",
        epoch=1,
        seed=seed,
        now=0,
    )
    bench = PacketBench(node, members, seed=seed)
    bench.measure(case, 1000)
    nanoseconds = bench.measure(case, PACKETS)
    return {"median_us": [median(nanoseconds) / 1e3], "p99_us": [quantile(nanoseconds, 0.99) / 1e3]}


def speed(members: int, seed: int) -> Figures:
    """How many virtual seconds pass per second of CPU, and what is resident then.

    ``start`` is about the first ten seconds, in which memory is touched for the first time and the
    rounds are shuffled; ``speed`` about the minute after them, in which every member sweeps once.
    """
    sim = Simulator(seed=seed, light=True)
    started = time.process_time()
    Lab(sim).form(members, settled=0.0, limit=600.0)
    figures = {"form_s": [time.process_time() - started]}
    figures["start"] = [_speed(sim, 10.0)]
    figures["speed"] = [_speed(sim, 5.0) for _ in range(12)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return figures | {"gib": [resident() / 2**30], "gib_peak": [peak]}


def _speed(sim: Simulator, seconds: float) -> float:
    """Virtual seconds per second of CPU."""
    started = time.process_time()
    sim.run(seconds)
    return seconds / (time.process_time() - started)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


# judging and showing


def judge(targets: Iterable[Target], figures: dict[Job, Figures]) -> list[dict[str, Any]]:
    """Sum up each target's figure and hold it against its bound."""
    lines = []
    for target in targets:
        values = [v for v in figures[target.job].get(target.figure, []) if not math.isnan(v)]
        if target.over is not None:
            base = median(figures[target.over[0]].get(target.over[1], []))
            values = [value / base for value in values]
        value = target.sum_up(values) if values else math.nan
        lines.append(
            {
                "key": target.key,
                "figure": target.figure,
                "measure": target.measure,
                "peer": target.peer,
                "simulated_peer": peer_words(target),
                "target": bound_words(target),
                "value": value,
                "unit": target.unit,
                "spread": spread_words(values, target.unit),
                "samples": len(values),
                "holds": target.holds(value),
                "run": str(target.job),
            }
        )
    return lines


def keep_peer(targets: Iterable[Target], figures: dict[Job, Figures]) -> None:
    """Keep what memberlist's rules came to, for the tables of later runs."""
    kept = json.loads(PEER.read_text()) if PEER.exists() else {}
    for target in targets:
        values = [v for v in figures[target.job].get(target.figure, []) if not math.isnan(v)]
        if values and target.figure not in NOT_OF_PEER:
            value = target.sum_up(values)
            words = f"{number(value)} {target.unit}".strip() if math.isfinite(value) else "never"
            kept[f"{target.job} {target.figure} {target.sum_up.__name__}"] = words
    PEER.parent.mkdir(exist_ok=True)
    PEER.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def peer_words(target: Target) -> str:
    """What memberlist's rules came to in the simulator when that was run last."""
    kept = json.loads(PEER.read_text()) if PEER.exists() else {}
    words: str = kept.get(f"{target.job} {target.figure} {target.sum_up.__name__}", "")
    return words


def bound_words(target: Target) -> str:
    """The bound as words; nothing for a figure that is only told."""
    if target.bound is None:
        return ""
    if target.bound == 0:
        return "none"
    return f"{'≥' if target.at_least else '≤'} {target.bound:g} {target.unit}".strip()


def spread_words(values: Sequence[float], unit: str) -> str:
    """Quartiles of several values, the range of few."""
    if len(values) < 2 or all(value == values[0] for value in values):
        return ""
    if len(values) < 5:
        low, high = min(values), max(values)
    else:
        low, high = quantile(values, 0.25), quantile(values, 0.75)
    return f"{number(low)}–{number(high)}"


def number(value: float) -> str:
    """Three significant digits, or what is not a number as a word."""
    if math.isinf(value):
        return "never"
    if math.isnan(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value)}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def value_words(line: dict[str, Any]) -> str:
    """The value with its unit."""
    words = number(line["value"])
    return f"{words} {line['unit']}".strip() if words not in ("never", "–") else words


def show(console: Console, lines: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    for name in ("measure", "memberlist", "simulated", "target", "ours", "spread", "n", "holds"):
        table.add_column(name, justify="left" if name in ("measure", "memberlist") else "right")
    for line in lines:
        holds = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[line["holds"]]
        table.add_row(
            line["measure"],
            line["peer"],
            line["simulated_peer"],
            line["target"],
            value_words(line),
            line["spread"],
            str(line["samples"]),
            holds,
        )
    console.print(table)
    judged = [line for line in lines if line["holds"] is not None]
    held = sum(1 for line in judged if line["holds"])
    console.print(f"{held} of {len(judged)} bounds hold", highlight=False)


def keep(
    lines: Sequence[dict[str, Any]], images: Sequence[tuple[str, str]]
) -> dict[str, list[Any]]:
    """Enter the lines among those of earlier runs, in the order of the targets; return all.

    Without images those of before stay. A line whose target is no more goes.
    """
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"lines": [], "images": []}
    machine = report.machine()
    rows = {_identity(line): line for line in kept["lines"]}
    for line in lines:
        text = {name: value for name, value in line.items() if name not in ("value", "samples")}
        rows[_identity(line)] = text | {
            "words": value_words(line),
            "n": line["samples"],
            "machine": machine,
        }
    order = [(target.key, target.measure, str(target.job), target.figure) for target in TARGETS]
    kept = {
        "lines": [rows[name] for name in order if name in rows],
        "images": [list(image) for image in images] or kept["images"],
    }
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def _identity(line: dict[str, Any]) -> tuple[str, ...]:
    """What a line is about, whenever it was measured."""
    return tuple(line[name] for name in ("key", "measure", "run", "figure"))


def markdown(lines: Sequence[dict[str, Any]], images: Sequence[Sequence[str]]) -> str:
    """The section of RESULTS.md, of lines that were kept."""
    runs = list(dict.fromkeys(line["machine"] for line in lines))
    rows = [
        *(f"{number}. {machine}" for number, machine in enumerate(runs, 1)),
        "",
        "The last column says which of these runs a line is of. The peer is hashicorp/memberlist",
        "with LAN defaults. *n* counts samples: repetitions in all seeds. The spread is the",
        "quartiles, of fewer than five samples the range.",
        "*Simulated* are memberlist's rules (`bench/peers`) in the same network, with one seed.",
        "",
        "| measure | memberlist | simulated | target | ours | spread | n | holds | run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        holds = {True: "yes", False: "**no**", None: ""}[line["holds"]]
        cells = [line[name] for name in ("measure", "peer", "simulated_peer", "target")]
        cells += [line["words"], line["spread"], str(line["n"]), holds]
        cells.append(str(runs.index(line["machine"]) + 1))
        rows.append(f"| {' | '.join(cells)} |")
    for title, name in images:
        rows += ["", f"![{title}](results/{name})"]
    return "\n".join(rows)


def plots(results: dict[Job, Result]) -> list[tuple[str, str]]:
    """Draw what the runs kept as curves; return titles and files."""
    made = []
    detection = [
        charts.Line(f"N = {item.members:,}", result.series["knows"], stepped=True)
        for item, result in sorted(results.items(), key=lambda pair: pair[0].members)
        if item.experiment == "crash" and "knows" in result.series
    ]
    made += _plot("crash", "Who knows of one crash", "s after it", "share", detection)
    mass = [
        charts.Line(
            f"{dict(item.options)['percent']} % of {item.members:,}", result.series["knows"], True
        )
        for item, result in sorted(results.items(), key=lambda pair: str(pair[0]))
        if item.experiment == "mass-crash" and "knows" in result.series
    ]
    made += _plot("mass-crash", "Who knows of all that crashed", "s after it", "share", mass)
    heard = [
        charts.Line(f"N = {item.members:,}", result.series["heard"], stepped=True)
        for item, result in sorted(results.items(), key=lambda pair: pair[0].members)
        if item.experiment == "rumor" and "heard" in result.series
    ]
    made += _plot("rumor", "Who has heard a rumor of 256 bytes", "s", "share", heard)
    for item, result in results.items():
        if item.experiment in ("flip-flop", "egress-loss"):
            name = {"flip-flop": "One-way, 20 s on and off", "egress-loss": "80 % egress loss"}
            line = charts.Line("the faulty", result.series["held_alive"])
            title = f"{name[item.experiment]}: held alive by the healthy"
            made += _plot(item.experiment, title, "s", "share of pairs", [line])
        if item.experiment == "bootstrap":
            lines = [charts.Line(k, v, stepped=True) for k, v in result.series.items()]
            made += _plot("bootstrap", "Members seen while 2,000 start", "s", "members", lines)
    return made


def share_words(item: Job) -> str:
    """What share of how many crashes in this job."""
    return f"{dict(item.options)['percent']} % of {item.members:,}"


def _plot(
    name: str, title: str, x: str, y: str, lines: Sequence[charts.Line]
) -> list[tuple[str, str]]:
    if not lines:
        return []
    path = PLOTS / f"{name}.svg"
    drawn = charts.save(path, title, charts.Axis(x, low=0.0), charts.Axis(y, low=0.0), lines)
    return [(title, path.name)] if drawn else []


def finite(value: Any) -> Any:
    """The value with null for what JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value


if __name__ == "__main__":
    sys.exit(main())
