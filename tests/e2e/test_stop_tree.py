"""``sup stop`` of a service that does all it can to stay: nothing of it is left, in time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

from sup.cli.client import Client
from sup.edge.process_tree import read_stat

pytestmark = pytest.mark.e2e

STOP_TIMEOUT_S = 1.0
MARGIN_S = 1.0
"""The bound of the issue: gone within the stop time-out and this."""
PLAN = """
[package]
name = "clinger"
[service]
command = ["{python}", "-I", "-S", "{script}"]
stop_timeout = {timeout}
"""
CLINGER = """
import os, signal, sys, time
here = os.path.dirname(os.path.abspath(__file__))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
STAY = "import os, signal, sys, time; signal.signal(15, signal.SIG_IGN);" \\
       "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
for name, environment in (("marked", dict(os.environ)), ("wiped", {})):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable,
                      [sys.executable, "-I", "-S", "-c", STAY, f"{here}/{name}"], environment)
        os._exit(0)
    os.wait()
if os.fork() == 0:
    open(f"{here}/child", "w").write(str(os.getpid()))
    time.sleep(600)
time.sleep(600)
"""


def cgroup2() -> str:
    """A cgroup2 mount that we may write to, or empty."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and os.access(before.split()[4], os.W_OK):
            return before.split()[4]
    return ""


@pytest.fixture(params=["cgroup", "proc", "no launcher"])
def variant(request: pytest.FixtureRequest) -> Iterator[tuple[list[str], list[str]]]:
    """How membership is known: (prefix of the command, options)."""
    if request.param != "cgroup":
        yield ["env", "SUP_CGROUP=off"], ["--no-launcher"] * (request.param == "no launcher")
        return
    if not cgroup2():
        pytest.skip("no cgroup v2 that we may write to")
    base = Path(cgroup2()) / f"suptest.{os.getpid()}"
    base.mkdir()
    try:
        yield ["env", f"SUP_CGROUP={base}"], []
    finally:
        for directory in sorted(base.rglob("*"), reverse=True):
            if directory.is_dir():
                directory.rmdir()
        base.rmdir()


def test_stop_leaves_no_process_of_a_service_that_clings(tmp_path, ports, variant):
    """Double-forked, in sessions of their own, deaf, one without environment: all gone in time."""
    prefix, options = variant
    package = tmp_path / "package"
    package.mkdir()
    script = tmp_path / "clinger.py"
    script.write_text(CLINGER)
    text = PLAN.format(python=sys.executable, script=script, timeout=STOP_TIMEOUT_S)
    (package / "plan.toml").write_text(text)
    one = Supervisor(
        tmp_path / "a",
        *("--listen-gossip", f"127.0.0.1:{ports[0]}", "--listen-http", "off", *options),
        str(package),
        prefix=prefix,
    )
    with supervisors(one):
        wait_for("up", lambda: one.service("clinger").get("process") == "up")
        files = [tmp_path / name for name in ("marked", "wiped", "child")]
        wait_for("all three", lambda: all(f.exists() and f.read_text() for f in files))
        pids = [int(file.read_text()) for file in files] + [one.service("clinger")["pid"]]
        assert all(read_stat(pid) for pid in pids)
        client = Client(one.state_dir / "control.sock")
        begun = time.monotonic()
        client.request("POST", "/v1/services/clinger/stop", timeout_s=20)
        wait_for("gone", lambda: all((s := read_stat(p)) is None or s.dead for p in pids))
        took = time.monotonic() - begun
        assert took <= STOP_TIMEOUT_S + MARGIN_S, f"{took:.2f} s"
        assert one.terminate() == 0
