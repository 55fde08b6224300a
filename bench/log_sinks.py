"""How fast is the log engine beside ``cat`` and other loggers that stamp and rotate?

One writer, one sink at a time, in turns, so that all see the same machine: lines of 100 bytes in
blocks of 64 KiB (a flood), and one ``write`` for each line (a service). A run ends when the sink
has written everything. Medians of ``--runs`` after one warm-up, megabytes of the writer per
second, the ratio to ``cat``, and processor seconds of writer and sink per gigabyte. Loggers that
are not installed are left out (Debian: s6, runit, apache2-utils). ``rotatelogs`` and ``cat`` do not
stamp.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = 10 * 1024 * 1024
WRITER = """
import os, sys
block, left = b"x" * 99 + b"\\n", int(sys.argv[2])
block *= int(sys.argv[1])
while left > 0:
    left -= os.write(1, block)
"""
ENGINE = """
import os, subprocess, sys
from dataclasses import dataclass
from sup.launcher.log_engine import LogEngine

@dataclass
class Target:
    directory: str = sys.argv[1]
    name: str = "bench"
    max_bytes: int = 10 * 1024 * 1024
    files: int = 3
    line_bytes_max: int = 16384

engine = LogEngine()
fd = engine.open(Target())
subprocess.run(sys.argv[2:], stdout=fd, check=True)
os.close(fd)
assert engine.stop()
"""


@dataclass
class Run:
    """One writer into one sink."""

    seconds: float
    cpu_s: float


def sinks(directory: Path) -> dict[str, list[str]]:
    """Name to command, for those that are installed; the engine is run otherwise."""
    (directory / "svlogd").mkdir()
    (directory / "svlogd/config").write_text(f"s{FILE_BYTES}\nn3\n")
    known = {
        "cat": ["sh", "-c", f"exec cat > {directory}/cat"],
        "sup": [],
        "s6-log": ["s6-log", "n3", f"s{FILE_BYTES}", "T", f"{directory}/s6"],
        "svlogd": ["svlogd", "-ttt", f"{directory}/svlogd"],
        "rotatelogs": ["rotatelogs", "-n", "3", f"{directory}/rotatelogs", "10M"],
    }
    return {name: argv for name, argv in known.items() if not argv or shutil.which(argv[0])}


def run(name: str, argv: list[str], directory: Path, lines: int, total: int) -> Run:
    """One measurement."""
    writer = [sys.executable, "-S", "-c", WRITER, str(lines), str(total)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    if name == "sup":
        script = [sys.executable, "-c", ENGINE, str(directory / "sup"), *writer]
        subprocess.run(script, check=True)
    else:
        reader, write_end = os.pipe()
        sink = subprocess.Popen(argv, stdin=reader)
        os.close(reader)
        subprocess.run(writer, stdout=write_end, check=True)
        os.close(write_end)
        if sink.wait(120) != 0:
            raise SystemExit(f"{name} failed")
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(seconds, used)


def main() -> None:
    """Measure and print one table per workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--directory", type=Path, help="on which disk; default: a temporary one")
    args = parser.parse_args()
    for title, lines, total in (
        ("blocks of 64 KiB", 655, args.megabytes * 1_000_000),
        ("a write per line", 1, args.megabytes * 200_000),
    ):
        with tempfile.TemporaryDirectory(dir=args.directory) as name:
            directory = Path(name)
            found = sinks(directory)
            runs: dict[str, list[Run]] = {name: [] for name in found}
            for number in range(args.runs + 1):
                for sink, argv in found.items():
                    done = run(sink, argv, directory, lines, total)
                    if number:
                        runs[sink].append(done)
        print(f"\n{title}, {total / 1e6:.0f} MB\n")
        print("| sink | MB/s | least to most | of cat | CPU of writer and sink, s/GB |")
        print("|---|---|---|---|---|")
        rates = {name: sorted(total / 1e6 / r.seconds for r in all_) for name, all_ in runs.items()}
        cat = statistics.median(rates["cat"])
        for sink, rate in rates.items():
            middle = statistics.median(rate)
            cpu = statistics.median(r.cpu_s for r in runs[sink]) / total * 1e9
            print(
                f"| {sink} | {middle:.0f} | {rate[0]:.0f} to {rate[-1]:.0f}"
                f" | {middle / cat:.2f} | {cpu:.1f} |"
            )


if __name__ == "__main__":
    main()
