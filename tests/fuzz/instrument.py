"""Build the instrumented copy of the core and fuzz each target for a while: ``make fuzz-guided``.

Needs clang (its coverage counters are what libFuzzer reads) and atheris, which has wheels for
Python 3.11 to 3.13 at most; where one is missing one line says so and the exit code is 0, because
the ordinary tests replay the corpus everywhere. The copy lands in ``build/fuzz`` and is rebuilt
when a source changed.

``-fsanitize=fuzzer-no-link`` itself is not used: it also traces the depth of the stack in a
thread-local variable that only a program linked with libFuzzer has.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "fuzz"
CORPUS = Path(__file__).parent / "corpus"
COVERAGE = "-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp"
TARGETS = ("datagram", "stream", "snapshot")
INPUT_BYTES_MAX = 4096


def clang() -> str | None:
    """The newest clang on PATH, None when there is none."""
    names = ["clang", *(f"clang-{version}" for version in range(25, 12, -1))]
    return next((name for name in names if shutil.which(name)), None)


def build(compiler: str, to: Path = COPY, source: Path = ROOT) -> None:
    """Compile all extensions of ``source`` with coverage counters into ``to``."""
    environment = dict(os.environ, CC=compiler, LDSHARED=f"{compiler} -shared", CFLAGS=COVERAGE)
    subprocess.run(
        [
            *(sys.executable, "setup.py", "-q", "build_ext"),
            *("--build-lib", str(to), "--build-temp", str(to.with_name(to.name + ".objects"))),
        ],
        cwd=source,
        env=environment,
        check=True,
    )
    for root in ("core", "supervisor"):
        shutil.copytree(
            source / root,
            to,
            ignore=shutil.ignore_patterns(
                "*.so", "*.pyx", "*.pxd", "*.c", "__pycache__", "examples"
            ),
            dirs_exist_ok=True,
        )


def fuzz(target: str, seconds: int, copy: Path = COPY) -> int:
    """Fuzz one target from the committed corpus; what is found new is thrown away at the end."""
    with tempfile.TemporaryDirectory() as found:
        return subprocess.run(
            [
                *(sys.executable, str(Path(__file__).with_name("guided.py")), target),
                f"-max_total_time={seconds}",
                f"-max_len={INPUT_BYTES_MAX}",
                *("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"),
                f"-artifact_prefix={ROOT / 'build' / target}-",
                found,
                str(CORPUS / target),
            ],
            env=dict(os.environ, PYTHONPATH=f"{copy}{os.pathsep}{ROOT}"),
            check=False,
        ).returncode


def main() -> int:
    """Build, then fuzz the targets one after the other; 1 when one of them failed."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--seconds", type=int, default=60, help="per target")
    options.add_argument("targets", nargs="*", default=TARGETS)
    given = options.parse_args()
    compiler = clang()
    if compiler is None:
        print("fuzz: skipped, no clang on PATH; on Debian and Ubuntu: apt-get install clang")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: skipped, no atheris for this Python; with 3.11: pip install 'sup-ring[fuzz]'")
        return 0
    build(compiler)
    failed = [target for target in given.targets if fuzz(target, given.seconds)]
    if failed:
        print(f"fuzz: failed: {', '.join(failed)}; the inputs are build/TARGET-*")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
