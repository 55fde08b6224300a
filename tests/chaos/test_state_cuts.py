"""Power-loss model with the launcher alive: state files cut while the supervisor is dead.

``tests/service/test_power_loss.py`` reads each file cut at each byte; here the whole program starts
on them. CI takes some cuts from a seed, ``make chaos`` takes each byte of each file.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from tests.chaos.harness import LONG, Tree, seeded, tree, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600 if LONG else 120)]

CUTS = 6
NO_STATE = {"lock", "control.sock", "report.sock", ".pipe", "notify"}


def names(one: Tree) -> list[Path]:
    """What the supervisor keeps about itself and a service, logs and the operator's specs apart."""
    places = [one.state_dir, *(one.state_dir / "svc").iterdir()]
    found = [file for place in places for file in place.iterdir()]
    kept = sorted(file for file in found if file.is_file() and file.name not in NO_STATE)
    return [file.relative_to(one.state_dir) for file in kept]


def test_state_file_cut_at_any_byte_costs_no_service_and_no_start(tmp_path):
    """The supervisor comes up, has the same process in hand, and there is one tree of it."""
    dice = seeded()
    with tree(tmp_path) as one:
        one.add_counter()
        one.start()
        counter = one.up("counter")
        one.settled()
        until("it is recorded", lambda: any(name.name == "PID" for name in names(one)))
        files = [(name, (one.state_dir / name).stat().st_size) for name in names(one)]
        cuts = [(file, at) for file, size in files for at in range(size)]
        assert len({file for file, _ in cuts}) >= 6, files
        for name, at in cuts if LONG else dice.sample(cuts, CUTS):
            launcher, supervisor = one.launcher_pid, one.supervisor_pid
            # Stopped, the launcher starts none before the file is cut.
            os.kill(launcher, signal.SIGSTOP)
            try:
                os.kill(supervisor, signal.SIGKILL)
                until("it is dead", lambda pid=supervisor: _dead(pid))
                file = one.state_dir / name
                file.write_bytes(file.read_bytes()[:at])
            finally:
                os.kill(launcher, signal.SIGCONT)
            until("the next one", lambda pid=supervisor: one.supervisor_pid not in (0, pid))
            one.settled()
            assert one.up("counter") == counter, f"{name} cut at {at}"
            assert one.starts_alive("counter") == 1
            until("all is written again", lambda: {f for f, _ in files} <= set(names(one)))
            for kept in one.state_dir.rglob("*.corrupt-*"):
                kept.unlink()
        sys.stdout.write(f"cut: {[(str(name), size) for name, size in files]}\n")
        one.check_no_zombies()
        one.end()
        one.check_counts(starts=1)


def _dead(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
