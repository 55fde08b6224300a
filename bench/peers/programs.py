"""The peers' programs: built into ``build/peers`` when their compiler is here, run with a deadline.

Nothing in the product or its tests needs them. A compiler that is absent, or a build that fails, is
one line, never an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / "build" / "peers"
BUILD_S = 600
"""The first build fetches modules; later ones take seconds."""

TUNED_SCALE = 0.27
"""Factor on memberlist's probe interval and time-out with which all of 100 know of a crash after
2.9 s in the simulator, as they do here. Everything else is its LAN default, so that it keeps the
confirmations that guard it against false deaths. The real one needs a machine with nothing else to
do: beside other work its acks miss the 135 ms, and the ring drowns in false deaths."""


class Unavailable(Exception):
    """A peer can't be built here; the text is the one line that says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """Something that prints one JSON object."""

    command: Sequence[str]
    limit_s: float

    def run(self, *arguments: str, lock: Path | None = None) -> dict[str, Any]:
        """Run it to its end. Raises: RuntimeError with what it said, if it prints no JSON."""
        command = [*self.command, *arguments]
        with locked(lock):
            process = subprocess.run(
                command, capture_output=True, text=True, timeout=self.limit_s, cwd=ROOT, check=False
            )
        try:
            out: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            said = (process.stderr.strip() or process.stdout.strip())[-400:]
            raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said}") from None
        return out


@contextlib.contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold a lock file, so that two benchmarks of one machine never overlap."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def memberlist() -> Program:
    """Build the Go program. Raises: Unavailable."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("memberlist is skipped: no Go here; install it from https://go.dev/dl")
    target = CACHE / "memberlist"
    CACHE.mkdir(parents=True, exist_ok=True)
    _build("memberlist", [go, "build", "-trimpath", "-o", str(target), "."], HERE / "memberlist")
    return Program([str(target)], 150)


def foca() -> Program:
    """Build the Rust program. Raises: Unavailable."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise Unavailable("foca is skipped: no cargo here; install it from https://rustup.rs")
    target = CACHE / "foca"
    command = [cargo, "build", "--release", "--quiet", "--locked", "--target-dir", str(target)]
    _build("foca", command, HERE / "foca")
    return Program([str(target / "release" / "foca-bench")], 90)


def rings() -> Program:
    """Return our rings of real members."""
    return Program([sys.executable, str(ROOT / "bench" / "real_rings.py")], 240)


def newest_memberlist() -> str | None:
    """Ask the module proxy for the newest release; None without an answer in 10 s."""
    command = ["go", "list", "-m", "-f", "{{.Version}}", "github.com/hashicorp/memberlist@latest"]
    try:
        done = subprocess.run(
            command, cwd=HERE / "memberlist", capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _build(name: str, command: Sequence[str], where: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=BUILD_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{name} is skipped: its build did not end: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"{name} is skipped: its build failed: {last}")
