"""Question: how does the core compare with its peers, side by side on this machine?

Runs the newest hashicorp/memberlist (LAN defaults, and tuned to our detection time), foca and ours
one after the other, the same measure each time, several times over, and prints medians with their
spread and the ratios. A ratio is peer : ours, so above 1 is better here.

    make bench-peers
    python bench/peers/run.py --members 100 --runs 3 --json peers.json
    python bench/peers/run.py --only packets --no-results

All members of a ring live in one process on loopback with real UDP and TCP sockets. CPU is user and
system time of the whole process. Bytes are sent datagrams with 28 bytes of headers, memberlist's
with its streams' payload too. foca has no sockets of its own: its ring talks in virtual time, so
only packets, detection and memory (heap) stand beside ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench import report
from bench.peers import programs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sup_core.bench_hooks import PacketBench
from sup_core.config import Config
from sup_core.node import Node

LAN, TUNED, FOCA, OURS = "memberlist LAN", "memberlist tuned", "foca", "ours"
COLUMNS = (LAN, TUNED, FOCA, OURS)
SECTION = "bench/peers/run.py"
PACKETS = 20_000
WIDTH = 170  # of the table where there is no terminal to ask
PARTS = ("packets", "sync", "rings")


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table: its name in each program's output, and how it reads."""

    name: str
    text: str
    unit: str
    foca: str = ""
    digits: int = 3


MEASURES = (
    Measure("handle_packet", "handle a ping with 6 news, ack with 6", "µs", "handle_packet_us"),
    Measure("handle_packet_plain", "… memberlist without compression", "µs"),
    Measure("handle_known", "handle a ping with 6 known updates", "µs", "handle_known_us"),
    Measure("build_packet", "build a ping with 6 updates", "µs", "build_packet_us"),
    Measure("build_packet_plain", "… memberlist without compression", "µs"),
    Measure("packet_bytes", "size of that packet", "B", "packet_bytes"),
    Measure(
        "handle_packet_allocations", "allocations per such packet", "", "handle_packet_allocations"
    ),
    Measure("sync_1000_answer", "full exchange of 1,000 equal members, one side", "µs"),
    Measure("sync_1000_bytes", "… bytes each way", "B"),
    Measure("sync_10000_answer", "full exchange of 10,000 equal members, one side", "µs"),
    Measure("sync_10000_bytes", "… bytes each way", "B"),
    Measure("join_wall_s", "burst join until all see all", "s"),
    Measure("join_cpu_s", "… CPU of the process", "s"),
    Measure("steady_cpu_ms_per_member_s", "steady CPU per member and second", "ms"),
    Measure(
        "steady_packets_per_member_s",
        "steady packets per member and second",
        "",
        "ring_steady_packets_per_member_s",
    ),
    Measure(
        "steady_bytes_per_member_s",
        "steady bytes per member and second, with headers",
        "B",
        "ring_steady_bytes_per_member_s",
    ),
    Measure(
        "rss_kb_per_member", "memory per member (foca: heap)", "KiB", "ring_heap_kb_per_member"
    ),
    Measure("crash_all_know_s", "one crash until the last knows", "s", "ring_crash_all_know_s"),
    Measure("crash10_all_know_s", "10 % crash until the last knows all", "s"),
    Measure("rumor_median_s", "256-byte rumor, median member", "s"),
    Measure("rumor_last_s", "256-byte rumor, last member", "s"),
    Measure("rumor_copies", "… copies per member", ""),
)


@dataclass(slots=True)
class Figures:
    """Samples per column and measure, and what was said on the way."""

    samples: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {column: {} for column in COLUMNS}
    )
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def add(self, column: str, output: Mapping[str, Any], rename: Mapping[str, str]) -> None:
        """Take a peer's JSON."""
        self.versions[column] = f"{output['peer']} {output['version']}"
        for name, values in output["measures"].items():
            self.samples[column].setdefault(rename.get(name, name), []).extend(values)
        self.notes += [f"{column}: {note}" for note in output["notes"]]

    def complete(self, earlier: Mapping[str, Any]) -> None:
        """Take from an earlier run what this one did not measure."""
        kept = set()
        for column, samples in earlier["samples"].items():
            kept |= samples.keys() - self.samples[column].keys()
            self.samples[column] = {**samples, **self.samples[column]}
        if names := [measure.name for measure in MEASURES if measure.name in kept]:
            self.notes.append(f"from an earlier run, {earlier['machine']}: {', '.join(names)}")
        self.versions = {**earlier["versions"], **self.versions}
        self.notes = list(dict.fromkeys([*earlier["notes"], *self.notes]))


