"""SIGKILL, SIGSTOP and upgrades of supervisor, launcher and service at random moments."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.chaos.harness import LONG, Tree, alive, seeded, tree, until

from sup.edge.process_tree import read_stat

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900 if LONG else 120)]

ROUNDS = 200 if LONG else 12


def send(pid: int, number: int) -> None:
    """Signal ``pid``, unless it is 0 (there is no supervisor this moment) or gone."""
    if not pid:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def stop_for(pid: int, seconds: float) -> None:
    """SIGSTOP, a while, SIGCONT."""
    send(pid, signal.SIGSTOP)
    time.sleep(seconds)
    send(pid, signal.SIGCONT)


def identity(pid: int) -> tuple[int, int]:
    stat = read_stat(pid)
    assert stat is not None
    return pid, stat.start_ticks


def attack(one: Tree, dice: random.Random, kinds: list[str]) -> None:
    """One blow against supervisor or launcher, none of which is the service's business."""
    kind = dice.choice(kinds)
    wait_s = dice.uniform(0, 0.6)
    time.sleep(wait_s)
    if kind == "kill supervisor":
        send(one.supervisor_pid, signal.SIGKILL)
    elif kind == "stop supervisor":
        stop_for(one.supervisor_pid, dice.uniform(0, 0.7))
    elif kind == "stop launcher":
        stop_for(one.launcher_pid, dice.uniform(0, 0.7))
    elif kind == "upgrade":
        send(one.launcher_pid, signal.SIGHUP)
    elif kind == "hangups":
        for _ in range(20):
            send(one.launcher_pid, signal.SIGHUP)
            time.sleep(dice.uniform(0, 0.02))
    elif kind == "kill launcher":
        one.settled()  # the one after it must have been named, or nobody knows whom to look for
        send(one.launcher_pid, signal.SIGKILL)


SOFT = ["kill supervisor", "stop supervisor", "stop launcher", "upgrade", "hangups"]


def test_random_blows_at_supervisor_and_launcher_never_reach_the_service(tmp_path: Path) -> None:
    """Same process, every number, one tree, no zombie, nothing grows; then it ends clean."""
    dice = seeded()
    with tree(tmp_path) as one:
        one.add_counter()
        one.start()
        service = identity(one.up("counter"))
        one.settled()
        before = one.sizes()
        for _ in range(ROUNDS):
            attack(one, dice, SOFT)
            assert identity(service[0]) == service
            assert one.starts_alive("counter") == 1
        one.settled()
        one.check_trees()
        one.check_no_zombies()
        assert one.up("counter") == service[0]
        one.check_flat(before)
        # The status of a crash is still seen, after all that.
        send(service[0], signal.SIGSEGV)
        row = until("the crash is seen", lambda: (r := one.row("counter")).get("restarts") and r)
        assert "SIGSEGV" in row["last_exit"]
        until("it counts again", lambda: len(one.counts()) == 2)
        one.end()
        assert one.check_counts(starts=2) > 100


def test_random_kills_of_the_launcher_too_leave_one_tree_and_at_most_a_line(tmp_path: Path) -> None:
    """A launcher that is killed is replaced; what it had in its hands is the only loss."""
    dice = seeded()
    with tree(tmp_path) as one:
        one.add_counter()
        one.start()
        service = identity(one.up("counter"))
        killed = 0
        for _ in range(ROUNDS // 2):
            kinds = ["kill launcher", "kill launcher", "kill supervisor", "upgrade"]
            before = one.launcher_pid
            attack(one, dice, kinds)
            if not alive(before):
                killed += 1
                until("there is a new launcher", lambda b=before: one.launcher_pid != b, 30)
            one.settled()
            assert identity(service[0]) == service
            one.check_trees()
        assert one.up("counter") == service[0]
        one.check_no_zombies()
        one.stop("counter")
        one.check_trees()
        one.end()
        (run,) = one.counts()
        missing = run[-1] - len(run)
        assert 0 <= missing <= killed, f"{missing} numbers are missing after {killed} kills"
        assert run == sorted(set(run))


def test_service_killed_and_stopped_at_random_is_one_tree_again(tmp_path: Path) -> None:
    """SIGKILL restarts it, SIGSTOP does not; also when the supervisor dies right after it."""
    dice = seeded()
    with tree(tmp_path) as one:
        one.add_counter()
        one.start()
        one.up("counter")
        starts = 1
        for _ in range(ROUNDS):
            pid = int(one.up("counter"))
            time.sleep(dice.uniform(0, 0.2))
            blow = dice.choice(["kill", "kill", "stop", "both"])
            if blow == "stop":
                stop_for(pid, dice.uniform(0, 0.3))
                continue
            send(pid, signal.SIGKILL)
            starts += 1
            if blow == "both":
                time.sleep(dice.uniform(0, 0.02))
                send(one.supervisor_pid, signal.SIGKILL)
            until(
                "it is replaced",
                lambda p=pid: one.row("counter").get("pid") not in (None, 0, p),
                30,
            )
        one.check_trees()
        one.check_no_zombies()
        one.end()
        assert len(one.counts()) <= starts  # one that was killed before its first number has none
        one.check_counts()


def test_launcher_killed_while_a_supervisor_comes_up_is_replaced_all_the_same(tmp_path):
    """At any moment of the start: the half-started supervisor takes the launcher's place."""
    dice = seeded()
    with tree(tmp_path) as one:
        one.add_counter()
        one.start()
        service = identity(one.up("counter"))
        for _ in range(ROUNDS // 3):
            one.settled()
            launcher, supervisor = one.launcher_pid, one.supervisor_pid
            send(supervisor, signal.SIGKILL)
            until("the next one", lambda s=supervisor: one.supervisor_pid not in (0, s))
            time.sleep(dice.uniform(0, 0.6))
            send(launcher, signal.SIGKILL)
            until("there is a new launcher", lambda p=launcher: one.launcher_pid != p, 30)
            one.settled()
            assert identity(service[0]) == service
            one.check_trees()
        one.end()
