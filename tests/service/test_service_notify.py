"""Readiness, STATUS and the watchdog of real processes over NOTIFY_SOCKET."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.conftest import Workshop, until

from sup.edge.process_tree import find_marked, kill_marked
from sup.edge.service_dir import mark_prefix
from sup.model.backoff import Backoff
from sup.service import Service

SAY = """
import os, socket, sys, time
def say(*lines):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto("\\n".join(lines).encode(), os.environ["NOTIFY_SOCKET"])
def wait_for(name):
    while not os.path.exists(os.path.join(os.environ["SUP_DATA_DIR"], name)):
        time.sleep(0.02)
"""


@pytest.fixture
async def shop() -> AsyncIterator[Workshop]:
    """A workshop below a short path: the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sup") as directory:
        workshop = Workshop(Path(directory))
        yield workshop
        for service in workshop.services:
            await service.stop()
        prefix = mark_prefix(workshop.paths)
        left = find_marked(prefix)
        kill_marked(prefix)
        assert left == []


def speaker(workshop: Workshop, plan: str, body: str) -> None:
    """A package whose program speaks as ``body`` says."""
    workshop.package(plan=f"[service]\n{plan}", hooks__run="")
    program = workshop.package_dir / "hooks" / "run"
    program.write_text(f"#!/usr/bin/env python3\n{SAY}\n{body}\n")


def is_in(service: Service, state: str) -> bool:
    """Whether the process is in ``state``."""
    return service.status().process == state


async def test_notify_service_is_starting_until_it_says_ready(shop: Workshop) -> None:
    """The process is there, and the service is not up before READY=1; STATUS is shown."""
    speaker(
        shop,
        'type = "notify"',
        'say("STATUS=loads"); wait_for("go"); say("READY=1", "STATUS=serves"); time.sleep(60)',
    )
    service = shop.up()
    await until(lambda: service.status().said == "loads")
    status = service.status()
    assert status.process == "starting"
    assert status.pid is not None
    assert not status.started
    assert "READY=1" in status.reason
    assert service.standing.meets("started")
    assert not service.standing.meets("ready")
    restart = asyncio.create_task(service.restart())
    await asyncio.sleep(0.1)
    assert not restart.done()  # answered when the new process is ready
    (shop.paths.data / "go").touch()
    await asyncio.wait_for(restart, 15)
    assert is_in(service, "up")
    assert service.status().said == "serves"
    assert service.standing.meets("ready")


async def test_notify_service_that_is_never_ready_times_out(shop: Workshop) -> None:
    """start_timeout: stopped, counted as a failure, cause timeout."""
    speaker(shop, 'type = "notify"\nstart_timeout = 0.5', "time.sleep(60)")
    service = shop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: is_in(service, "backoff"))
    status = service.status()
    assert status.cause == "timeout"
    assert "no READY=1 within 0.5 s" in status.reason
    assert status.tally.total == 1


async def test_notify_extend_timeout_gives_more_time(shop: Workshop) -> None:
    """EXTEND_TIMEOUT_USEC pushes the deadline away from the moment it is said."""
    speaker(
        shop,
        'type = "notify"\nstart_timeout = 1.5',
        'say("EXTEND_TIMEOUT_USEC=20000000"); time.sleep(2.5); say("READY=1"); time.sleep(60)',
    )
    service = shop.up()
    await until(lambda: is_in(service, "up"))
    assert service.status().restarts == 0


async def test_notify_service_that_exits_before_ready_is_a_failure_of_its_own_cause(
    shop: Workshop,
) -> None:
    """An exit while starting is judged as any exit."""
    speaker(shop, 'type = "notify"', "sys.exit(4)")
    service = shop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: is_in(service, "backoff"))
    assert (service.status().cause, service.status().last_exit) == ("exit", "code 4")


async def test_watchdog_silent_service_gets_its_signal_and_is_started_again(
    shop: Workshop,
) -> None:
    """WATCHDOG_USEC is told; who falls silent is ended with ABRT, cause watchdog."""
    speaker(
        shop,
        "watchdog = 0.6",
        'assert os.environ["WATCHDOG_USEC"] == "600000"\n'
        'while not os.path.exists(os.environ["SUP_DATA_DIR"] + "/hang"):\n'
        '    say("WATCHDOG=1"); time.sleep(0.1)\n'
        "time.sleep(60)",
    )
    service = shop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: is_in(service, "up"))
    await asyncio.sleep(1.5)
    assert service.status().restarts == 0
    assert is_in(service, "up")
    (shop.paths.data / "hang").touch()
    await until(lambda: is_in(service, "backoff"))
    status = service.status()
    assert status.cause == "watchdog"
    assert "SIGABRT" in status.last_exit
    assert "no WATCHDOG=1 for 0.6 s" in status.reason


async def test_watchdog_trigger_acts_at_once(shop: Workshop) -> None:
    """WATCHDOG=trigger: the service itself says that it is broken."""
    speaker(
        shop,
        'watchdog = 60\ntype = "notify"',
        'say("READY=1"); wait_for("go"); say("WATCHDOG=trigger"); time.sleep(60)',
    )
    service = shop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: is_in(service, "up"))
    (shop.paths.data / "go").touch()
    await until(lambda: is_in(service, "backoff"))
    assert service.status().cause == "watchdog"


async def test_notify_adopted_service_goes_on_speaking_to_the_next_supervisor(
    shop: Workshop,
) -> None:
    """The socket has the same name again; what works is not ended for what was said before."""
    speaker(
        shop,
        'type = "notify"\nstart_timeout = 1',
        'say("READY=1")\nfor n in range(3000):\n'
        '    time.sleep(0.02)\n    try: say(f"STATUS=n {n}")\n    except OSError: pass',
    )
    first = shop.up()
    await until(lambda: is_in(first, "up"))
    pid = first.status().pid
    await first.detach()
    second = shop.up()
    await until(lambda: is_in(second, "up"))
    await until(lambda: second.status().said.startswith("n "))
    await asyncio.sleep(1.2)
    assert second.status().pid == pid
    assert is_in(second, "up")
