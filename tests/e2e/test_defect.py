"""A defect of the supervisor itself must be loud, and must not touch the services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.supervisors import wait_for

pytestmark = pytest.mark.e2e

PROGRAM = """
import asyncio, sys
from pathlib import Path
from sup import supervisor
from sup.model.spec import Spec
from sup.options import SupervisorOptions

async def fails(self):
    while self.services.loaded["nap"].service.status().process != "up":
        await asyncio.sleep(0.05)
    print(self.services.loaded["nap"].service.status().pid, flush=True)
    raise RuntimeError("planted")

supervisor.Supervisor._follow_specs = fails
asyncio.run(supervisor.run(SupervisorOptions(
    state_dir=Path(sys.argv[1]),
    listen_gossip="127.0.0.1:0",
    listen_http=None,
    service=Spec(name="nap", command=["sleep", "3600"]),
)))
"""


def test_supervisor_loop_that_fails_ends_it_and_leaves_the_services(tmp_path):
    """A loop that raises ends the supervisor with that error; the service's process goes on."""
    # A process of its own: a supervisor makes its process the reaper of all orphans below it.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "state")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    pid = int(done.stdout)
    try:
        assert done.returncode == 1
        assert "RuntimeError: planted" in done.stderr
        assert b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    finally:
        os.killpg(pid, signal.SIGKILL)
    wait_for("its end", lambda: not Path(f"/proc/{pid}").exists())
