"""Measure what a member of a ring occupies when all members run in one process.

Question: how many bytes per member of a ring of 100, and how many per (node, member) pair? Each
size runs in a process of its own: a simulated ring in light mode, one pool of cards, formed, then
quiet for some simulated seconds (above 2,000 members it starts acquainted). Two answers for each
size: the growth of the process (resident memory after the ring minus before it, the simulator and
everything Python included), and what the nodes themselves account for, by part. The figure per
pair is the slope between two sizes, so what every node has once is not in it.

    python bench/memory.py
    python bench/memory.py --members 100 1000 10000 --json
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from sup_core.memory import memory_of
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form
from sup_core.simulator_start import acquaint

SIZES = (100, 1000)
# Larger rings start acquainted: joining takes the simulator minutes and is not the question.
JOINED_MAX = 2000
TARGET_MEMBER, TARGET_PAIR, TARGET_SIZE = 20_000, 64, 100
# Quoted, not measured here: hashicorp/memberlist (LAN, local, old and new release), all members in
# one Go process on a two-core machine; resident memory after a collection, and its node table.
PEER_MEMBER = "330-480 KB"
PEER_PAIR = "215-222 B"


def main(arguments: list[str] | None = None) -> int:
    """Measure every size; return 1 if a target that was measured is missed."""
    options = parse(arguments)
    if options.one is not None:
        print(json.dumps(measure(options.one, options.quiet_s, options.seed)))
        return 0
    found = [in_own_process(size, options) for size in sorted(options.members)]
    slopes = [slope(small, large) for small, large in pairwise(found)]
    if options.json:
        peer = {"member": PEER_MEMBER, "pair": PEER_PAIR, "source": "quoted"}
        print(json.dumps({"rings": found, "slopes": slopes, "memberlist": peer}))
    else:
        show(found, slopes)
    missed = any(f["members"] == TARGET_SIZE and f["rss"] > TARGET_MEMBER for f in found) or any(
        s["rss"] > TARGET_PAIR for s in slopes
    )
    return int(missed)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--members", type=int, nargs="+", default=list(SIZES), help="ring sizes")
    parser.add_argument("--quiet-s", type=float, default=10.0, help="simulated seconds at rest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def in_own_process(size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one size where nothing was allocated before."""
    command = [sys.executable, __file__, "--one", str(size)]
    command += ["--quiet-s", str(options.quiet_s), "--seed", str(options.seed)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def measure(size: int, quiet_s: float, seed: int) -> dict[str, Any]:
    """Form a ring of this size and weigh it; bytes are per member."""
    warm = Simulator(seed=seed, light=True)  # what the first ring of a process loads once
    form(warm, 4)
    del warm
    before = resident()
    started = time.perf_counter()
    sim = Simulator(seed=seed, light=True)
    if size > JOINED_MAX:
        acquaint(sim, size)
    else:
        form(sim, size)
    sim.run(quiet_s)
    took = time.perf_counter() - started
    peak = status("VmHWM") - before
    grown = resident() - before
    parts: Counter[str] = Counter()
    for index in range(size):
        parts.update(memory_of(sim.node_of(index)))
    parts["cards"] = sim.cards.memory_bytes()
    return {
        "members": size,
        "rss": grown / size,
        "peak": peak / size,
        "own": parts.total() / size,
        "parts": {name: count / size for name, count in parts.items() if count},
        "real_s": took,
    }


def resident() -> int:
    """Bytes of this process in memory, after what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS")


def status(field: str) -> int:
    """One size of this process, in bytes."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def slope(small: dict[str, Any], large: dict[str, Any]) -> dict[str, Any]:
    """Bytes per pair between two sizes."""
    more = large["members"] - small["members"]
    return {
        "members": [small["members"], large["members"]],
        **{name: (large[name] - small[name]) / more for name in ("rss", "peak", "own")},
    }


def show(found: list[dict[str, Any]], slopes: list[dict[str, Any]]) -> None:
    """Print the tables."""
    console = Console()
    table = Table(title="bytes per member, all members in one process")
    columns = ("members", "process", "peak", "nodes' own", "target", "memberlist", "real s")
    for name in columns:
        table.add_column(name, justify="right")
    for ring in found:
        counts = [f"{ring[name]:,.0f}" for name in ("rss", "peak", "own")]
        known = ring["members"] == TARGET_SIZE
        target = f"{TARGET_MEMBER:,}" if known else "-"
        peer = PEER_MEMBER if known else "-"
        table.add_row(f"{ring['members']:,}", *counts, target, peer, f"{ring['real_s']:.1f}")
    console.print(table)
    if slopes:
        table = Table(title="bytes per (node, member) pair: the slope between two sizes")
        for name in ("members", "process", "peak", "nodes' own", "target", "memberlist"):
            table.add_column(name, justify="right")
        for step in slopes:
            counts = [f"{step[name]:.1f}" for name in ("rss", "peak", "own")]
            sizes = " to ".join(f"{size:,}" for size in step["members"])
            table.add_row(sizes, *counts, str(TARGET_PAIR), PEER_PAIR)
        console.print(table)
    table = Table(title="the nodes' own, by part (bytes per member)")
    table.add_column("part")
    for ring in found:
        table.add_column(f"{ring['members']:,}", justify="right")
    for name in sorted(found[-1]["parts"], key=found[-1]["parts"].__getitem__, reverse=True):
        table.add_row(name, *(f"{ring['parts'].get(name, 0):,.0f}" for ring in found))
    console.print(table)
    console.print(
        f"memberlist's {PEER_MEMBER} (N = 100) and {PEER_PAIR} are quoted from a measurement of "
        "its releases in one Go process, not of this run; the others are measured now."
    )


if __name__ == "__main__":
    sys.exit(main())
