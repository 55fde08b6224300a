"""Health over the ring: two supervisors on this host, one service, and a file that makes it ill."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

THRESHOLD = 2
INTERVAL_S = 1.0
MARGIN_S = 1.5
"""From the last failing check to the remote supervisor's answer."""

PLAN = f"""
[package]
name = "web"
[service.health]
interval = {INTERVAL_S}
retry_interval = {INTERVAL_S}
timeout = 1
failures_before_critical = {THRESHOLD}
"""


def package(directory: Path, plan: str, **hooks: str) -> Path:
    """A package directory with these hooks, ``_`` for ``-`` in their names."""
    (directory / "hooks").mkdir(parents=True)
    (directory / "plan.toml").write_text(plan)
    for name, text in hooks.items():
        hook = directory / "hooks" / name.replace("_", "-")
        hook.write_text(f"#!/bin/sh\n{text}\n")
        hook.chmod(0o755)
    return directory


def pair(tmp_path: Path, ports: list[int], package_dir: Path) -> tuple[Supervisor, Supervisor]:
    """Two supervisors of one ring; the first runs the service."""
    here, there = (f"127.0.0.1:{port}" for port in ports[:2])
    common = ("--ring", "health", "--listen-http", "off")
    a = Supervisor(
        tmp_path / "a",
        *(str(package_dir), *common, "--supervisor-name", "a", "--listen-gossip", here),
    )
    b = Supervisor(
        tmp_path / "b",
        *(*common, "--supervisor-name", "b", "--listen-gossip", there, "--peer", here),
    )
    return a, b


def seen(member: Supervisor, service: str = "web") -> dict[str, Any]:
    """What ``sup services`` says there of the service."""
    answer = member.json("services") or {"services": []}
    return next((s for s in answer["services"] if s["service"] == service), {})


@pytest.mark.timeout(180)
def test_health_critical_is_seen_remotely_in_time_with_output_and_age(tmp_path, ports):
    """From ok to critical within threshold x interval + 1.5 s on the other supervisor, and back;
    of a supervisor that is dead, the health is unknown.
    """
    ill = tmp_path / "ill"
    check = f"if test -e {ill}; then echo it hurts; exit 2; fi; echo fine"
    web = package(tmp_path / "web", PLAN, run="exec sleep 600", health_check=check)
    a, b = pair(tmp_path, ports, web)
    with supervisors(a, b):
        wait_for("b sees web ok", lambda: seen(b).get("health") == "ok", 30)
        for _ in range(2):
            ill.touch()
            begun_s = time.monotonic()
            wait_for("b sees web critical", lambda: seen(b).get("health") == "critical")
            took_s = time.monotonic() - begun_s
            bound_s = THRESHOLD * INTERVAL_S + MARGIN_S
            assert took_s <= bound_s + 1.0, f"{took_s:.1f} s; 1 s of it for the question itself"
            row = seen(b)
            assert row["output"].strip() == "it hurts"
            assert abs(time.time() - row["health_since_s"]) < 10
            assert not row["ready"]
            assert "it hurts" in b.sup("services", "--unhealthy").stdout
            ill.unlink()
            wait_for("b sees web ok again", lambda: seen(b).get("health") == "ok")
        a.kill()
        wait_for("b takes a for dead", lambda: seen(b).get("state") == "dead", 60)
        assert seen(b)["health"] == "unknown"


def test_maintenance_is_seen_remotely_and_survives_kill_of_the_supervisor(tmp_path, ports):
    """In the rumor, not ready, exit code 1; after SIGKILL the next supervisor still knows."""
    a, b = pair(tmp_path, ports, package(tmp_path / "web", PLAN, run="exec sleep 600"))
    with supervisors(a, b):
        wait_for("b sees web ok", lambda: seen(b).get("health") == "ok", 30)
        assert a.sup("health", "web").returncode == 0
        done = a.sup("maintenance", "on", "web", "--reason", "new disk", "--for", "1h")
        assert done.returncode == 0, done.stderr
        wait_for("b sees the reason", lambda: seen(b).get("maintenance") == "new disk")
        assert (seen(b)["health"], seen(b)["ready"]) == ("ok", False)
        assert a.sup("health", "web").returncode == 1
        assert "new disk" in a.sup("status").stdout
        pid = a.service("web")["pid"]
        a.kill()
        a.args = ("--ring", "health", "--listen-http", "off", *a.args[-4:])
        a.start()
        wait_for("a is back", lambda: a.service("web").get("pid") == pid)
        listed = (a.json("maintenance", "list") or {})["maintenance"]
        assert [(m["service"], m["reason"]) for m in listed] == [("web", "new disk")]
        assert 3400 < listed[0]["left_s"] <= 3600
        assert a.sup("maintenance", "off", "web").returncode == 0
        wait_for("b sees web ready", lambda: seen(b).get("ready"))


