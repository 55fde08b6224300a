"""Plant the traps of the protocol in the core's source, one at a time; something must find each.

Question: would the checks, scenarios and tests notice if somebody took the tempting version of a
rule? Each mutant changes a few lines, is compiled in a private copy of the tree, and the cheapest
command that is meant to find it must fail. A mutant that survives is a gap in the checks; one whose
lines are not in the source any more is out of date; both end with exit status 1. Before any
mutant, the commands run on the unchanged copy and must pass (--no-baseline leaves that out). The
commands are tests of the rule, not campaigns: those find a fault at some seeds only, and at others
after every change of any rule.

    python bench/mutations.py
    python bench/mutations.py --only 5 --only 19
    python bench/mutations.py --list
    python bench/mutations.py --write
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import report
from mutants import MUTANTS, PYTEST, Command, Mutant
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "mutations.json"
TIMEOUT_S = 240


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen mutants; return the exit status."""
    options = parse(arguments)
    console = Console(stderr=True)
    chosen = [
        m
        for m in MUTANTS
        if (not options.only or m.trap in options.only)
        and (not options.name or any(w in m.name for w in options.name))
    ]
    if options.list:
        for mutant in chosen:
            console.print(f"{mutant.trap or '-':>3} {mutant.name}", highlight=False)
        return 0
    started = time.perf_counter()
    results = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with (
        tempfile.TemporaryDirectory() as scratch,
        Progress(*columns, console=console, disable=options.json) as progress,
    ):
        copy = copied(Path(scratch))
        commands = [] if options.no_baseline else sorted({m.command for m in chosen})
        task = progress.add_task("baseline", total=len(commands) + len(chosen))
        for command in commands:
            done = python(copy, command)
            if done is None or done.returncode:
                text = "hangs" if done is None else last_words(done)
                console.print(f"error: fails without any mutant: {' '.join(command)}: {text}")
                return 2
            progress.advance(task)
        for mutant in chosen:
            progress.update(task, description=f"trap {mutant.trap}"[:20])
            began = time.perf_counter()
            verdict, text = run(copy, mutant)
            results.append(
                {
                    "trap": mutant.trap,
                    "mutant": mutant.name,
                    "verdict": verdict,
                    "by": " ".join(mutant.command[len(PYTEST) :]),
                    "seconds": round(time.perf_counter() - began, 1),
                }
            )
            colour = "green" if verdict == "caught" else "red"
            progress.console.print(
                f"[{colour}]{verdict:9}[/] {mutant.trap or '-':>3} {mutant.name}\n"
                f"              {text}",
                highlight=False,
                soft_wrap=True,
            )
            progress.advance(task)
    caught = sum(r["verdict"] == "caught" for r in results)
    if options.json:
        json.dump({"caught": caught, "mutants": results}, sys.stdout, indent=2)
    console.print(
        f"{caught} of {len(results)} mutants caught in {time.perf_counter() - started:.0f} s",
        highlight=False,
    )
    if options.write:
        write(results)
    return 0 if caught == len(results) else 1


def write(results: list[dict[str, Any]]) -> None:
    """Keep the outcome: as JSON, and as a section of RESULTS.md; what was not run stays there."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = {r["mutant"]: r for r in (*kept, *results)}
    results = [rows[m.name] for m in MUTANTS if m.name in rows]
    caught = sum(r["verdict"] == "caught" for r in results)
    traps = len({r["trap"] for r in results if r["trap"]})
    lines = [
        "Tempting versions of the protocol's rules, each planted in the source: what fails then?",
        "",
        report.machine(),
        "",
        f"**{caught} of {len(results)}** mutants caught, {traps} numbered traps among them; "
        "all commands pass without a mutant. Seconds are of build and command.",
        "",
        "| trap | mutant | verdict | by | s |",
        "|---|---|---|---|---|",
        *("| {trap} | {mutant} | {verdict} | `{by}` | {seconds} |".format(**r) for r in results),
    ]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    report.write_section("bench/mutations.py", "\n".join(lines))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=int, action="append", help="number of a trap; repeatable")
    parser.add_argument("--name", action="append", help="a part of a mutant's name; repeatable")
    parser.add_argument("--list", action="store_true", help="name the mutants and end")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--write", action="store_true", help="keep results and write RESULTS.md")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the commands before")
    options = parser.parse_args(arguments)
    if options.write and options.no_baseline:
        parser.error("--write needs the baseline")
    return options


def copied(scratch: Path) -> Path:
    """Copy what is needed to build and run, compiled modules included."""
    copy = scratch / "copy"
    ignore = shutil.ignore_patterns(
        ".git", "__pycache__", "plugins", ".venv", "examples", ".mypy_cache", ".bench"
    )
    shutil.copytree(ROOT, copy, ignore=ignore)
    (copy / "README.md").touch()
    return copy


def run(copy: Path, mutant: Mutant) -> tuple[str, str]:
    """Build one mutant and run its command; return the verdict and what was seen."""
    core = copy / "core" / "sup_core"
    planted = []
    for file, old, new in mutant.edits:
        path = core / file
        count = path.read_text().count(old)
        if count != 1:
            return "out of date", f"{file} has {count} times: {old.strip()[:80]}"
        planted.append((path, old, new))
    with tempfile.TemporaryDirectory(dir=copy) as scratch:
        kept = keep(copy, {path.stem for path, _, _ in planted}, Path(scratch))
        try:
            for path, old, new in planted:
                path.write_text(path.read_text().replace(old, new))
            build = python(copy, ("setup.py", "-q", "build_ext", "--inplace"))
            if build is None or build.returncode:
                return "no build", "too slow" if build is None else last_words(build)
            done = python(copy, mutant.command)
            if done is None:
                return "caught", "hangs"
            # 1 is a test that failed or a violation; anything else is a command that did not run.
            if done.returncode == 1:
                return "caught", last_words(done)
            if done.returncode:
                return "no run", last_words(done)
            return "survived", " ".join(mutant.command)
        finally:
            for saved, path in kept:
                shutil.copy2(saved, path)


def keep(copy: Path, modules: set[str], scratch: Path) -> list[tuple[Path, Path]]:
    """Save what belongs to these modules, with its times: putting it back needs no build."""
    patterns = ("core/sup_core/{}.*", "build/cython/core/sup_core/{}.*", "build/lib*/sup_core/{}.*")
    kept: list[tuple[Path, Path]] = []
    for module in sorted(modules):
        for pattern in patterns:
            for path in sorted(copy.glob(pattern.format(module))):
                saved = scratch / f"{len(kept)}"
                shutil.copy2(path, saved)
                kept.append((saved, path))
    return kept


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says what failed."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("FAILED", "E  "))]
    return (named or lines or [f"exit status {done.returncode}"])[0].strip()[:160]


def python(copy: Path, arguments: Command) -> subprocess.CompletedProcess[str] | None:
    """Run the interpreter in the copy; None if it takes too long."""
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": "core:supervisor:."},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    sys.exit(main())
