"""What the command line costs: the wall time of one command, and the memory of a supervisor.

Question: do ``sup --help`` and ``sup status`` answer within what a person does not notice, and
does a supervisor with one service stay small? Whole processes are measured, from exec to exit.
Memory is ``VmRSS`` of a supervisor that runs one service, five seconds after start: once before
anybody has used its HTTP interface, once after.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 15
WARM_UP = 2
SETTLE_SECONDS = 5.0
SAMPLES = 5
SUP = [sys.executable, "-m", "sup"]


def quiet(*args: str) -> None:
    """One command to its end; a failure fails the benchmark."""
    # No time-out: waiting with one looks only every 50 ms, which is what we measure.
    subprocess.run([*SUP, *args], stdout=subprocess.DEVNULL, check=True)


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path, int]]:
    """A supervisor with one service: its pid, state directory and HTTP port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    state_dir = tmp_path_factory.mktemp("bench") / "state"
    process = subprocess.Popen(
        [
            *(*SUP, "run", "--exec", "sleep 3600", "--name", "sleeper"),
            *("--state-dir", str(state_dir), "--listen-gossip", "127.0.0.1:0"),
            *("--listen-http", f"127.0.0.1:{port}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        # Its files tell that the service runs: it is not to be asked anything yet.
        while not (state_dir / "svc" / "sleeper" / "process.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        facts = json.loads((state_dir / "launcher.json").read_text())
        yield facts["supervisor_pid"], state_dir, port
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()


def rss_mb(pid: int) -> float:
    """Resident memory, MB of 2**20 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def measure_rss(benchmark: Any, pid: int, question: str) -> None:
    """Median of some samples, as a value of the report; the time measured means nothing."""
    time.sleep(SETTLE_SECONDS)
    samples = []
    for _ in range(SAMPLES):
        samples.append(rss_mb(pid))
        time.sleep(0.2)
    samples.sort()
    benchmark.extra_info |= {
        "question": question,
        "value": f"{samples[SAMPLES // 2]:.1f} MB",
        "spread": f"{samples[-1] - samples[0]:.1f} MB",
        "rounds": SAMPLES,
        "bound": "45 MB",
    }
    benchmark.pedantic(rss_mb, args=(pid,), rounds=1)


def test_help(benchmark: Any) -> None:
    """Wall time of ``sup --help``."""
    benchmark.extra_info |= {"question": "`sup --help`, wall time", "bound": "120 ms"}
    benchmark.pedantic(quiet, args=("--help",), rounds=ROUNDS, warmup_rounds=WARM_UP)


def test_idle_rss_before_http(benchmark: Any, supervisor: tuple[int, Path, int]) -> None:
    """Memory while nobody has asked anything over HTTP."""
    measure_rss(benchmark, supervisor[0], "idle `sup run`, one service: resident")


def test_status(benchmark: Any, supervisor: tuple[int, Path, int]) -> None:
    """Wall time of ``sup status`` against a running supervisor."""
    benchmark.extra_info |= {"question": "`sup status`, wall time", "bound": "200 ms"}
    args = ("status", "--state-dir", str(supervisor[1]))
    benchmark.pedantic(quiet, args=args, rounds=ROUNDS, warmup_rounds=WARM_UP)


def test_members_json(benchmark: Any, supervisor: tuple[int, Path, int]) -> None:
    """Wall time of ``sup members --json``."""
    benchmark.extra_info |= {"question": "`sup members --json`, wall time"}
    args = ("members", "--json", "--state-dir", str(supervisor[1]))
    benchmark.pedantic(quiet, args=args, rounds=ROUNDS, warmup_rounds=WARM_UP)


def test_zz_idle_rss_after_http(benchmark: Any, supervisor: tuple[int, Path, int]) -> None:
    """Memory once the HTTP interface is loaded. The name keeps it last."""
    url = f"http://127.0.0.1:{supervisor[2]}/v1/status"
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert json.loads(answer.read())["services"]
    measure_rss(benchmark, supervisor[0], "the same after the first HTTP request over TCP")
    benchmark.extra_info["bound"] = ""
