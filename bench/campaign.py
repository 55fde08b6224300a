"""Run simulated scenarios over many seeds; print every broken invariant with its replay line.

Question: does any seed break an invariant, and does each replay byte for byte? A campaign is the
product of scenarios and seeds; ``--small`` draws a ring of 3 to 16 members per seed instead of
``--members``. With ``--replay-check`` every seed runs twice and the trace hashes must be equal.

With ``--member-hours`` the question is another: is any healthy member declared dead, in that many
hours of members, while others stall or all pause? Those runs are experiments without checks, and a
run in which no fault was injected fails, for it says nothing.

    python bench/campaign.py --seeds 500 --members 100 --replay-check
    python bench/campaign.py --small --seeds 2000
    python bench/campaign.py --scenario chaos --members 100 --seed 17
    python bench/campaign.py --scenario stalls --member-hours 10000 --write
    python bench/campaign.py --scenario pauses --member-hours 100000 --write

A run of chaos also counts what was done to its ring and what came of it. A campaign of VACUOUS_RUNS
or more in which any of that never happened fails: it would have shown nothing about it.

``--write`` keeps the counts in ``bench/results`` and in ``bench/RESULTS.md``. Exit status 1 if
anything failed.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).resolve().parent))

import report

from sup_core.simulator_chaos import COUNT
from sup_core.simulator_checks import Violation
from sup_core.simulator_experiments import run_experiment
from sup_core.simulator_network import Dice
from sup_core.simulator_scenarios import SCENARIOS, Outcome, run_scenario

SMALL_MIN, SMALL_MAX = 3, 16
HOURS = {"stalls": "stalls", "pauses": "pauses"}
"""Experiments that are counted in member-hours, and the measure that says they were not vacuous."""

RUN_MINUTES = 30.0
"""Virtual time of one run of those: long beside the 32 s until counting starts."""

VACUOUS_RUNS = 200
"""Runs from which on everything on the menu must have happened; the rarest does in one of four."""

RESULTS = Path(__file__).with_name("results")
QUEUED = 4  # runs handed out per process


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign that the arguments describe; return the exit status."""
    options = parse(arguments)
    console = Console(stderr=True)
    if options.member_hours:
        summary = member_hours(options, console)
    else:
        summary = invariants(options, console)
    if options.json:
        text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text)
    if options.write:
        write(summary, options)
    return 1 if summary["failures"] else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenario", nargs="+", default=["chaos"], choices=[*SCENARIOS, "all"])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one seed only")
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--small", action="store_true", help="3 to 16 members, drawn from the seed")
    parser.add_argument("--member-hours", type=float, help="stalls or pauses: run this long")
    parser.add_argument("--slow", type=int, default=4, help="stalled members, with stalls")
    parser.add_argument("--replay-check", action="store_true", help="run each seed twice")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", metavar="FILE", help="write a summary; - is standard output")
    parser.add_argument("--write", action="store_true", help="keep the counts in bench/results")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    if options.member_hours and (len(options.scenario) != 1 or options.scenario[0] not in HOURS):
        parser.error(f"--member-hours needs --scenario {' or '.join(HOURS)}")
    return options


def each(
    tasks: list[Callable[[], Any]], options: argparse.Namespace, console: Console, name: str
) -> Iterator[Any]:
    """Run the tasks in processes and give their results as they come; with one job, right here."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=options.quiet) as progress:
        bar = progress.add_task(name, total=len(tasks))
        if options.jobs == 1 or len(tasks) == 1:
            for task in tasks:
                yield task()
                progress.advance(bar)
            return
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, spawn) as pool:
            left = iter(tasks)
            running: set[Future[Any]] = set()
            try:
                while True:
                    while len(running) < QUEUED * options.jobs:
                        task = next(left, None)
                        if task is None:
                            break
                        running.add(pool.submit(task))
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        progress.advance(bar)
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()


# invariants


def invariants(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run scenarios with all their checks; return the summary."""
    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    names = sorted(SCENARIOS) if options.scenario == ["all"] else options.scenario
    work = [
        partial(
            one,
            name,
            seed,
            size_of(seed) if options.small else options.members,
            replay_check=options.replay_check,
        )
        for seed in seeds
        for name in names
    ]
    outcomes: list[Outcome] = []
    failures: list[dict[str, object]] = []
    started = time.perf_counter()
    for outcome, failure in each(work, options, console, "campaign"):
        if outcome is not None:
            outcomes.append(outcome)
        if failure:
            failures.append(failure)
            text = f"[red]FAILED[/red] {failure['text']}"
            console.print(text, soft_wrap=True, highlight=False)
            if options.fail_fast:
                break
    # Runs end in any order; the summary is the same whatever it was.
    outcomes.sort(key=lambda outcome: (outcome.scenario, outcome.seed))
    summary = summarise(outcomes, failures, time.perf_counter() - started, options)
    show(console, summary)
    return summary


