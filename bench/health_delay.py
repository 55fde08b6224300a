"""How long from a service's illness to the word critical on another supervisor?

Two real supervisors on this host, a health-check hook that looks for a file. The file is made at a
random moment of the interval; the time ends when the other supervisor's census says critical. The
promise is threshold x interval + 1.5 s. ``python bench/health_delay.py [--rounds 20]``.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.e2e.supervisors import Supervisor, supervisors, wait_for  # noqa: E402

from sup.cli.client import Client  # noqa: E402
from sup.errors import OperatorError  # noqa: E402

MARGIN_S = 1.5
POLL_S = 0.02
PLAN = """
[package]
name = "web"
[service.health]
interval = {interval}
retry_interval = {interval}
timeout = {interval}
failures_before_critical = {threshold}
"""


def main() -> None:
    """Measure and print; exit code 1 when the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--threshold", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sup-bench-") as name:
        times = measure(Path(name), options.rounds, options.interval, options.threshold)
    bound_s = options.threshold * options.interval + MARGIN_S
    print(" ".join(f"{one:.2f}" for one in times))
    print(
        f"ok to critical on the other supervisor, {len(times)} times: median"
        f" {statistics.median(times):.2f} s, worst {max(times):.2f} s, bound {bound_s:.2f} s"
    )
    sys.exit(max(times) > bound_s)


def measure(directory: Path, rounds: int, interval_s: float, threshold: int) -> list[float]:
    """The times in seconds, one per round."""
    ill = directory / "ill"
    hooks = directory / "web" / "hooks"
    hooks.mkdir(parents=True)
    (directory / "web" / "plan.toml").write_text(
        PLAN.format(interval=interval_s, threshold=threshold)
    )
    for hook, text in (("run", "exec sleep 6000"), ("health-check", f"test ! -e {ill} || exit 2")):
        (hooks / hook).write_text(f"#!/bin/sh\n{text}\n")
        (hooks / hook).chmod(0o755)
    here, there = (f"127.0.0.1:{port}" for port in free_ports())
    common = ("--ring", "bench", "--listen-http", "off")
    a = Supervisor(
        directory / "a",
        *(str(directory / "web"), *common, "--supervisor-name", "a", "--listen-gossip", here),
    )
    b = Supervisor(
        directory / "b",
        *(*common, "--supervisor-name", "b", "--listen-gossip", there, "--peer", here),
    )
    rng = random.Random(1)
    times = []
    with supervisors(a, b):
        client = Client(directory / "b" / "control.sock")

        def health() -> str:
            try:
                groups = client.get("/v1/census")["groups"]
            except OperatorError:
                return ""
            members = groups.get("web.default", {}).get("members", [])
            return next((str(m["health"]) for m in members if m["name"] == "a"), "")

        for _ in range(rounds):
            wait_for("ok", lambda: health() == "ok", 30 + 10 * interval_s)
            time.sleep(rng.uniform(1.0, 2.0) * interval_s)
            ill.touch()
            begun_s = time.monotonic()
            while health() != "critical":
                time.sleep(POLL_S)
            times.append(time.monotonic() - begun_s)
            ill.unlink()
    return times


def free_ports() -> list[int]:
    """Two ports that were free for UDP a moment ago."""
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


if __name__ == "__main__":
    main()
