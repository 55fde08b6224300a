"""Real processes: started, watched, stopped with all their kin, and adopted after a supervisor's
death.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from sup.edge import processes
from sup.edge.process_tree import (
    OrphanReaper,
    find_marked,
    find_tree,
    kill_marked,
    mark_of,
    read_stat,
)
from sup.edge.processes import Exit, Process, ProcessError, adopt, new_mark, spawn
from sup.edge.users import resolve_credentials

ENVIRONMENT = {"PATH": os.environ["PATH"]}
MARK = f"test.{os.getpid()}"


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
async def no_leftovers() -> AsyncIterator[None]:
    """Every test ends without a living process of its own."""
    yield
    left = find_marked(MARK)
    kill_marked(MARK)
    assert left == []


async def shell(tmp_path: Path, script: str, **options: object) -> Process:
    """Start ``sh -c script`` with its output in ``tmp_path/out``."""
    with (tmp_path / "out").open("ab") as output:
        return await spawn(
            ["/bin/sh", "-c", script],
            directory=tmp_path,
            environment=ENVIRONMENT,
            mark=new_mark(MARK),
            output=output.fileno(),
            **options,  # type: ignore[arg-type]
        )


def open_null() -> BinaryIO:
    """Somewhere to write to."""
    return open(os.devnull, "wb")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_spawn_exit_code_is_reported(tmp_path: Path) -> None:
    """The exit code of the program reaches every waiter."""
    process = await shell(tmp_path, "exit 7")
    first, second = await asyncio.gather(process.wait(), process.wait())
    assert first == second == Exit(code=7)
    assert await process.clear() == []
    assert str(process.exit) == "code 7"


async def test_spawn_signalled_process_reports_the_signal(tmp_path: Path) -> None:
    """A process that a signal ended has no exit code but a signal."""
    process = await shell(tmp_path, "kill -9 $$")
    assert await process.wait() == Exit(signal=9)
    assert str(process.exit) == "signal SIGKILL"
    await process.clear()


async def test_spawn_child_has_own_session_null_input_and_no_other_descriptor(
    tmp_path: Path,
) -> None:
    """It leads its session, reads nothing, and inherits only the three standard descriptors."""
    process = await shell(tmp_path, "cat; ls /proc/self/fd | wc -l; exec sleep 60")
    await until(lambda: lines(tmp_path / "out"))
    stat = read_stat(process.pid)
    assert stat is not None
    assert (stat.session, os.getpgid(process.pid)) == (process.pid, process.pid)
    # 0, 1, 2 and the directory that ls itself has open.
    assert lines(tmp_path / "out") == ["4"]
    assert await process.stop(signal.SIGTERM, 5) == []


async def test_spawn_missing_program_is_a_process_error(tmp_path: Path) -> None:
    """What can't be executed is an error with the path in it, not a traceback of subprocess."""
    with (
        open_null() as output,
        pytest.raises(ProcessError, match="nowhere: No such file"),
    ):
        await spawn(
            [str(tmp_path / "nowhere")],
            directory=tmp_path,
            environment=ENVIRONMENT,
            mark=new_mark(MARK),
            output=output.fileno(),
        )


async def test_spawn_missing_interpreter_says_so(tmp_path: Path) -> None:
    """A script whose #! program is missing is not called missing itself."""
    script = tmp_path / "hook"
    script.write_text("#!/no/such/shell\n")
    script.chmod(0o755)
    with open_null() as output, pytest.raises(ProcessError, match="interpreter"):
        await spawn(
            [str(script)],
            directory=tmp_path,
            environment=ENVIRONMENT,
            mark=new_mark(MARK),
            output=output.fileno(),
        )


async def test_wait_exit_wakes_the_waiter_without_polling(tmp_path: Path) -> None:
    """An exit reaches a waiter through the pidfd; nothing but the loop runs in between."""
    process = await shell(tmp_path, "exec sleep 60")
    waiter = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGKILL)
    assert await asyncio.wait_for(waiter, 5) == Exit(signal=9)
    await process.clear()