def size_of(seed: int) -> int:
    """Draw the size of a small ring."""
    return Dice(seed ^ 0x51CE).integer(SMALL_MIN, SMALL_MAX)


def one(
    name: str, seed: int, members: int, *, replay_check: bool
) -> tuple[Outcome | None, dict[str, object] | None]:
    """Run one seed; return its outcome, or how it failed."""
    failure: dict[str, object] = {"scenario": name, "seed": seed, "members": members}
    try:
        outcome = run_scenario(name, seed=seed, members=members)
        if replay_check:
            again = run_scenario(name, seed=seed, members=members)
            if again != outcome:
                traces = f"{outcome.trace:016x}, then {again.trace:016x}"
                text = f"{name} seed {seed} does not replay: {traces}"
                return outcome, failure | {"text": text}
    except Violation as violation:
        return None, failure | {"text": str(violation)}
    return outcome, None


def summarise(
    outcomes: list[Outcome],
    failures: list[dict[str, object]],
    real_s: float,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Put the figures together: per scenario and measure the median, p99 and maximum."""
    scenarios: dict[str, dict[str, object]] = {}
    for name in sorted({o.scenario for o in outcomes}):
        mine = [o for o in outcomes if o.scenario == name]
        measures: dict[str, dict[str, float]] = {}
        counts: dict[str, int] = {}
        for key in sorted({k for o in mine for k in o.measures}):
            if key.startswith(COUNT):
                counts[key.removeprefix(COUNT)] = round(sum(o.measures[key] for o in mine))
                continue
            values = sorted(o.measures[key] for o in mine if key in o.measures)
            measures[key] = {
                "median": statistics.median(values),
                "p99": values[min(len(values) - 1, len(values) * 99 // 100)],
                "max": values[-1],
            }
        scenarios[name] = {"runs": len(mine), "measures": measures, "counts": counts}
        never = [key for key, count in counts.items() if not count]
        if never and name == "chaos" and len(mine) >= VACUOUS_RUNS:
            text = f"{name}: in {len(mine)} runs there was no {', no '.join(never)}"
            failures.append({"scenario": name, "text": text})
    runs = len(outcomes) * (2 if options.replay_check else 1)
    return {
        "machine": report.machine(),
        "members": "3 to 16" if options.small else options.members,
        "runs": runs,
        "failures": failures,
        "replay_check": options.replay_check,
        "real_s": round(real_s, 3),
        "virtual_s": round(sum(o.virtual_s for o in outcomes) * runs / max(1, len(outcomes)), 3),
        "events": sum(o.events for o in outcomes) * runs // max(1, len(outcomes)),
        "scenarios": scenarios,
    }


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print the summary for a reader."""
    for name, entry in summary["scenarios"].items():
        for key, value in entry["measures"].items():
            console.print(
                f"{name:12} {key:24} median {value['median']:9.3f}  p99 {value['p99']:9.3f}"
                f"  max {value['max']:9.3f}",
                highlight=False,
            )
        if entry["counts"]:
            words = ", ".join(f"{key} {count:,}" for key, count in entry["counts"].items())
            console.print(f"{name}: {words}", highlight=False, soft_wrap=True)
    for failure in summary["failures"]:
        if "seed" not in failure:
            console.print(f"[red]FAILED[/red] {failure['text']}", highlight=False, soft_wrap=True)
    console.print(
        f"{summary['runs']} runs, {len(summary['failures'])} failures, "
        f"{summary['virtual_s']} virtual s and {summary['events']} events in {summary['real_s']} s",
        highlight=False,
    )


# member-hours


def member_hours(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run an experiment until its members have lived long enough; return the counts."""
    name = options.scenario[0]
    hours = options.members * RUN_MINUTES / 60.0
    runs = math.ceil(options.member_hours / hours)
    extra = {"slow": options.slow} if name == "stalls" else {}
    seeds = range(options.first, options.first + runs)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    work = [partial(lived, name, seed, options.members, extra) for seed in seeds]
    sums: dict[str, float] = {}
    failures: list[dict[str, object]] = []
    rates: list[float] = []
    started = time.perf_counter()
    for seed, measures in each(work, options, console, name):
        for key, value in measures.items():
            sums[key] = sums.get(key, 0.0) + value
        rates.append(measures["suspicions_hour"])
        why = ""
        if measures["false_deaths"]:
            why = (
                f"{measures['false_deaths']:.0f} healthy members declared dead "
                f"by {measures['false_declarations']:.0f} viewers"
            )
        elif not measures[HOURS[name]]:
            why = f"no {HOURS[name]} were injected"
        if why:
            replay = f"--scenario {name} --member-hours {hours:g} --members {options.members}"
            if name == "stalls":
                replay += f" --slow {options.slow}"
            replay = f"python bench/campaign.py {replay} --seed {seed}"
            text = f"{name} seed {seed}: {why}; replay: {replay}"
            failures.append({"scenario": name, "seed": seed, "text": text})
            console.print(f"[red]FAILED[/red] {text}", soft_wrap=True, highlight=False)
            if options.fail_fast:
                break
    rates.sort()
    summary = {
        "machine": report.machine(),
        "scenario": name,
        "members": options.members,
        "options": extra,
        "runs": len(rates),
        "seeds": f"{seeds[0]}..{seeds[-1]}",
        "member_hours": sums["member_hours"],
        "injected": round(sums[HOURS[name]]),
        "false_deaths": round(sums["false_deaths"]),
        "false_declarations": round(sums["false_declarations"]),
        "faulty_declarations": round(sums["faulty_declarations"]),
        "suspicions_per_member_hour": round(sums["suspicions"] / sums["member_hours"], 3),
        "suspicions_per_member_hour_spread": [
            round(rates[len(rates) // 4], 3),
            round(rates[len(rates) * 3 // 4], 3),
        ],
        "bytes_per_member_second": round(sums["bytes_s"] / len(rates), 1),
        "failures": failures,
        "real_s": round(time.perf_counter() - started, 1),
    }
    console.print(hours_words(summary), highlight=False, soft_wrap=True)
    return summary


def lived(
    name: str, seed: int, members: int, extra: dict[str, Any]
) -> tuple[int, dict[str, float]]:
    """Run one seed; return it with its measures."""
    result = run_experiment(name, seed=seed, members=members, minutes=RUN_MINUTES, **extra)
    return seed, {k: v for k, v in result.measures.items() if not math.isnan(v)}


def hours_words(summary: dict[str, Any]) -> str:
    """The counts in one line."""
    what = summary["scenario"]
    if summary["options"]:
        what = f"{summary['options']['slow']} of {summary['members']} stalled"
    low, high = summary["suspicions_per_member_hour_spread"]
    return (
        f"{what}: {summary['member_hours']:,.0f} member-hours in {summary['runs']} rings of "
        f"{summary['members']} (seeds {summary['seeds']}), {summary['injected']:,} "
        f"{HOURS[summary['scenario']]} injected, **{summary['false_deaths']}** healthy members "
        f"declared dead, {summary['suspicions_per_member_hour']:.2f} suspicions per member-hour "
        f"(quartiles {low:.2f}–{high:.2f}); {summary['real_s']:,.0f} s"
    )


# results


def write(summary: dict[str, Any], options: argparse.Namespace) -> None:
    """Keep the summary as JSON, and write the section that shows all that were kept."""
    name = "-".join(options.scenario)
    if options.member_hours:
        name += f"-{options.slow}" if options.scenario == ["stalls"] else ""
    else:
        name += "-small" if options.small else f"-{options.members}"
    RESULTS.mkdir(exist_ok=True)
    kept = json.dumps(summary, indent=1, sort_keys=True) + "\n"
    (RESULTS / f"campaign-{name}.json").write_text(kept)
    lines = ["Counts of the campaigns that were kept, each with the machine that ran it."]
    for file in sorted(RESULTS.glob("campaign-*.json")):
        entry = json.loads(file.read_text())
        lines += ["", f"### {file.stem.removeprefix('campaign-')}", "", entry["machine"], ""]
        if "member_hours" in entry:
            lines.append(hours_words(entry))
        else:
            lines.append(
                f"{entry['runs']:,} runs of rings of {entry['members']}"
                f"{', each seed twice' if entry['replay_check'] else ''}: "
                f"**{len(entry['failures'])}** failures; {entry['virtual_s']:,.0f} virtual s, "
                f"{entry['events']:,} events in {entry['real_s']:,.0f} s"
            )
        lines += [f"- {failure['text']}" for failure in entry["failures"][:20]]
    report.write_section("bench/campaign.py", "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