TTL = (
    PLAN[: PLAN.index("[service.health]")]
    + """
[service]
{user}
[service.health]
kind = "ttl"
interval = 1.5
"""
)
RENEW = """
import json, os, socket, time
body = json.dumps({"status": "ok", "output": "pulse"})
while not os.path.exists(os.environ["SUP_DATA_DIR"] + "/quiet"):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.environ["SUP_SOCKET"])
        head = f"PUT /v1/services/web/health/ttl HTTP/1.1\\r\\nContent-Length: {len(body)}"
        sock.sendall(f"{head}\\r\\n\\r\\n{body}".encode())
        sock.recv(99)
    time.sleep(0.3)
time.sleep(600)
"""


def test_ttl_reported_from_inside_the_service_holds_until_it_is_silent(tmp_path, ports):
    """It renews its state over SUP_SOCKET; silent, it is critical; an operator may say it too."""
    script = tmp_path / "renew.py"
    script.write_text(RENEW)
    run = f"exec {sys.executable} -I {script}"
    a, _ = pair(tmp_path, ports, package(tmp_path / "web", TTL.format(user=""), run=run))
    with supervisors(a):
        wait_for("web ok", lambda: a.service("web").get("health") == "ok", 20)
        assert a.service("web")["output"] == "pulse"
        (tmp_path / "a" / "svc" / "web" / "data" / "quiet").touch()
        wait_for("web critical", lambda: a.service("web").get("health") == "critical")
        assert a.service("web")["output"] == "no report within 1.5 s"
        told = a.sup("health", "web", "--set", "warning", "--output", "by hand")
        assert told.returncode == 0, told.stderr
        wait_for("web warning", lambda: a.service("web").get("health") == "warning")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run a service as another user")
def test_report_socket_answers_the_services_own_user_alone(ports):
    """Reports of its user are taken, on it alone; nothing else is, and others hear nothing."""
    nobody = pwd.getpwnam("nobody").pw_uid
    directory = Path(tempfile.mkdtemp(prefix="sup-test-"))
    directory.chmod(0o755)
    sock = directory / "a" / "report.sock"
    report = _request("PUT", "/v1/services/web/health/ttl", b'{"status": "ok"}')
    try:
        plan = TTL.format(user='user = "nobody"')
        a, _ = pair(directory, ports, package(directory / "web", plan, run="exec sleep 600"))
        with supervisors(a):
            wait_for("web up", lambda: a.service("web").get("process") == "up", 20)
            assert b" 200 " in _ask(sock, report, nobody)
            wait_for("web ok", lambda: a.service("web").get("health") == "ok")
            assert b" 403 " in _ask(sock, _request("POST", "/v1/shutdown"), nobody)
            assert b" 403 " in _ask(sock, _request("POST", "/v1/shutdown"))
            assert _ask(sock, report, 12345) == b""
            started = a.sup("start", "--exec", "sleep 600", "--name", "other")
            assert started.returncode == 0, started.stderr
            other = report.replace(b"/web/", b"/other/")
            assert b" 403 " in _ask(sock, other, nobody)
    finally:
        shutil.rmtree(directory)


def _request(method: str, path: str, body: bytes = b"") -> bytes:
    return b"%s %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (
        *(method.encode(), path.encode(), len(body)),
        body,
    )


def _ask(path: Path, request: bytes, uid: int | None = None) -> bytes:
    """What the socket answers to a user."""
    program = (
        "import socket, sys, os\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(5)\n"
        "if sys.argv[2]:\n"
        "  uid = int(sys.argv[2]); os.setgroups([]); os.setgid(uid); os.setuid(uid)\n"
        "s.connect(sys.argv[1])\n"
        "try: s.sendall(sys.stdin.buffer.read()); sys.stdout.buffer.write(s.recv(4096))\n"
        "except OSError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), "" if uid is None else str(uid)],
        input=request,
        capture_output=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_supervisor_that_was_stopped_blames_no_service(tmp_path, ports):
    """SIGSTOP of the supervisor for longer than a check's time-out, in the middle of a check."""
    plan = PLAN.replace(f"failures_before_critical = {THRESHOLD}", "failures_before_critical = 1")
    begun = tmp_path / "begun"
    slow = f"echo >> {begun}; sleep 0.4"
    web = package(tmp_path / "web", plan, run="exec sleep 600", health_check=slow)
    a, _ = pair(tmp_path, ports, web)
    with supervisors(a):
        wait_for("web ok", lambda: a.service("web").get("health") == "ok", 20)
        since_s = a.service("web")["health_since_s"]
        for _ in range(2):
            count = begun.stat().st_size
            wait_for("a check runs", lambda count=count: begun.stat().st_size > count)
            supervisor = int(a.launcher().get("supervisor_pid") or a.pid)
            os.kill(supervisor, signal.SIGSTOP)
            time.sleep(3.0)
            os.kill(supervisor, signal.SIGCONT)
            time.sleep(1.5)
            row = a.service("web")
            assert (row["health"], row["health_since_s"]) == ("ok", since_s)
        answer = json.loads(a.sup("health", "web", "--json").stdout)
        results = answer["checks"]["readiness"]["results"]
        assert all(r["counted"] or r["health"] == "critical" for r in results)
        assert results[-1]["counted"]