async def test_wait_cancelled_waiter_leaves_the_process_alone(tmp_path: Path) -> None:
    """Cancelling a wait neither ends the process nor loses its exit status."""
    process = await shell(tmp_path, "exec sleep 60")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 0.01)
    assert process.exit is None
    assert await process.stop(signal.SIGTERM, 5) == []
    assert process.exit == Exit(signal=15)


async def test_stop_obedient_process_gets_time_to_finish(tmp_path: Path) -> None:
    """The stop signal comes first, and the process may end in its own way."""
    process = await shell(
        tmp_path, "trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    )
    await until(lambda: "ready" in lines(tmp_path / "out"))
    assert await process.stop(signal.SIGTERM, 10) == []
    assert process.exit == Exit(code=3)
    assert "saved" in lines(tmp_path / "out")


async def test_stop_deaf_process_is_killed_after_the_timeout(tmp_path: Path) -> None:
    """A process that ignores the signal is killed when its time is up."""
    process = await shell(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
    await until(lambda: "ready" in lines(tmp_path / "out"))
    assert await process.stop(signal.SIGTERM, 0.2) == []
    assert process.exit == Exit(signal=9)


async def test_stop_suspended_process_is_continued_to_obey(tmp_path: Path) -> None:
    """A SIGSTOPped service gets a chance to act on the stop signal."""
    process = await shell(tmp_path, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    await until(lambda: "ready" in lines(tmp_path / "out"))
    os.kill(process.pid, signal.SIGSTOP)
    await process.stop(signal.SIGTERM, 10)
    assert process.exit == Exit(code=3)


SLOW_SAVER = """
import signal, sys, time

def save(*_):
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


async def test_stop_wrapper_dies_first_child_may_still_finish(tmp_path: Path) -> None:
    """A shell wrapper that dies at once does not cut its child's clean end short."""
    (tmp_path / "child.py").write_text(SLOW_SAVER)
    process = await shell(tmp_path, f"{sys.executable} child.py & wait; exit 0")
    await until(lambda: "ready" in lines(tmp_path / "out"))
    assert await process.stop(signal.SIGTERM, 10) == []
    assert lines(tmp_path / "out") == ["ready", "saved"]


DOUBLE_FORK = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("daemon", os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(60)
"""


async def test_stop_double_forked_daemon_that_ignores_the_signal_is_gone(tmp_path: Path) -> None:
    """A daemon with a session of its own, handed to another parent, does not outlive the stop."""
    (tmp_path / "daemon.py").write_text(DOUBLE_FORK)
    process = await shell(tmp_path, f"exec {sys.executable} daemon.py")
    await until(lambda: lines(tmp_path / "out"))
    daemon = int(lines(tmp_path / "out")[0].split()[1])
    stat = read_stat(daemon)
    assert stat is not None
    assert stat.ppid != process.pid
    assert stat.session != process.pid
    assert await process.stop(signal.SIGTERM, 0.2) == []
    now = read_stat(daemon)
    assert now is None or now.dead


async def test_clear_after_exit_kills_what_was_left_in_the_background(tmp_path: Path) -> None:
    """The children of a service that died do not stay beside its next start."""
    process = await shell(tmp_path, "sleep 60 & (setsid sleep 60 &) ; echo $!; exit 1")
    await process.wait()
    assert await process.clear() == []
    assert find_marked(process.identity.mark) == []


async def test_clear_again_the_number_may_be_another_process(tmp_path: Path) -> None:
    """A second ``clear`` gives the answer of the first and looks for nobody."""
    process = await shell(tmp_path, "exec sleep 60")
    both = await asyncio.gather(process.clear(), process.clear())
    assert both == [[], []]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(process), "_clear", None)
        assert await process.clear() == []


async def test_clear_cancelled_caller_still_kills(tmp_path: Path) -> None:
    """The sweep is finished even when the task that asked for it is cancelled."""
    process = await shell(tmp_path, "exec sleep 60")
    task = asyncio.create_task(process.clear())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert process.exit == Exit(signal=9)
    assert read_stat(process.pid) is None


async def test_find_tree_reused_number_is_nobody(tmp_path: Path) -> None:
    """A process with the same number but another start time is not the service."""
    process = await shell(tmp_path, "exec sleep 60")
    assert [s.pid for s in find_tree(process.pid, process.identity.start_ticks, "x")] == [
        process.pid
    ]
    assert find_tree(process.pid, process.identity.start_ticks - 1, "x") == []
    await process.clear()


def test_find_marked_prefix_finds_all_but_the_kept_mark() -> None:
    """A sweep by prefix spares the one start that is to live."""
    children = [
        subprocess.Popen(["sleep", "60"], env={**ENVIRONMENT, "SUP_INSTANCE": f"{MARK}.{name}"})
        for name in ("a", "b")
    ]
    try:
        assert mark_of(children[0].pid) == f"{MARK}.a"
        assert [s.pid for s in find_marked(MARK, keep=f"{MARK}.a")] == [children[1].pid]
        assert kill_marked(MARK, keep=f"{MARK}.a") == []
        assert children[1].wait(5) == -9
        assert children[0].poll() is None
    finally:
        for child in children:
            child.kill()
            child.wait()


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from typing import BinaryIO
from sup.edge.processes import new_mark, save_identity, spawn

async def main():
    with open("out", "ab") as output:
        process = await spawn(
            ["/bin/sh", "-c", sys.argv[2]],
            directory=".", environment=dict(PATH=os.environ["PATH"]), mark=new_mark(sys.argv[1]),
            output=output.fileno(), fingerprint="f")
    save_identity(Path("process.json"), process.identity)
    os._exit(9)

asyncio.run(main())
"""


async def test_adopt_after_supervisor_death_process_keeps_running_and_can_be_stopped(
    tmp_path: Path,
) -> None:
    """The next supervisor finds the process on disk, watches and stops it; its output goes on."""
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", SUPERVISOR, MARK, script],
        cwd=tmp_path,
        check=False,
        timeout=30,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )
    identity = processes.load_identity(tmp_path / "process.json")
    assert identity is not None
    process = adopt(identity)
    assert process is not None
    assert process.adopted
    assert process.identity.fingerprint == "f"
    await until(lambda: "up" in lines(tmp_path / "out"))
    assert process.exit is None
    assert await process.stop(signal.SIGTERM, 10) == []
    assert process.exit == Exit()
    assert str(process.exit) == "unknown"
    said = lines(tmp_path / "out")  # the shell may also say that its `sleep` was terminated
    assert (said[0], said[-1]) == ("up", "bye")


async def test_adopt_other_start_time_or_boot_is_refused(tmp_path: Path) -> None:
    """Neither a reused number nor a number from before a reboot is taken for the service."""
    process = await shell(tmp_path, "exec sleep 60")
    one = process.identity
    other = type(one)
    assert adopt(other(one.pid, one.start_ticks + 1, one.boot_id, one.mark)) is None
    assert adopt(other(one.pid, one.start_ticks, "another-boot", one.mark)) is None
    await process.clear()
    assert adopt(one) is None


def test_load_identity_broken_file_is_none(tmp_path: Path) -> None:
    """A half-written or foreign process.json means that there is nothing to adopt."""
    path = tmp_path / "process.json"
    assert processes.load_identity(path) is None
    path.write_bytes(b'{"pid": 1')
    assert processes.load_identity(path) is None


async def test_orphan_reaper_takes_the_ownerless_and_leaves_the_known(tmp_path: Path) -> None:
    """A zombie nobody waits for is reaped after its grace; one with an owner keeps its status."""
    OrphanReaper(set(), grace_s=0).reap(0.0)  # what other tests of this process left
    known = await shell(tmp_path, "exit 5")
    await known.wait()
    orphan = os.posix_spawn("/bin/true", ["true"], ENVIRONMENT)  # noqa: ASYNC221
    await until(lambda: (s := read_stat(orphan)) is not None and s.dead)
    reaper = OrphanReaper({known.pid}, grace_s=5)
    assert reaper.reap(100.0) == 0
    assert reaper.reap(104.9) == 0
    assert reaper.reap(105.0) == 1
    assert read_stat(orphan) is None
    assert read_stat(known.pid) is not None
    await known.clear()
    assert known.exit == Exit(code=5)
    assert reaper.reap(200.0) == 0


async def test_orphan_reaper_with_asyncio_subprocess_its_exit_code_survives() -> None:
    """A subprocess that other code runs keeps its exit status."""
    reaper = OrphanReaper(())
    child = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 4")
    reaper.reap(time.monotonic())
    assert await child.wait() == 4


REAPING_SUPERVISOR = """
import asyncio, os, subprocess, sys
from sup.edge import processes
from sup.edge.process_tree import all_stats

def children():
    return [stat for stat in all_stats().values() if stat.ppid == os.getpid()]

async def main():
    processes.REAP_INTERVAL_S = 0.05
    processes.OrphanReaper.__init__.__defaults__ = (0.0,)
    task = asyncio.create_task(processes.reap_orphans())
    await asyncio.sleep(0)
    subprocess.run(["sh", "-c", "setsid sleep 0.3 & exit 0"], check=True)
    orphans = children()
    assert len(orphans) == 1, orphans
    for _ in range(500):
        if not children():
            break
        await asyncio.sleep(0.02)
    assert not children(), children()

asyncio.run(main())
"""


def test_reap_orphans_adopts_and_reaps_what_a_dead_parent_left() -> None:
    """A supervisor inherits the orphans of its services and leaves no zombie of them."""
    subprocess.run(
        [sys.executable, "-c", REAPING_SUPERVISOR],
        check=True,
        timeout=60,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change user")
async def test_spawn_with_user_as_root_runs_with_that_users_rights(tmp_path: Path) -> None:
    """User, group and supplementary groups are all changed, and the umask is set."""
    credentials = resolve_credentials("nobody", None)
    assert credentials is not None
    (tmp_path / "out").touch()
    process = await shell(tmp_path, "id -u; id -g; id -G; umask", credentials=credentials)
    assert await process.wait() == Exit(code=0)
    await process.clear()
    uid, gid, groups, umask = lines(tmp_path / "out")
    assert (int(uid), int(gid)) == (credentials.uid, credentials.gid)
    assert {int(g) for g in groups.split()} == set(credentials.groups)
    assert int(umask, 8) == 0o027


@pytest.mark.skipif(os.geteuid() != 0, reason="names are resolved for root only")
def test_resolve_credentials_unknown_user_is_an_operator_error() -> None:
    """A plan that names a user which this host lacks is told so, with the name."""
    from sup.errors import OperatorError

    with pytest.raises(OperatorError, match="'no-such-user' does not exist"):
        resolve_credentials("no-such-user", None)


async def test_stop_daemon_outside_the_group_gets_the_stop_signal_too(tmp_path: Path) -> None:
    """A daemon with a session of its own may end in good order, like everything else."""
    daemon = "trap 'echo saved; exit' TERM; echo ready; while :; do sleep 0.01; done"
    (tmp_path / "daemon.sh").write_text(daemon)
    process = await shell(tmp_path, "setsid sh daemon.sh & exec sleep 60")
    await until(lambda: "ready" in lines(tmp_path / "out"))
    assert await process.stop(signal.SIGTERM, 10) == []
    assert "saved" in lines(tmp_path / "out")
