"""A whole ``sup run`` under a service manager that this test plays."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

pytestmark = pytest.mark.e2e


def test_watchdog_is_fed_by_the_turning_loop_and_a_hung_supervisor_is_replaced(tmp_path, ports):
    """READY, WATCHDOG while the loop turns, none while it is stopped, and READY of the next one."""
    path = str(tmp_path / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)

        def hear(word: str) -> float:
            while word not in manager.recv(4096).decode():
                pass
            return time.monotonic()

        one = Supervisor(
            tmp_path / "a",
            *("--listen-gossip", f"127.0.0.1:{ports[0]}", "--listen-http", "off"),
            *("--exec", "sleep 3600", "--name", "sleeper"),
            prefix=["env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=6000000"],
        )
        with supervisors(one):
            hear("READY=1")
            assert hear("WATCHDOG=1") < hear("WATCHDOG=1")
            row = wait_for("up", lambda: (r := one.service("sleeper")).get("process") == "up" and r)
            stopped = one.launcher()["supervisor_pid"]
            os.kill(stopped, signal.SIGSTOP)
            try:
                hear("READY=1")
            finally:
                with_it = one.launcher()["supervisor_pid"]
                if with_it == stopped:
                    os.kill(stopped, signal.SIGCONT)
            hear("WATCHDOG=1")
            assert wait_for("the same", lambda: one.service("sleeper").get("pid")) == row["pid"]
            assert one.terminate() == 0
            hear("STOPPING=1")