def main(arguments: list[str] | None = None) -> int:
    """Measure what there is; return the exit status."""
    options = parse(arguments)
    console = Console(stderr=options.json == "-")
    if not console.is_terminal:
        console = Console(stderr=options.json == "-", width=WIDTH)
    figures = Figures()
    peers = build(console)
    if LAN not in peers:
        return 0
    newest = programs.newest_memberlist()
    steps = plan(options, peers, figures)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task("", total=len(steps))
        for text, step in steps:
            progress.update(bar, description=text)
            try:
                step()
            except Exception as error:  # one program's failure must not cost the others' figures
                figures.notes.append(f"{text}: {error}")
            progress.advance(bar)
    if options.earlier:
        figures.complete(json.loads(options.earlier.read_text()))
    version = figures.versions.get(LAN, "").rpartition(" ")[2]
    if newest and version and newest != version:
        figures.notes.append(f"memberlist {newest} is newer than {version}, which was measured")
    console.print(table(figures, options.members))
    for line in (*join_ratios(figures, options.members), *figures.notes):
        console.print(f"note: {line}")
    output = {
        "members": options.members,
        "runs": options.runs,
        "machine": report.machine(),
        "versions": figures.versions,
        "samples": figures.samples,
        "notes": figures.notes,
    }
    if options.json == "-":
        print(json.dumps(output))
    elif options.json:
        Path(options.json).write_text(json.dumps(output, indent=1) + "\n")
    if options.results:
        report.write_section(SECTION, section(figures, options))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=100, help="members of a ring, 8..300 (100)")
    parser.add_argument("--runs", type=int, default=3, help="runs of everything short, 1..20 (3)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--json", metavar="FILE", help="write the samples there, - is the output")
    parser.add_argument(
        "--no-results", dest="results", action="store_false", help="leave bench/RESULTS.md alone"
    )
    parser.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        metavar="FILE",
        help="take what is not measured now from an earlier run's --json",
    )
    parser.add_argument(
        "--lock", type=Path, metavar="FILE", help="hold this lock around each program"
    )
    options = parser.parse_args(arguments)
    if not 8 <= options.members <= 300:
        parser.error(f"members is {options.members}, bounds are 8..300")
    if not 1 <= options.runs <= 20:
        parser.error(f"runs is {options.runs}, bounds are 1..20")
    return options


def build(console: Console) -> dict[str, programs.Program]:
    """Build what can be built; say in one line what can't."""
    peers: dict[str, programs.Program] = {}
    builders: dict[str, Callable[[], programs.Program]] = {
        LAN: programs.memberlist,
        FOCA: programs.foca,
    }
    for column, builder in builders.items():
        try:
            with console.status(f"building {column.split()[0]}"):
                peers[column] = builder()
        except programs.Unavailable as error:
            console.print(str(error), highlight=False, soft_wrap=True)
            if column == LAN:
                break
    return peers


Step = tuple[str, Callable[[], None]]


def plan(
    options: argparse.Namespace, peers: Mapping[str, programs.Program], figures: Figures
) -> list[Step]:
    """Return what to do, interleaved: the machine's moods meet all alike."""
    members, lock = str(options.members), options.lock
    micro = {f"{measure.name}_us": measure.name for measure in MEASURES}
    foca = {m.foca: m.name for m in MEASURES if m.foca}

    def go(column: str, *arguments: str) -> None:
        figures.add(column, peers[LAN].run(*arguments, lock=lock), micro)

    def rust() -> None:
        figures.add(FOCA, peers[FOCA].run(members, lock=lock), foca)

    def own_packets() -> None:
        with programs.locked(lock):
            for name, value in packets(options.members).items():
                figures.samples[OURS].setdefault(name, []).append(value)

    def own_ring() -> None:
        measures = "join,steady,rumor,crash,crash10"
        arguments = ["--members", members, "--measure", measures, "--repeats", "2"]
        output = programs.rings().run(*arguments, "--steady-s", "8", "--json", "-", lock=lock)
        for name, values in output["samples"].items():
            figures.samples[OURS].setdefault(name, []).extend(values)
        if "error" in output:
            figures.notes.append(f"{OURS}: {output['error']}")

    ring = ["-members", members, "-rumors", "2", "-crashes", "2", "-steady", "8s"]
    ring += ["-deadline", "115s"]
    tuned = ["-profile", "tuned", "-scale", str(programs.TUNED_SCALE)]
    steps: list[Step] = []
    for number in range(1, options.runs + 1):
        run = f"run {number} of {options.runs}"
        if "packets" in options.only:
            steps.append((f"{run}: packets, memberlist", lambda: go(LAN, "-measure", "micro")))
            if FOCA in peers:
                steps.append((f"{run}: packets and ring, foca", rust))
            steps.append((f"{run}: packets, ours", own_packets))
        if "rings" in options.only:
            steps.append((f"{run}: ring, memberlist LAN", lambda: go(LAN, *ring)))
            steps.append((f"{run}: ring, memberlist tuned", lambda: go(TUNED, *ring, *tuned)))
            steps.append((f"{run}: ring, ours", own_ring))
    if "sync" in options.only:
        steps.append(("full exchange, memberlist", lambda: go(LAN, "-measure", "sync")))
    return steps


