"""Supervisors and services as real processes: start, death, adoption, clean end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

pytestmark = pytest.mark.e2e


def member(state_dir: Path, port: int, *args: str) -> Supervisor:
    return Supervisor(
        state_dir, "--listen-gossip", f"127.0.0.1:{port}", "--listen-http", "off", *args
    )


def test_run_exec_restarts_what_dies_and_stops_it_with_itself(tmp_path, ports):
    """A wrapped command is restarted after SIGKILL and gone after SIGTERM of the supervisor."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(one):
        wait_for("up", lambda: one.service("sleeper").get("process") == "up")
        first = one.service("sleeper")["pid"]
        os.kill(first, signal.SIGKILL)
        again = wait_for(
            "restarted",
            lambda: (
                (s := one.service("sleeper")).get("process") == "up" and s["pid"] != first and s
            ),
            20,
        )
        assert again["restarts"] == 1
        assert "KILL" in again["last_exit"]
        assert one.terminate() == 0
        assert not Path(f"/proc/{again['pid']}").exists()


def test_supervisor_killed_leaves_the_service_and_its_successor_adopts_it(tmp_path, ports):
    """SIGKILL of the supervisor touches no service; the next one manages the same process."""
    one = member(tmp_path / "a", ports[0], "--exec", "sleep 3600", "--name", "sleeper")
    with supervisors(one):
        wait_for("up", lambda: one.service("sleeper").get("process") == "up")
        pid = one.service("sleeper")["pid"]
        one.kill()
        assert Path(f"/proc/{pid}").exists()
        one.start()
        wait_for("adopted", lambda: one.service("sleeper").get("pid") == pid)
        stopped = one.sup("stop", "sleeper")
        assert stopped.returncode == 0, stopped.stderr
        wait_for("stopped", lambda: not Path(f"/proc/{pid}").exists())
        assert one.service("sleeper")["process"] == "down"
        started = one.sup("start", "sleeper")
        assert started.returncode == 0, started.stderr
        wait_for("up again", lambda: one.service("sleeper").get("process") == "up")


def test_ring_sees_the_dead_the_left_and_the_departed(tmp_path, ports):
    """SIGKILL is seen as dead, SIGTERM as left, and `sup depart` makes a dead one left for all."""
    seed = f"127.0.0.1:{ports[0]}"
    a, b, c = (
        member(tmp_path / name, port, "--supervisor-name", name, "--peer", seed)
        for name, port in zip("abc", ports, strict=False)
    )

    def state(who: Supervisor, name: str) -> str:
        rows = (who.json("members") or {"members": []})["members"]
        return next((row["state"] for row in rows if row["name"] == name), "absent")

    with supervisors(a, b, c):
        for one in (a, b, c):
            wait_for("three members", lambda one=one: one.alive_members() == 3, 20)
        assert c.terminate() == 0
        for one in (a, b):
            wait_for("c left", lambda one=one: state(one, "c") == "left", 5)
        b.kill()
        wait_for("b dead", lambda: state(a, "b") == "dead", 20)
        done = a.sup("depart", "b")
        assert done.returncode == 0, done.stderr
        assert state(a, "b") == "left"
        b.start()
        wait_for("b is back by its own restart", lambda: state(a, "b") == "alive", 20)
        wait_for("b itself agrees", lambda: b.alive_members() == 2, 20)


def test_spec_file_edited_by_hand_is_as_good_as_the_command(tmp_path, ports):
    """A spec file that appears is loaded, edited is acted on, half-edited is ignored, gone is
    gone.
    """
    one = member(tmp_path / "a", ports[0])
    spec = tmp_path / "a" / "specs" / "sleeper.toml"
    with supervisors(one):
        wait_for("up", lambda: one.alive_members() == 1)
        spec.parent.mkdir(exist_ok=True)
        good = 'name = "sleeper"\ncommand = ["sleep", "3600"]\n'
        spec.write_text(good)
        wait_for("loaded", lambda: one.service("sleeper").get("process") == "up")
        os.mkfifo(spec.parent / "pipe.toml")  # nobody writes: reading it would never end
        spec.write_text('name = "sleeper"\ncomm')
        wait_for("shown", lambda: (one.json("status") or {}).get("warnings"))
        assert one.service("sleeper")["process"] == "up"
        spec.write_text(good + 'desired = "down"\n')
        wait_for("down", lambda: one.service("sleeper").get("process") == "down")
        spec.unlink()
        wait_for("unloaded", lambda: one.service("sleeper") == {})
        assert one.terminate() == 0
