"""Run simulated scenarios over many seeds; print every broken invariant with its replay line.

Question: does any seed break an invariant, and does each replay byte for byte? A campaign is the
product of scenarios and seeds; ``--small`` draws a ring of 3 to 16 members per seed instead of
``--members``. With ``--replay-check`` every seed runs twice and the trace hashes must be equal.
Exit status 1 if anything failed.

    python bench/campaign.py --seeds 500 --members 100 --replay-check
    python bench/campaign.py --small --seeds 2000
    python bench/campaign.py --scenario chaos --members 100 --seed 17
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sup_core.simulator_checks import Violation
from sup_core.simulator_network import Dice
from sup_core.simulator_scenarios import SCENARIOS, Outcome, run_scenario

SMALL_MIN, SMALL_MAX = 3, 16


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign that the arguments describe; return the exit status."""
    options = parse(arguments)
    console = Console(stderr=True)
    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    names = sorted(SCENARIOS) if options.scenario == ["all"] else options.scenario
    work = [(name, seed) for seed in seeds for name in names]
    outcomes: list[Outcome] = []
    failures: list[dict[str, object]] = []
    started = time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=options.quiet) as progress:
        task = progress.add_task("campaign", total=len(work))
        for name, seed in work:
            members = size_of(seed) if options.small else options.members
            progress.update(task, description=f"{name} seed {seed}")
            outcome, failure = one(name, seed, members, replay_check=options.replay_check)
            if outcome is not None:
                outcomes.append(outcome)
            if failure:
                failures.append(
                    {"scenario": name, "seed": seed, "members": members, "text": failure}
                )
                progress.console.print(
                    f"[red]FAILED[/red] {failure}", soft_wrap=True, highlight=False
                )
                if options.fail_fast:
                    break
            progress.advance(task)
    summary = summarise(outcomes, failures, time.perf_counter() - started, options)
    if options.json:
        text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text)
    report(console, summary)
    return 1 if failures else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenario", nargs="+", default=["chaos"], choices=[*SCENARIOS, "all"])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one seed only")
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--small", action="store_true", help="3 to 16 members, drawn from the seed")
    parser.add_argument("--replay-check", action="store_true", help="run each seed twice")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    parser.add_argument("--json", metavar="FILE", help="write a summary; - is standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def size_of(seed: int) -> int:
    """Draw the size of a small ring."""
    return Dice(seed ^ 0x51CE).integer(SMALL_MIN, SMALL_MAX)


def one(name: str, seed: int, members: int, *, replay_check: bool) -> tuple[Outcome | None, str]:
    """Run one seed; return its outcome, or why it failed."""
    try:
        outcome = run_scenario(name, seed=seed, members=members)
        if replay_check:
            again = run_scenario(name, seed=seed, members=members)
            if again != outcome:
                traces = f"{outcome.trace:016x}, then {again.trace:016x}"
                return outcome, f"{name} seed {seed} does not replay: {traces}"
    except Violation as violation:
        return None, str(violation)
    return outcome, ""


def summarise(
    outcomes: list[Outcome],
    failures: list[dict[str, object]],
    real_s: float,
    options: argparse.Namespace,
) -> dict[str, object]:
    """Put the figures together: per scenario and measure the median, p99 and maximum."""
    scenarios: dict[str, dict[str, object]] = {}
    for name in sorted({o.scenario for o in outcomes}):
        mine = [o for o in outcomes if o.scenario == name]
        measures: dict[str, dict[str, float]] = {}
        for key in sorted({k for o in mine for k in o.measures}):
            values = sorted(o.measures[key] for o in mine if key in o.measures)
            measures[key] = {
                "median": statistics.median(values),
                "p99": values[min(len(values) - 1, len(values) * 99 // 100)],
                "max": values[-1],
            }
        scenarios[name] = {"runs": len(mine), "measures": measures}
    runs = len(outcomes) * (2 if options.replay_check else 1)
    return {
        "runs": runs,
        "failures": failures,
        "replay_check": options.replay_check,
        "real_s": round(real_s, 3),
        "virtual_s": round(sum(o.virtual_s for o in outcomes) * runs / max(1, len(outcomes)), 3),
        "events": sum(o.events for o in outcomes) * runs // max(1, len(outcomes)),
        "scenarios": scenarios,
    }


def report(console: Console, summary: dict[str, object]) -> None:
    """Print the summary for a reader."""
    scenarios = summary["scenarios"]
    assert isinstance(scenarios, dict)
    for name, entry in scenarios.items():
        for key, value in entry["measures"].items():
            console.print(
                f"{name:12} {key:24} median {value['median']:9.3f}  p99 {value['p99']:9.3f}"
                f"  max {value['max']:9.3f}",
                highlight=False,
            )
    failures = summary["failures"]
    assert isinstance(failures, list)
    console.print(
        f"{summary['runs']} runs, {len(failures)} failures, {summary['virtual_s']} virtual s and "
        f"{summary['events']} events in {summary['real_s']} s",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
