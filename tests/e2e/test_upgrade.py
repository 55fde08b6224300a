"""The launcher and the supervisor together, as an operator starts and upgrades them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

import sup

pytestmark = pytest.mark.e2e


def member(state_dir: Path, port: int, *args: str) -> Supervisor:
    return Supervisor(
        state_dir, "--listen-gossip", f"127.0.0.1:{port}", "--listen-http", "off", *args
    )


def up(one: Supervisor, name: str = "sleeper") -> int:
    row = wait_for("up", lambda: (r := one.service(name)).get("process") == "up" and r)
    return int(row["pid"])


def test_upgrade_keeps_the_services_and_says_from_and_to(tmp_path, ports):
    """Same process before and after, both halves are new, and its exit code is still seen."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(one):
        pid = up(one)
        before = one.launcher()
        done = one.sup("upgrade", timeout_s=90)
        assert done.returncode == 0, done.stderr
        assert f"supervisor {sup.__version__} -> {sup.__version__}" in done.stdout
        assert "1 services kept" in done.stdout
        after = one.launcher()
        assert after["pid"] == before["pid"] == one.pid
        assert after["supervisor_pid"] != before["supervisor_pid"]
        assert "launcher" in after["upgrade"]
        assert up(one) == pid
        os.kill(pid, signal.SIGUSR1)
        again = wait_for("again", lambda: (r := one.service("sleeper")).get("restarts") and r)
        assert "SIGUSR1" in again["last_exit"]
        assert one.terminate() == 0


def test_supervisor_killed_is_back_with_the_same_service_and_its_exit_code(tmp_path, ports):
    """Only the supervisor is killed: the launcher starts the next one at once."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(one):
        pid = up(one)
        first = one.launcher()["supervisor_pid"]
        os.kill(first, signal.SIGKILL)
        wait_for(
            "the next supervisor",
            lambda: (f := one.launcher())["supervisor"] == "up" and f["supervisor_pid"] != first,
        )
        assert up(one) == pid
        os.kill(pid, signal.SIGKILL)
        again = wait_for("again", lambda: (r := one.service("sleeper")).get("restarts") and r)
        assert "SIGKILL" in again["last_exit"]
        assert one.terminate() == 0


def test_launcher_killed_supervisor_becomes_the_launcher_and_the_service_stays(tmp_path, ports):
    """Without a service manager the supervisor takes the launcher's place by itself."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    next_one = 0
    with supervisors(one):
        try:
            pid = up(one)
            old = one.launcher()
            os.kill(old["pid"], signal.SIGKILL)
            facts = wait_for(
                "a new launcher", lambda: (f := one.launcher())["pid"] != old["pid"] and f
            )
            next_one = facts["pid"]
            assert next_one == old["supervisor_pid"]
            assert up(one) == pid
            assert one.sup("stop", "sleeper").returncode == 0
            wait_for("stopped", lambda: not Path(f"/proc/{pid}").exists())
        finally:
            if next_one:
                os.kill(next_one, signal.SIGTERM)
                wait_for("ended", lambda: not Path(f"/proc/{next_one}").exists(), 30)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the package, to be broken."""
    root = tmp_path / "release"
    shutil.copytree(
        Path(sup.__file__).parent,
        root / "sup",
        ignore=shutil.ignore_patterns("__pycache__", "examples", "*.pyx"),
    )
    return root


def of_release(root: Path, one: Supervisor) -> Supervisor:
    core = Path(sup.__file__).parents[2] / "core"
    one.prefix = ["env", f"PYTHONPATH={root}:{core}", "PYTHONDONTWRITEBYTECODE=1"]
    return one


def test_sighup_upgrades_like_the_command(tmp_path, ports):
    """`systemctl reload` is an upgrade: both halves are new, the service is the same."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(one):
        pid = up(one)
        before = one.launcher()
        os.kill(one.pid, signal.SIGHUP)
        wait_for(
            "new", lambda: (f := one.launcher())["starts"] == 2 and f["supervisor"] == "up", 30
        )
        assert one.launcher()["pid"] == before["pid"]
        assert up(one) == pid
        assert one.terminate() == 0


def test_upgrade_to_code_that_does_not_come_up_says_so_and_recovers(tmp_path, ports, release):
    """It loads and then fails: exit 1 with how it ended; mended, it comes up by itself."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(of_release(release, one)):
        pid = up(one)
        file = release / "sup" / "attach.py"
        good = file.read_text()
        line = "async def claim(launcher: LauncherHost, services: Services) -> None:\n"
        assert line in good
        file.write_text(good.replace(line, line + "    raise RuntimeError('half')\n"))
        done = one.sup("upgrade", timeout_s=90)
        assert done.returncode == 1, done.stderr
        assert "does not come up" in done.stderr
        assert Path(f"/proc/{pid}").exists()
        file.write_text(good)
        wait_for("up again", lambda: one.launcher()["supervisor"] == "up", 30)
        assert up(one) == pid
        assert one.terminate() == 0


def test_upgrade_of_code_that_does_not_load_is_refused(tmp_path, ports, release):
    """A broken release changes nothing: the old supervisor goes on and says what is wrong."""
    root = release
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(of_release(release, one)):
        pid = up(one)
        before = one.launcher()["supervisor_pid"]
        (root / "sup" / "service.py").write_text("raise RuntimeError('half a release')\n")
        done = one.sup("upgrade", timeout_s=90)
        assert done.returncode == 1
        assert "half a release" in done.stderr
        assert one.launcher()["supervisor_pid"] == before
        assert up(one) == pid
        assert one.terminate() == 0


def test_upgrade_without_a_launcher_is_refused(tmp_path, ports):
    """There is nobody who could hold the services meanwhile; exit 4 and what to do."""
    one = member(tmp_path / "a", ports[0], "--no-launcher")
    with supervisors(one):
        wait_for("up", lambda: one.alive_members() == 1)
        done = one.sup("upgrade")
        assert done.returncode == 4
        assert "without a launcher" in done.stderr
        assert one.terminate() == 0
