"""How fast the end of a service is acted on, through launcher and supervisor.

Question: from SIGKILL of a service's process, how long until its supervisor has changed its state?
A supervisor runs one service under a launcher; a client holds a question for the next event of the
control socket, kills the process, and takes the time until the answer is there. So the answer's
way to the client is measured, too. Nothing polls in between: the launcher gets SIGCHLD, the
supervisor a message. Usage: ``python bench/exit_latency.py [--rounds 50] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from sup.cli.client import Client
from sup.errors import OperatorError

WARM_UP = 3
PLAN = """
[package]
name = "sleeper"
[service]
command = ["sleep", "3600"]
restart_min = 0.1
restart_max = 0.1
"""


def rows(client: Client) -> dict[str, Any]:
    found: list[dict[str, Any]] = client.get("/v1/services")["services"]
    return found[0] if found else {}


def up(client: Client, not_pid: int = 0) -> int:
    """The pid of the running service, another one than ``not_pid``; waited for."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            row = rows(client)
            if row.get("process") == "up" and row["pid"] != not_pid:
                return int(row["pid"])
        except OperatorError:
            pass
        time.sleep(0.02)
    raise SystemExit("the service did not come up")


def one_round(client: Client, pid: int) -> float:
    """Milliseconds from the kill to the answer that says so."""
    since = client.request("GET", "/v1/events")["next"]
    seen: list[float] = []

    def ask() -> None:
        query = {"since": str(since), "follow": "10", "kind": "process"}
        client.request("GET", "/v1/events", query=query, timeout_s=20)
        seen.append(time.perf_counter())

    asker = threading.Thread(target=ask)
    asker.start()
    time.sleep(0.1)  # the question is held by now
    killed = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    asker.join()
    return (seen[0] - killed) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        package = Path(place) / "package"
        package.mkdir()
        (package / "plan.toml").write_text(PLAN)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sup", "run", str(package)),
                *("--state-dir", f"{place}/state", "--listen-http", "off"),
                *("--listen-gossip", f"127.0.0.1:{port}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            client = Client(Path(place) / "state" / "control.sock")
            took, pid = [], 0
            for _ in range(WARM_UP + options.rounds):
                pid = up(client, pid)
                took.append(one_round(client, pid))
        finally:
            process.terminate()
            process.wait(30)
    took = sorted(took[WARM_UP:])
    result = {
        "rounds": len(took),
        "median_ms": round(statistics.median(took), 2),
        "p95_ms": round(took[int(len(took) * 0.95) - 1], 2),
        "max_ms": round(took[-1], 2),
    }
    print(json.dumps(result) if options.json else f"exit seen: {result}")


if __name__ == "__main__":
    main()
