"""The log of a service that counts, while supervisors and launchers are killed around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.supervisors import SUP, Supervisor, supervisors, wait_for

pytestmark = pytest.mark.e2e

COUNTER = "sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.005; done'"


def member(state_dir: Path, gossip: int, http: int, *args: str) -> Supervisor:
    return Supervisor(
        state_dir,
        *("--listen-gossip", f"127.0.0.1:{gossip}", "--listen-http", f"127.0.0.1:{http}"),
        *("--supervisor-name", state_dir.name, *args),
    )


def counted(state_dir: Path) -> list[int]:
    """The numbers in the log, in order."""
    logs = state_dir / "svc/counter/logs"
    found = sorted(logs.glob("counter.log.*"), key=lambda path: -int(path.suffix[1:]))
    data = "".join(path.read_text() for path in [*found, logs / "counter.log"])
    return [int(line[28:]) for line in data.splitlines() if line[28:]]


def test_counter_is_logged_whole_while_all_around_it_is_killed(
    tmp_path: Path, ports: list[int]
) -> None:
    """Same pid, every number once and in order; who follows sees them all, too."""
    one = member(tmp_path / "a", ports[0], ports[1], "--exec", COUNTER, "--name", "counter")
    with supervisors(one):
        wait_for("up", lambda: one.service("counter").get("process") == "up")
        pid = one.service("counter")["pid"]
        following = subprocess.Popen(
            [*SUP, "logs", "-f", "-n", "1000", "--json", "counter", "--state-dir", one.state_dir],
            stdout=subprocess.PIPE,
        )
        assert following.stdout is not None
        try:
            first = following.stdout.readline()  # it is connected
            for _ in range(3):
                killed = one.launcher()["supervisor_pid"]
                os.kill(killed, signal.SIGKILL)
                wait_for(
                    "adopted",
                    lambda killed=killed: (
                        one.launcher().get("supervisor_pid") != killed
                        and one.service("counter").get("process") == "up"
                    ),
                )
            one.kill()
            time.sleep(0.5)
            before = len(counted(one.state_dir))
            one.start()
            wait_for("adopted", lambda: one.service("counter").get("process") == "up")
            assert one.service("counter")["pid"] == pid
            wait_for("more lines", lambda: len(counted(one.state_dir)) > before + 50)
            counts = wait_for("counts", lambda: one.service("counter").get("log"))
            assert counts["lines"] > 0
            assert counts["dropped_lines"] == 0
            assert one.sup("stop", "counter").returncode == 0
            numbers = counted(one.state_dir)
            assert numbers == list(range(len(numbers)))
            rest = [following.stdout.readline() for _ in range(len(numbers) - 1)]
            seen = [json.loads(line)["text"] for line in [first, *rest]]
            assert seen == [str(number) for number in numbers]
        finally:
            following.kill()
            following.communicate()


def test_logs_of_another_member_come_through_the_ring(tmp_path: Path, ports: list[int]) -> None:
    """``--member`` finds the other's HTTP address in what it gossips."""
    seed = f"127.0.0.1:{ports[0]}"
    a = member(tmp_path / "a", ports[0], ports[1])
    b = member(
        tmp_path / "b", ports[2], ports[3], "--peer", seed, "--exec", COUNTER, "--name", "counter"
    )
    with supervisors(a, b):
        wait_for("two members", lambda: a.alive_members() == 2, 20)
        done = wait_for(
            "lines of b",
            lambda: (d := a.sup("logs", "-n", "3", "--member", "b", "counter")).stdout and d,
            20,
        )
        numbers = [int(line[28:]) for line in done.stdout.splitlines()]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        assert "no service" in a.sup("logs", "counter").stderr
