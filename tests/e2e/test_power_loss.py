"""The power-loss model, a whole supervisor: every file of its state directory cut at a random byte,
and it starts, says what is damaged, and runs what it is told to.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_supervisor_starts_with_every_state_file_cut_at_a_random_byte(
    tmp_path: Path, ports: list[int], seed: int
) -> None:
    """It is a new member at worst; the old process is replaced or adopted, never doubled."""
    rng = random.Random(seed)
    state = tmp_path / "a"
    one = Supervisor(
        state,
        *("--listen-gossip", f"127.0.0.1:{ports[0]}", "--listen-http", "off", "--no-launcher"),
        *("--exec", "sleep 3600", "--name", "sleeper"),
    )
    with supervisors(one):
        wait_for("up", lambda: one.service("sleeper").get("process") == "up")
        one.kill()
        cut = 0
        for path in sorted(state.rglob("*")):
            if path.is_file() and path.name != "lock":
                data = path.read_bytes()
                path.write_bytes(data[: rng.randrange(len(data))] if data else b"")
                cut += 1
        assert cut >= 8
        one.start()
        again = wait_for(
            "up again",
            lambda: (s := one.service("sleeper")).get("process") in ("up", "adopted") and s,
            30,
        )
        marked = [
            pid
            for pid in Path("/proc").iterdir()
            if pid.name.isdigit() and _runs_sleeper(pid, state)
        ]
        assert [int(pid.name) for pid in marked] == [again["pid"]]
        warnings = (one.json("status") or {})["warnings"]
        assert any("damaged" in line or "cut off" in line for line in warnings)


def _runs_sleeper(pid: Path, state: Path) -> bool:
    """Whether it is the service's own process, by its directory."""
    try:
        words = (pid / "cmdline").read_bytes().split(b"\0")
        return words[:2] == [b"sleep", b"3600"] and (pid / "cwd").readlink().is_relative_to(state)
    except OSError:
        return False
