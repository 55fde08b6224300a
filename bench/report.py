"""Write the results of a benchmark run into ``bench/RESULTS.md``: one section per file that was
run.

Sections of files that were not run stay as they are. ``bench/conftest.py`` calls it at the end of
``make bench``; by hand: ``python bench/report.py .bench/*/0001_*.json``.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("RESULTS.md")
TITLE = """# Results

Written by `make bench`. Figures are of the machine that is named, and compare with nothing that
was measured elsewhere.
"""


def write(output: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Replace the sections of ``output`` (pytest-benchmark's JSON) in ``path``."""
    by_file: dict[str, list[Mapping[str, Any]]] = {}
    for benchmark in output["benchmarks"]:
        by_file.setdefault(benchmark["fullname"].partition("::")[0], []).append(benchmark)
    for file, benchmarks in by_file.items():
        write_section(file, _section(benchmarks, output), path)


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Replace one section of ``path``; the others stay."""
    sections = _read(path) | {name: text}
    body = "".join(f"\n## {key}\n\n{sections[key].strip()}\n" for key in sorted(sections))
    path.write_text(TITLE + body)


def machine() -> str:
    """One line: when, what and on which machine, for runs outside of pytest-benchmark."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changes = " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return (
        f"{date.today().isoformat()}, commit {commit}{changes}, {_cpu()} × {os.cpu_count()}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(RESULTS.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown CPU"
    found = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    return found[1] if found else "unknown CPU"


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parts = re.split(r"^## (.+)\n", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _section(benchmarks: list[Mapping[str, Any]], output: Mapping[str, Any]) -> str:
    machine = output["machine_info"]
    cpu = machine.get("cpu", {})
    commit = output.get("commit_info", {})
    python = machine.get("python_version", platform.python_version())
    lines = [
        f"{output['datetime'][:10]}, commit {str(commit.get('id'))[:12]}"
        f"{' with changes' if commit.get('dirty') else ''}, "
        f"{cpu.get('brand_raw', 'unknown CPU')} × {cpu.get('count', '?')}, "
        f"{machine.get('system')} {machine.get('release')}, Python {python}, "
        f"load average {os.getloadavg()[0]:.1f}",
        "",
        "| question | median | spread (IQR) | rounds | bound |",
        "|---|---|---|---|---|",
    ]
    for benchmark in sorted(benchmarks, key=lambda b: b["fullname"]):
        stats, extra = benchmark["stats"], benchmark["extra_info"]
        question = extra.get("question", benchmark["name"])
        bound = extra.get("bound", "")
        if "value" in extra:
            spread = extra.get("spread", "")
            rounds = extra.get("rounds", 1)
            lines.append(f"| {question} | {extra['value']} | {spread} | {rounds} | {bound} |")
        else:
            lines.append(
                f"| {question} | {_time(stats['median'])} | {_time(stats['iqr'])}"
                f" | {stats['rounds']} | {bound} |"
            )
    return "\n".join(lines)


def _time(seconds: float) -> str:
    """Three significant digits in the unit that fits."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write(json.loads(Path(argument).read_text()))
