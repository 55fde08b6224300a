"""The corpus on a real supervisor: every plan is started, checked and reconfigured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for
from tests.habitat.corpus import PLANS, PROGRAMS, plan_dirs

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
]

NEEDS = {"redis": "redis-server", "nginx": "nginx", "haproxy": "haproxy", "memcached": "memcached"}
"""Plans that run a program of the system."""
NAMES = [path.name for path in plan_dirs()]
HERE = [
    name
    for name in NAMES
    if name not in NEEDS or shutil.which(NEEDS[name], path="/usr/sbin:/usr/bin")
]
if "nginx" not in HERE and "haproxy" in HERE:
    HERE.remove("haproxy")  # it is bound to nginx
PORT_KEY = {"nginx": "http.listen.port", "haproxy": "front-end.port", "catalina": "server.port"}
CHANGED = {
    "nginx": 'text = "changed"',
    "redis": 'maxmemory = "48mb"',
    "haproxy": "maxconn = 48",
    "memcached": "memory = 32",
    "pgstore": "max_connections = 200",
    "catalina": '[[users]]\nname = "eve"\nroles = ["x"]',
    "registry": '[server]\ndatacenter = "dc2"',
    "burrow": '[limits]\ndisk = "60MB"',
    "tricky": 'greeting = "hi"',
    "keeper": "tick = 3000",
    "worker": None,
    "site": None,
    "metrics": 'interval = "30s"',
    "lockd": 'proto = "HTTPS"',
}
"""A change of configuration per plan; None where no template has one that the run hook lacks."""


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """A free port for each plan."""
    held = {name: socket.create_server(("127.0.0.1", 0)) for name in NAMES}
    found = {name: server.getsockname()[1] for name, server in held.items()}
    for server in held.values():
        server.close()
    return found


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Supervisor]:
    """One supervisor on which all plans that can run here are started."""
    place = tmp_path_factory.mktemp("habitat")
    if os.geteuid() == 0:  # services of other users have to get to their directories
        for directory in (place, place.parent, place.parent.parent):
            directory.chmod(0o755)
    map_file = place / "packages.toml"
    map_file.write_text(f'"test/serve" = "{PROGRAMS}"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUP_PACKAGES", str(map_file))
        for name in NAMES:
            key = PORT_KEY.get(name, "port")
            # Habitat's way: TOML, or JSON.
            toml = f"{key} = {ports[name]}"
            patch.setenv(
                f"HAB_{name.upper()}", toml if name != "keeper" else f'{{"port": {ports[name]}}}'
            )
        supervisor = Supervisor(
            place / "state", "--listen-gossip", "127.0.0.1:0", "--listen-http", "off"
        )
        with supervisors(supervisor):
            wait_for("the supervisor", lambda: supervisor.json("services"))
            for name in sorted(HERE, key=lambda name: name == "haproxy"):
                bind = ["--bind", "backend:nginx.default"] if name == "haproxy" else []
                done = supervisor.sup("start", str(PLANS / name), *bind)
                assert done.returncode == 0, f"{name}: {done.stderr}"
            yield supervisor


def _root(member: Supervisor, name: str) -> Path:
    return member.state_dir / "svc" / name


def _ran(member: Supervisor, name: str) -> list[str]:
    try:
        return (_root(member, name) / "var" / "hooks.log").read_text().split()
    except FileNotFoundError:
        return []


def _answer(port: int, say: bytes = b"") -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(say)
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while data := connection.recv(65536):
                found += data
            return found.decode()
    except OSError as error:
        return f"{error}"


@pytest.mark.parametrize("name", NAMES)
def test_plan_runs_and_its_hooks_are_executed(member: Supervisor, name: str) -> None:
    """The process is up, init ran before it, and health-check says that it is well."""
    if name not in HERE:
        pytest.skip(f"needs {NEEDS[name]}")
    wait_for(
        f"{name} is up and well",
        lambda: [
            found := member.service(name),
            found.get("process") == "up" and found.get("health") == "ok",
        ][1],
        30,
    )
    ran = _ran(member, name)
    assert ran[0] == "init"
    assert "health-check" in ran or name == "nginx"
    assert member.service(name)["restarts"] == 0


@pytest.mark.parametrize("name", [name for name in NAMES if CHANGED[name] is not None])
def test_plan_reconfigures_in_place(member: Supervisor, name: str) -> None:
    """A changed value is rendered and the reconfigure hook runs; the process stays the same."""
    if name not in HERE:
        pytest.skip(f"needs {NEEDS[name]}")
    wait_for(f"{name} is up", lambda: member.service(name).get("process") == "up", 30)
    before = member.service(name)["pid"]
    done = member.sup("config", "apply", f"{name}.default", "-", stdin=f"{CHANGED[name]}\n")
    assert done.returncode == 0, done.stderr
    wait_for(f"{name} was reconfigured", lambda: "reconfigure" in _ran(member, name))
    assert member.service(name)["pid"] == before


@pytest.mark.parametrize("name", ["redis", "pgstore", "keeper"])
def test_plan_suitability_hook_gives_its_number(member: Supervisor, name: str) -> None:
    """The hook as it was rendered, in the service's environment: its last line is an integer."""
    if name not in HERE:
        pytest.skip(f"needs {NEEDS[name]}")
    wait_for(f"{name} is up", lambda: member.service(name).get("health") == "ok", 30)
    root = _root(member, name)
    pid = json.loads((root / "process.json").read_text())["pid"]
    environment = dict(
        entry.split("=", 1)
        for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
        if "=" in entry
    )
    done = subprocess.run(
        [root / "hooks" / "suitability"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=10,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == {"redis": 0, "pgstore": 100, "keeper": 7}[name]
    assert "suitability" in _ran(member, name)


def test_plans_do_what_they_are_for(member: Supervisor, ports: dict[str, int]) -> None:
    """nginx answers, haproxy finds it through its bind, the environment of plans is there."""
    if "haproxy" in HERE:
        get = b"GET / HTTP/1.0\r\n\r\n"
        for name in ("nginx", "haproxy"):
            wait_for(
                f"an answer of nginx through {name}",
                lambda name=name: "from nginx.default" in _answer(ports[name], get),
                30,
            )
    assert "Connector" in _answer(ports["catalina"])
    log = (_root(member, "catalina") / "logs" / "catalina.log").read_text()
    assert f"Java of {PROGRAMS} with -Xms64m" in log
    assert "queue=none" in _answer(ports["worker"])
    assert "mode steady" in (_root(member, "worker") / "logs" / "worker.log").read_text()
    assert "Home & <Garden>" in _answer(ports["site"])
    assert "0.9.2-beta.1 test/tricky" in _answer(ports["tricky"])


def test_plan_stop_signal_is_the_plans(member: Supervisor) -> None:
    """pkg_shutdown_signal=USR1 ends the worker; post-run and post-stop ran once each."""
    wait_for("worker is up", lambda: member.service("worker").get("process") == "up", 30)
    wait_for("post-run", lambda: "post-run" in _ran(member, "worker"))
    assert member.sup("stop", "worker").returncode == 0
    wait_for("worker is down", lambda: member.service("worker").get("process") == "down")
    wait_for("post-stop", lambda: "post-stop" in _ran(member, "worker"))
    assert _ran(member, "worker").count("post-stop") == 1
    last = member.service("worker")["last_exit"]
    assert "code 0" in last or "0" in last or str(signal.SIGUSR1.name) in last


def test_plan_that_is_broken_is_refused_in_one_line(member: Supervisor, tmp_path: Path) -> None:
    """``sup start`` of a plan with a mistake: exit 2, the file and the line, nothing loaded."""
    (tmp_path / "plan.sh").write_text("pkg_name=broken\nif\n")
    started_s = time.monotonic()
    done = member.sup("start", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}/plan.sh:" in done.stderr
    assert "syntax error" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert time.monotonic() - started_s < 20
    assert member.service("broken") == {}


def test_plans_are_kept_for_a_restart_without_bash(member: Supervisor) -> None:
    """One small file per plan in the state directory."""
    kept = list((member.state_dir / "plans").iterdir())
    assert len(kept) >= len(HERE)
