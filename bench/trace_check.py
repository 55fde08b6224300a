"""Run the same seeds under several interpreters and hash seeds; every trace must be the same.

Question: is a simulated run a function of its seed alone? The traces are hashes over everything
that any node was handed, with its time. The running interpreter uses the modules as they are built;
for any other one the core is compiled in a temporary directory, in an environment of its own (some
minutes each). Exit status 1 if any two traces differ.

    python bench/trace_check.py
    python bench/trace_check.py ~/.pyenv/versions/3.12.1/bin/python /usr/bin/python3.13
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
HASH_SEEDS = ("0", "1", "4242")
PROGRAM = """
import json, platform, sys
from sup_core.simulator_scenarios import run_scenario
work = json.loads(sys.argv[1])
traces = {f"{n} {m} {s}": f"{run_scenario(n, seed=s, members=m).trace:016x}" for n, m, s in work}
print(json.dumps([platform.python_version(), traces]))
"""


def main(arguments: list[str] | None = None) -> int:
    """Compare; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("interpreters", nargs="*", help="paths of other interpreters")
    parser.add_argument("--scenario", nargs="+", default=["chaos", "restart", "split"])
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each scenario")
    parser.add_argument("--members", type=int, default=12)
    parser.add_argument("--json", action="store_true", help="print the traces as JSON")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    work = [
        (name, options.members, seed)
        for name in options.scenario
        for seed in range(1, options.seeds + 1)
    ]
    runs: list[tuple[str, str, dict[str, str]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, interpreter in enumerate([sys.executable, *options.interpreters]):
            if number == 0:
                python, path = interpreter, str(ROOT / "core")
            else:
                console.print(f"compiling for {interpreter}", highlight=False)
                python, path = build(interpreter, Path(scratch) / str(number))
            for hash_seed in HASH_SEEDS:
                version, traces = run(python, path, hash_seed, work)
                runs.append((version, hash_seed, traces))
                console.print(f"Python {version}, hash seed {hash_seed}: {len(traces)} traces")
    first = runs[0][2]
    different = [
        f"{key}: {first[key]}, but {traces[key]} with Python {version}, hash seed {hash_seed}"
        for version, hash_seed, traces in runs
        for key in first
        if traces[key] != first[key]
    ]
    if options.json:
        sys.stdout.write(
            json.dumps({"traces": first, "runs": len(runs), "different": different}, indent=2)
        )
    for line in different:
        console.print(f"[red]DIFFERENT[/red] {line}", highlight=False)
    versions = sorted({version for version, _, _ in runs})
    console.print(
        f"{len(first)} traces, Python {', '.join(versions)}, {len(HASH_SEEDS)} hash seeds each: "
        + (f"{len(different)} differ" if different else "all equal"),
        highlight=False,
    )
    return 1 if different else 0


def build(interpreter: str, place: Path) -> tuple[str, str]:
    """Compile the core for another interpreter; return its environment's python and the path."""
    tree = place / "tree"
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "edge")
    shutil.copytree(ROOT / "core", tree / "core", ignore=ignore)
    shutil.copytree(ROOT / "supervisor", tree / "supervisor", ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    call([interpreter, "-m", "venv", str(place / "venv")], place)
    python = str(place / "venv" / "bin" / "python")
    call([python, "-m", "pip", "install", "-q", "setuptools>=80", "Cython>=3.3,<3.4"], place)
    call([python, "setup.py", "-q", "build_ext", "--inplace"], tree)
    return python, str(tree / "core")


def run(
    python: str, path: str, hash_seed: str, work: list[tuple[str, int, int]]
) -> tuple[str, dict[str, str]]:
    """Run the seeds in a process of their own."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    done = call([python, "-c", PROGRAM, json.dumps(work)], Path(path), environment)
    version, traces = json.loads(done)
    return version, traces


def call(command: list[str], place: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command; end with its last words if it fails."""
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: {' '.join(command[:4])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
