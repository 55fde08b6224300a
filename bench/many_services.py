"""What many services cost one supervisor: processor while nothing happens, and memory for each.

    python bench/many_services.py [--services 200] [--seconds 30] [--no-launcher] [--json]

The question: with 200 services that only sleep, how much of one core does the supervisor take, and
how many KB of its memory is one of them? A real ``sup run`` is started on a state directory with as
many spec files (``command = ["sleep", "…"]``), once without a service and once with all of them;
when every service is up and ten seconds have passed, the processor time of supervisor and launcher
is taken over ``--seconds``, and their resident memory is read (``smaps_rollup``, anonymous pages:
what is shared with other interpreters is not counted twice). The bounds of the project: 1 % of one
core, 150 KB for each service. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SETTLE_S = 10.0
START_S = 180.0
STOP_S = 120.0


def main() -> int:
    """Measure and print one line (or JSON); 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--no-launcher", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    empty = measure(0, 5.0, launcher=not asked.no_launcher)
    full = measure(asked.services, asked.seconds, launcher=not asked.no_launcher)
    each = {
        who: round((full[who]["anonymous_kb"] - empty[who]["anonymous_kb"]) / asked.services, 1)
        for who in full
        if who in empty and isinstance(full[who], dict)
    }
    result = {
        "services": asked.services,
        "up_after_s": full["up_after_s"],
        "core_percent": {who: full[who]["core_percent"] for who in each},
        "kb_each": each,
        "supervisor_empty_kb": empty["supervisor"]["anonymous_kb"],
        "supervisor_full_kb": full["supervisor"]["anonymous_kb"],
    }
    if asked.json:
        print(json.dumps(result))
    else:
        for who, kb in each.items():
            percent = full[who]["core_percent"]
            print(f"{who:10}  {percent:5.2f} % of one core, {kb:6.1f} KB for each service")
        print(f"{asked.services} services were up after {full['up_after_s']} s")
    good = full["supervisor"]["core_percent"] <= 1.0 and each["supervisor"] <= 150
    return 0 if good else 1


def measure(services: int, seconds: float, *, launcher: bool) -> dict[str, Any]:
    """One life of a supervisor with this many services."""
    with tempfile.TemporaryDirectory(prefix="sup-many-") as directory:
        state = Path(directory)
        specs = state / "specs"
        specs.mkdir()
        for number in range(services):
            name = f"nap{number:03}"
            text = f'name = "{name}"\ncommand = ["sleep", "{86400 + number}"]\n'
            (specs / f"{name}.toml").write_text(text)
        argv = [sys.executable, "-m", "sup", "run", "--state-dir", directory, "--ring", "bench"]
        argv += ["--listen-gossip", "127.0.0.1:0", "--listen-http", "off", "--log-level", "warning"]
        argv += [] if launcher else ["--no-launcher"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/core:{ROOT}/supervisor"}
        began = time.monotonic()
        with (state / "out").open("wb") as out:
            process = subprocess.Popen(argv, stdout=out, stderr=out, env=environment)
        try:
            up_after_s = wait_until_up(process, state, services, began)
            pids = who_is_who(process.pid, launcher=launcher)
            time.sleep(SETTLE_S)
            before = {who: cpu_s(pid) for who, pid in pids.items()}
            time.sleep(seconds)
            found: dict[str, Any] = {
                who: {
                    "core_percent": round(100 * (cpu_s(pid) - before[who]) / seconds, 2),
                    "anonymous_kb": anonymous_kb(pid),
                }
                for who, pid in pids.items()
            }
            return {**found, "up_after_s": round(up_after_s, 1)}
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(
    process: subprocess.Popen[bytes], state: Path, services: int, began: float
) -> float:
    """Seconds from ``began`` until every service is up."""
    while time.monotonic() - began < START_S:
        if process.poll() is not None:
            raise SystemExit(f"sup run ended: {(state / 'out').read_text()[-2000:]}")
        pids = [p for p in state.glob("svc/*/PID") if p.exists()]
        if (state / "control.sock").exists() and len(pids) >= services:
            return time.monotonic() - began
        time.sleep(0.1)
    raise SystemExit(f"not up after {START_S:.0f} s: {(state / 'out').read_text()[-2000:]}")


def who_is_who(pid: int, *, launcher: bool) -> dict[str, int]:
    """The supervisor's pid, and the launcher's."""
    if not launcher:
        return {"supervisor": pid}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"\0run\0" in Path(f"/proc/{child}/cmdline").read_bytes():
            return {"supervisor": int(child), "launcher": pid}
    raise SystemExit("the launcher has no supervisor")


def cpu_s(pid: int) -> float:
    """User and system time that a process has taken, threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous_kb(pid: int) -> int:
    """Anonymous resident memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise SystemExit("no smaps_rollup")


if __name__ == "__main__":
    raise SystemExit(main())
