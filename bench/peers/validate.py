"""Question: do memberlist's rules in our simulator behave as the real memberlist does?

Runs the real one on loopback (see `programs`) and the simulated one, the same ring and the same
events, and prints both with the ratio of the medians. The curve of `bench/curve.py` is worth what
this says.

    python bench/peers/validate.py --members 100 --runs 3
    python bench/peers/validate.py --from peers.json      # what bench/peers/run.py --json wrote
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench import report
from bench.peers import programs
from bench.peers.memberlist_node import Directory, MemberlistNode
from bench.peers.memberlist_rules import Settings
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sup_core.simulator import Simulator
from sup_core.simulator_experiments import run_experiment
from sup_core.simulator_lab import Lab
from sup_core.simulator_network import Network

SECTION = "bench/peers/validate.py"
MEASURES = {
    "steady_packets_per_member_s": "steady packets per member and second",
    "crash_first_knows_s": "one crash until the first knows, s",
    "crash_all_know_s": "one crash until the last knows, s",
    "crash10_all_know_s": "10 % crash until the last knows all, s",
    "rumor_median_s": "256-byte rumor, median member, s",
    "rumor_last_s": "256-byte rumor, last member, s",
    "rumor_copies": "copies of it per member",
}
LATENCY_US = 100
"""Loopback's, with the time a goroutine takes to get its turn."""

CRASHES = 40
MASS_CRASHES = 10
RUMORS = 30

Samples = dict[str, list[float]]


def node_type(settings: Settings) -> partial[MemberlistNode]:
    """Return what the simulator calls to make a member."""
    return partial(MemberlistNode, settings=settings, directory=Directory())


def network() -> Network:
    """Return a network like loopback."""
    return Network(latency_us=LATENCY_US, tail=0.01, tail_us=5_000)


def simulate(settings: Settings, members: int, seed: int) -> Samples:
    """Measure the simulated one."""
    out: Samples = {}

    def experiment(name: str, **options: object) -> tuple[dict[str, float], Samples]:
        result = run_experiment(
            name,
            seed=seed,
            members=members,
            network=network(),
            node_type=node_type(settings),
            **options,
        )
        return dict(result.measures), {key: list(values) for key, values in result.samples.items()}

    steady, _ = experiment("steady")
    out["steady_packets_per_member_s"] = [steady["packets_s"]]
    _, crash = experiment("crash", rounds=CRASHES)
    out["crash_first_knows_s"], out["crash_all_know_s"] = crash["first_s"], crash["last_s"]
    # A fresh ring each time: the dead stay in the list for a while and lengthen the waits.
    out["crash10_all_know_s"] = []
    for number in range(MASS_CRASHES):
        result = run_experiment(
            "mass-crash",
            seed=seed + number,
            members=members,
            network=network(),
            node_type=node_type(settings),
        )
        out["crash10_all_know_s"] += result.samples["last_s"]
    out |= rumors(settings, members, seed)
    return out


def rumors(settings: Settings, members: int, seed: int) -> Samples:
    """Spread rumors of 256 bytes, one after the other."""
    sim = Simulator(seed=seed, network=network(), checks=[], node_type=node_type(settings))
    lab = Lab(sim)
    lab.form(members, settled=10.0)
    out: Samples = {"rumor_median_s": [], "rumor_last_s": [], "rumor_copies": []}
    for number in range(1, RUMORS + 1):
        lab.wait(0.0, 1.0)
        start = sim.now_us
        nodes = [sim.node(index) for index in range(members)]
        source = lab.victims(1)[0]
        before = sum(node.rumor_copies for node in nodes)
        nodes[source].publish_rumor(number, sim.clock(source))
        sim.touch(source)
        lab.run(5.0)
        times = []
        for index, node in enumerate(nodes):
            if number in node.rumors_seen:
                # Its clock has an offset and a drift; ours has not.
                behind = sim.clock(index) - node.rumors_seen[number]
                times.append((sim.now_us - behind - start) / 1e6)
        times.sort()
        copies = sum(node.rumor_copies for node in nodes) - before
        out["rumor_median_s"].append(max(0.0, times[len(times) // 2]))
        out["rumor_last_s"].append(times[-1] if len(times) == members else 5.0)
        out["rumor_copies"].append(copies / members)
    return out


def real(profile: str, members: int, runs: int, lock: Path | None) -> Samples:
    """Measure the real one."""
    program = programs.memberlist()
    out: Samples = {}
    for _ in range(runs):
        output = program.run(
            "-members", str(members), "-profile", profile, "-scale", str(programs.TUNED_SCALE),
            "-rumors", "3", "-crashes", "3", "-steady", "8s", lock=lock,
        )  # fmt: skip
        for name, values in output["measures"].items():
            out.setdefault(name, []).extend(values)
    return out


def spread(values: Sequence[float]) -> str:
    """Return a median and the least and the most."""
    if not values:
        return "–"
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g}) of {len(values)}"


def rows(pairs: dict[str, tuple[Samples, Samples]]) -> list[list[str]]:
    """Return the lines: profile, measure, real, simulated, ratio."""
    out = []
    for profile, (measured, simulated) in pairs.items():
        for name, text in MEASURES.items():
            one, other = measured.get(name, []), simulated.get(name, [])
            both = one and other and statistics.median(one)
            ratio = f"{statistics.median(other) / statistics.median(one):.2f}" if both else "–"
            out.append([profile, text, spread(one), spread(other), ratio])
    return out


HEADS = ("profile", "measure", "real", "simulated", "simulated : real")


def main(arguments: list[str] | None = None) -> int:
    """Print both; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=100, help="members of the ring (100)")
    parser.add_argument("--runs", type=int, default=2, help="runs of the real one (2)")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated one (1)")
    parser.add_argument("--from", dest="file", type=Path, help="take the real one's from this file")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold this lock around programs")
    parser.add_argument("--results", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    profiles = {"lan": Settings(), "tuned": Settings().scaled(programs.TUNED_SCALE)}
    pairs: dict[str, tuple[Samples, Samples]] = {}
    held = json.loads(options.file.read_text()) if options.file else None
    members = held["members"] if held else options.members
    with Progress(console=console) as progress:
        bar = progress.add_task("", total=2 * len(profiles))
        for profile, settings in profiles.items():
            progress.update(bar, description=f"{profile}, real")
            try:
                if held:
                    column = "memberlist LAN" if profile == "lan" else "memberlist tuned"
                    measured = held["samples"][column]
                else:
                    measured = real(profile, members, options.runs, options.lock)
            except programs.Unavailable as error:
                console.print(str(error))
                return 0
            progress.advance(bar)
            progress.update(bar, description=f"{profile}, simulated")
            pairs[profile] = measured, simulate(settings, members, options.seed)
            progress.advance(bar)
    table = Table(title=f"memberlist, {members} members: median (least–most)")
    for head in HEADS:
        table.add_column(head)
    for row in rows(pairs):
        table.add_row(*row)
    console.print(table)
    if options.results:
        lines = [
            report.machine(),
            "",
            f"memberlist's rules in our simulator against the real one, {members} members: "
            "median (least–most) of so many.",
            "",
            "| " + " | ".join(HEADS) + " |",
            "|---" * len(HEADS) + "|",
            *("| " + " | ".join(row) + " |" for row in rows(pairs)),
        ]
        report.write_section(SECTION, "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