def packets(members: int) -> dict[str, float]:
    """Measure our packets in the core, in a loop of C: medians in µs."""
    node = Node(
        Config(),
        member_id=bytes(range(16)),
        name="bench",
        ring="bench",
        address=bytes(10) + b"\xff\xff\x7f\0\0\1\x25\xa6",
        epoch=1,
        seed=1,
        now=1_000_000,
    )
    bench = PacketBench(node, max(members, 12))
    for case in ("raised", "known", "build"):
        bench.measure(case, PACKETS // 10)  # warm
    clock = statistics.median(bench.measure("clock", PACKETS))
    out = {}
    for name, case in (("handle_packet", "raised"), ("handle_known", "known")):
        out[name] = (statistics.median(bench.measure(case, PACKETS)) - clock) / 1000
        if case == "raised":
            out["packet_bytes"] = float(bench.bytes_in)
    out["build_packet"] = (statistics.median(bench.measure("build", PACKETS)) - clock) / 1000
    before = sys.getallocatedblocks()
    bench.replay("raised", PACKETS)
    # A few blocks are the two readings' own; a node that allocates per packet has thousands.
    blocks = max(0, sys.getallocatedblocks() - before)
    out["handle_packet_allocations"] = float(round(blocks / PACKETS, 2))
    return out


def cell(values: Sequence[float] | None, digits: int = 3) -> str:
    """Return a median with its spread."""
    if not values:
        return "–"
    middle = statistics.median(values)
    if len(values) == 1 or min(values) == max(values):
        return number(middle, digits)
    return f"{number(middle, digits)} ({number(min(values), digits)}–{number(max(values), digits)})"


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without an exponent."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if "e" in text or abs(value) >= 1000 else text


def ratio(peer: Sequence[float] | None, ours: Sequence[float] | None) -> str:
    """Return peer : ours of the medians."""
    if not peer or not ours or statistics.median(ours) == 0:
        return "–"
    return number(statistics.median(peer) / statistics.median(ours), 2)


def rows(figures: Figures) -> list[list[str]]:
    """Return the table's lines that have any figure."""
    out = []
    for measure in MEASURES:
        found = [figures.samples[column].get(measure.name) for column in COLUMNS]
        if not any(found):
            continue
        lan, tuned, foca, ours = found
        plain = measure.name.removesuffix("_plain")
        ours = ours or figures.samples[OURS].get(plain)
        label = f"{measure.text}, {measure.unit}" if measure.unit else measure.text
        out.append(
            [
                label,
                *(cell(values, measure.digits) for values in (lan, tuned, foca)),
                cell(ours, measure.digits),
                ratio(lan, ours),
                ratio(tuned, ours),
                ratio(foca, ours),
            ]
        )
    return out


def join_ratios(figures: Figures, members: int) -> list[str]:
    """Return one line for each memberlist: its burst join against ours, wall and CPU time."""
    ours = figures.samples[OURS]
    lines = []
    for column in (LAN, TUNED):
        found = figures.samples[column]
        values = {
            text: ratio(found.get(name), ours.get(name))
            for text, name in (("wall", "join_wall_s"), ("CPU", "join_cpu_s"))
        }
        if set(values.values()) != {"–"}:
            parts = ", ".join(f"{text} {value}" for text, value in values.items())
            lines.append(f"join of {members}, {column} : ours: {parts}")
    return lines


HEADS = ("measure", *COLUMNS, "LAN : ours", "tuned : ours", "foca : ours")


def table(figures: Figures, members: int) -> Table:
    """Return the table for a terminal."""
    out = Table(title=f"rings of {members}: median (least–most)")
    out.add_column(HEADS[0])
    for head in HEADS[1:]:
        out.add_column(head, justify="right")
    for row in rows(figures):
        out.add_row(*row)
    return out


def section(figures: Figures, options: argparse.Namespace) -> str:
    """Return this harness's section of the results."""
    versions = "; ".join(f"{column}: {text}" for column, text in figures.versions.items())
    lines = [
        report.machine(),
        "",
        f"`make bench-peers`, rings of {options.members} members in one process each, "
        f"{options.runs} runs, interleaved; median (least–most); a ratio above 1 is better here. "
        f"{versions}. Tuned: LAN with probe interval and time-out × {programs.TUNED_SCALE}. "
        "foca's ring is in virtual time, without sockets.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|---" + "|---:" * (len(HEADS) - 1) + "|",
        *("| " + " | ".join(row) + " |" for row in rows(figures)),
    ]
    if notes := [*join_ratios(figures, options.members), *figures.notes]:
        lines += ["", *(f"- {note}" for note in dict.fromkeys(notes))]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
