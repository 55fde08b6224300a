"""The main job with the real thing: three hosts, one Redis each, configured from anywhere, for
good.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.netns import Hosts, unavailable
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

REDIS_PACKAGE = Path(__file__).parents[2] / "examples" / "redis"
APPLIED_WITHIN_S = 3.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        shutil.which("redis-server") is None, reason="needs redis-server (Debian: redis-server)"
    ),
]


@pytest.fixture
def hosts():
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    with Hosts(3) as hosts:
        yield hosts


def maxmemory(hosts: Hosts, index: int) -> str:
    done = subprocess.run(
        hosts.command(index, "redis-cli", "CONFIG", "GET", "maxmemory"),
        capture_output=True,
        text=True,
    )
    lines = done.stdout.split()
    return lines[1] if len(lines) == 2 else done.stdout + done.stderr


def apply(member: Supervisor, megabytes: int) -> None:
    done = member.sup(
        "config", "apply", "redis.default", "-", stdin=f'maxmemory = "{megabytes}mb"\n'
    )
    assert done.returncode == 0, done.stderr


def test_redis_group_config_apply_reaches_all_survives_and_reaches_the_absent(hosts, tmp_path):
    """An apply on any member is on all within 3 s, outlives all supervisors, and waits for the
    absent.
    """
    members = tuple(
        Supervisor(
            tmp_path / f"h{i}",
            str(REDIS_PACKAGE),
            *("--ring", "e2e", "--supervisor-name", f"h{i}", "--listen-gossip", f"{address}:9638"),
            *(arg for peer in hosts.addresses if peer != address for arg in ("--peer", peer)),
            prefix=hosts.command(i),
        )
        for i, address in enumerate(hosts.addresses)
    )

    def everywhere(megabytes: int, who: tuple[int, ...] = (0, 1, 2)) -> bool:
        return all(maxmemory(hosts, i) == str(megabytes << 20) for i in who)

    with supervisors(*members):
        for i, member in enumerate(members):
            wait_for(f"h{i} sees three members", lambda m=member: m.alive_members() == 3, 30)
            wait_for(f"redis on h{i}", lambda i=i: maxmemory(hosts, i) == str(64 << 20))

        for i, member in enumerate(members):
            apply(member, 70 + i)
            wait_for(
                f"{70 + i}mb from h{i} everywhere", lambda i=i: everywhere(70 + i), APPLIED_WITHIN_S
            )

        pids = [member.service("redis")["pid"] for member in members]
        for member in members:
            member.kill()
        for member in members:
            member.start()
        for i, member in enumerate(members):
            wait_for(f"h{i} back", lambda m=member: m.alive_members() == 3, 30)
            wait_for(
                f"h{i} shows the value", lambda m=member: config_of(m).get("maxmemory") == "72mb"
            )
        assert everywhere(72)
        assert [member.service("redis")["pid"] for member in members] == pids, (
            "services were adopted"
        )

        assert members[2].terminate() == 0
        wait_for("redis on h2 is gone", lambda: "refused" in maxmemory(hosts, 2))
        apply(members[0], 99)
        wait_for("the others have it", lambda: everywhere(99, (0, 1)), APPLIED_WITHIN_S)
        members[2].start()
        wait_for("the one that was down has it on return", lambda: everywhere(99), 20)


def config_of(member: Supervisor) -> dict[str, object]:
    answer = member.json("config", "show", "redis.default") or {}
    return answer.get("config", {})
