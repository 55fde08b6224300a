"""A liveness check that goes bad on every host at once: one host of three restarts at a time."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for
from tests.e2e.test_health import package, seen

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

WELL_AFTER_S = 2
PLAN = """
[package]
name = "web"
[service]
restart_min = 0.1
[service.health]
interval = 0.3
retry_interval = 0.3
[service.liveness]
interval = 0.3
retry_interval = 0.3
failures_before_critical = 2
"""
RUN = """
touch "$SUP_DATA_DIR/started"
date +%s.%N >> "$SUP_DATA_DIR/starts"
exec sleep 600"""
READY = f"""
test $(( $(date +%s) - $(stat -c %Y "$SUP_DATA_DIR/started") )) -ge {WELL_AFTER_S} || exit 2"""


def starts(member: Supervisor) -> list[float]:
    """When the service was started there, Unix seconds."""
    path = member.state_dir / "svc" / "web" / "data" / "starts"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def test_liveness_bad_everywhere_restarts_one_of_three_at_a_time(tmp_path: Path, ports: list[int]):
    """Each is restarted once, and none before the one ahead of it is ready again; who waits says
    why.
    """
    ill = tmp_path / "ill"
    alive = f'test ! -e {ill} || test "$SUP_DATA_DIR/started" -nt {ill} || exit 2'
    web = package(tmp_path / "web", PLAN, run=RUN, health_check=READY, liveness_check=alive)
    addresses = [f"127.0.0.1:{port}" for port in ports[:3]]
    members = tuple(
        Supervisor(
            tmp_path / f"h{i}",
            *(str(web), "--ring", "share", "--listen-http", "off", "--supervisor-name", f"h{i}"),
            *("--listen-gossip", address),
            *(arg for peer in addresses if peer != address for arg in ("--peer", peer)),
        )
        for i, address in enumerate(addresses)
    )
    with supervisors(*members):
        for member in members:
            wait_for("three members", lambda m=member: m.alive_members() == 3, 30)
            wait_for("web is ready", lambda m=member: m.service("web").get("ready"), 30)
        wait_for(
            "h0 sees three ok",
            lambda: (
                [m["health"] for m in (members[0].json("services") or {"services": []})["services"]]
                == ["ok"] * 3
            ),
        )
        ill.touch()
        wait_for(
            "one says why it waits",
            lambda: any("is withheld" in m.service("web").get("withheld", "") for m in members),
        )
        wait_for("all were restarted", lambda: all(len(starts(m)) == 2 for m in members), 90)
        for member in members:
            wait_for("web is ready", lambda m=member: m.service("web").get("ready"), 30)
        time.sleep(1.0)
        restarts = sorted(starts(m)[1] for m in members)
        gaps = [b - a for a, b in itertools.pairwise(restarts)]
        assert all(gap >= WELL_AFTER_S - 1 for gap in gaps), gaps
        assert [len(starts(m)) for m in members] == [2, 2, 2]
        assert seen(members[0])["restart"] == ""
