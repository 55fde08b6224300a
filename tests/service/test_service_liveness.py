"""Startup, liveness and checks that hang, with real processes."""

from __future__ import annotations

import asyncio

from tests.service.conftest import Workshop, until

from sup.builtin.exec_check import ExecCheck
from sup.edge.process_tree import find_marked
from sup.edge.service_dir import mark_prefix
from sup.model.health import Health

PLAN = """
[service.health]
interval = 0.1
retry_interval = 0.1
"""
LIVENESS = """
[service.liveness]
interval = 0.05
retry_interval = 0.05
failures_before_critical = 2
"""
CHECKS = {"startup": ExecCheck(), "liveness": ExecCheck()}


async def test_liveness_failed_restarts_with_the_reason_and_backoff(workshop: Workshop) -> None:
    """A new process, not at once, and the status says why; readiness alone restarts nothing."""
    workshop.package(
        PLAN + LIVENESS,
        hooks__run="exec sleep 600",
        hooks__health_check='test ! -e "$SUP_DATA_DIR/unready" || exit 2',
        hooks__liveness_check='test ! -e "$SUP_DATA_DIR/dead" || { echo no pulse; exit 2; }',
    )
    service = workshop.up(probe_checks=CHECKS)
    await until(lambda: service.status().ready)
    first = service.status().pid
    (workshop.paths.data / "unready").touch()
    await until(lambda: service.status().health is Health.CRITICAL)
    await asyncio.sleep(0.5)
    assert service.status().pid == first
    (workshop.paths.data / "unready").unlink()
    (workshop.paths.data / "dead").touch()
    words = "liveness check failed 2 times in a row: no pulse"
    await until(lambda: words in service.status().reason)
    await until(lambda: service.status().pid not in (None, first))
    (workshop.paths.data / "dead").unlink()
    await until(lambda: service.status().ready)
    assert service.status().restarts >= 1


async def test_startup_check_holds_readiness_back(workshop: Workshop) -> None:
    """Not ready and not asked until it passes; the health-check hook serves when it has none."""
    workshop.package(
        PLAN + "[service.startup]\ninterval = 0.05\nretry_interval = 0.05\n",
        hooks__run="exec sleep 600",
        hooks__startup_check='echo >> "$SUP_DATA_DIR/asked"; test -e "$SUP_DATA_DIR/up" || exit 2',
        hooks__health_check='echo >> "$SUP_DATA_DIR/checked"',
    )
    service = workshop.up(probe_checks=CHECKS)
    await until(lambda: len(workshop.lines("asked")) >= 3)
    assert (service.status().ready, workshop.lines("checked")) == (False, [])
    assert service.status().health is Health.UNKNOWN
    (workshop.paths.data / "up").touch()
    await until(lambda: service.status().ready)
    asked = len(workshop.lines("asked"))
    await until(lambda: len(workshop.lines("checked")) >= 3)
    assert len(workshop.lines("asked")) == asked


async def test_check_that_hangs_is_killed_with_all_its_children(workshop: Workshop) -> None:
    """Children that ignore TERM, in sessions of their own, twice forked: none is left."""
    workshop.package(
        "[service.health]\ninterval = 0.1\ntimeout = 0.5\n",
        hooks__run="exec sleep 600",
        hooks__health_check="""
trap '' TERM
(setsid sh -c 'trap "" TERM; sleep 600 & sleep 600' &) &
setsid sleep 600 &
sleep 600""",
    )
    service = workshop.up(health_interval=None)
    await until(lambda: service.status().health is Health.CRITICAL)
    assert "timed out after" in service.status().output
    prefix = mark_prefix(workshop.paths)
    pid = service.status().pid
    await until(lambda: len(find_marked(prefix)) > 4)
    # Between two checks only the service itself is there.
    await until(lambda: [found.pid for found in find_marked(prefix)] == [pid])


async def test_status_of_a_service_in_maintenance_says_so(workshop: Workshop) -> None:
    """It runs on, is checked, and is not ready."""
    service = workshop.up(["sleep", "600"])
    await until(lambda: service.status().ready)
    pid = service.status().pid
    service.health.set_maintenance("vacuum")
    status = service.status()
    assert (status.ready, status.maintenance, status.pid) == (False, "vacuum", pid)
    assert status.health is Health.OK
    service.health.set_maintenance("")
    assert service.status().ready
