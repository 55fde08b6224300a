"""A real launcher with the test as its supervisor: what it holds, tells, restarts and ends."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from pathlib import Path

import pytest
from tests.launcher.conftest import MARK, RealLauncher, gone, until

from sup.edge.process_tree import find_marked, read_stat

LONG = "exec sleep 600"


def test_spawn_child_has_own_session_and_the_launcher_as_parent(launcher: RealLauncher) -> None:
    """A service is the launcher's child, leads a session, and has three descriptors."""
    one = launcher.start().ready()
    answer = one.spawn("web", "ls -l /proc/self/fd > fds; " + LONG, launcher.directory)
    stat = read_stat(answer["pid"])
    assert stat is not None
    assert (stat.ppid, stat.session) == (launcher.pid, stat.pid)
    assert stat.start_ticks == answer["start_ticks"]
    file = launcher.directory / "fds"
    fds = until(lambda: file.exists() and file.read_text().strip().splitlines()[1:])
    assert len(fds) == 4  # 0, 1, 2 and the directory that ls has open


def test_supervisor_killed_service_keeps_its_pid_and_its_exit_status(
    launcher: RealLauncher,
) -> None:
    """The next supervisor is told what runs, and with which code what ended meanwhile ended."""
    one = launcher.start().ready()
    lives = one.spawn("lives", LONG, launcher.directory, fingerprint="f1")
    script = "while [ ! -e gate ]; do sleep 0.02; done; exit 7"
    ends = one.spawn("ends", script, launcher.directory)
    one.die()
    (launcher.directory / "gate").touch()
    until(lambda: gone(ends["pid"]))
    two = launcher.puppet()
    hello = two.ask("hello", protocol=1, version="test")
    assert hello["starts"] == 2
    assert hello["last_exit"] == "signal 9"
    held = {e["name"]: e for e in two.events if e.get("event") == "service"}
    assert held["lives"]["pid"] == lives["pid"]
    assert held["lives"]["exit"] is None
    assert held["lives"]["fingerprint"] == "f1"
    assert held["ends"]["exit"] == [7, None, False]


def test_exit_code_reaches_the_supervisor_and_the_zombie_stays_until_cleared(
    launcher: RealLauncher,
) -> None:
    """An exit is told at once; the number stays taken until the supervisor says clear."""
    one = launcher.start().ready()
    pid = one.spawn("quick", "exit 7", launcher.directory)["pid"]
    event = one.event("exited")
    assert (event["name"], event["pid"], event["exit"]) == ("quick", pid, [7, None, False])
    stat = read_stat(pid)
    assert stat is not None
    assert stat.dead
    answer = one.ask("clear", name="quick")
    assert (answer["left"], answer["exit"]) == ([], [7, None, False])
    assert read_stat(pid) is None


def test_spawn_twice_under_one_name_is_refused(launcher: RealLauncher) -> None:
    """Exactly one tree per service: a second start needs the first one cleared."""
    one = launcher.start().ready()
    pid = one.spawn("web", LONG, launcher.directory)["pid"]
    assert str(pid) in one.spawn("web", LONG, launcher.directory)["error"]
    assert one.ask("clear", name="web")["left"] == []
    assert "pid" in one.spawn("web", LONG, launcher.directory)


def test_spawn_failure_says_step_and_errno_and_leaves_nothing(launcher: RealLauncher) -> None:
    """What fails between fork and exec comes back as a step and an errno."""
    one = launcher.start().ready()
    missing = one.spawn("a", "true", launcher.directory, argv=[b"/no/such/program"])
    assert (missing["step"], missing["errno"]) == ("execute", 2)
    nowhere = one.spawn("a", "true", launcher.directory, directory=b"/no/such/directory")
    assert (nowhere["step"], nowhere["errno"]) == ("enter its directory", 2)
    assert "pid" in one.spawn("a", LONG, launcher.directory)


def test_requests_that_are_not_understood_are_answered_and_change_nothing(
    launcher: RealLauncher,
) -> None:
    """A supervisor of another version is told; the launcher goes on."""
    one = launcher.start().ready()
    for fields in (
        {"do": "dance"},
        {"do": "spawn", "name": "x"},
        {"do": "signal", "name": "nobody", "number": 15},
        {"do": "clear"},
        {"do": "deadman", "name": "nobody", "action": "set", "after_us": 1},
    ):
        assert "error" in one.ask(**fields)  # type: ignore[arg-type]
    one.sock.send(b"\xc1garbage")
    one.sock.send(b"\x93\x01\x02\x03")
    assert one.ask("hello", protocol=1, version="test")["ok"]


def test_limits_umask_and_scores_reach_the_child(launcher: RealLauncher) -> None:
    """rlimits, oom_score_adj, nice and umask are set before the program runs."""
    one = launcher.start().ready()
    script = (
        "ulimit -n > out; ulimit -c >> out; umask >> out; cat /proc/self/oom_score_adj >> out;"
        " nice >> out; echo done >> out; " + LONG
    )
    answer = one.spawn(
        "web",
        script,
        launcher.directory,
        limits=[[7, 123, 456], [4, 0, 0]],
        umask=0o077,
        oom=321,
        nice=5,
    )
    assert answer["warnings"] == []
    out = launcher.directory / "out"
    said = until(lambda: out.exists() and "done" in out.read_text() and out.read_text().split())
    assert said[:2] == ["123", "0"]
    assert int(said[2], 8) == 0o077
    assert said[3:5] == ["321", "5"]


def test_first_supervisor_that_fails_passes_its_exit_code_on(launcher: RealLauncher) -> None:
    """Bad input and conflicts are seen by whoever started us, not tried for ever."""
    launcher.start()
    launcher.puppet().exit(4)
    assert launcher.wait() == 4


def test_supervisor_that_said_end_ends_the_launcher_with_its_code(launcher: RealLauncher) -> None:
    """A clean end is meant; services that it left over are stopped first."""
    one = launcher.start().ready()
    pid = one.spawn("left", LONG, launcher.directory)["pid"]
    assert one.ask("end", code=0)["ok"]
    one.exit(0)
    assert launcher.wait() == 0
    assert read_stat(pid) is None or gone(pid)
    assert not (launcher.state_dir / "launcher.json").exists()


def test_supervisor_that_exits_without_a_word_is_started_again(launcher: RealLauncher) -> None:
    """Exit 0 alone is no end: nobody has stopped the services."""
    launcher.start().ready().exit(0)
    launcher.ready()


def test_sigterm_reaches_the_supervisor_which_ends_in_its_own_time(
    launcher: RealLauncher,
) -> None:
    """The launcher forwards the signal; without a supervisor's last word it stops all itself."""
    one = launcher.start().ready()
    script = "trap 'echo bye > bye; exit 0' TERM; echo up > up; while :; do sleep 0.05; done"
    one.spawn("polite", script, launcher.directory)
    until((launcher.directory / "up").exists)
    assert launcher.process is not None
    launcher.process.terminate()  # the puppet has no handler: it dies of the forwarded signal
    assert launcher.wait() == 0
    assert (launcher.directory / "bye").read_text() == "bye\n"


def test_stop_by_the_launcher_kills_what_ignores_the_signal(launcher: RealLauncher) -> None:
    """Told to end without a supervisor, it keeps the stop time-out and then kills the tree."""
    one = launcher.start().ready()
    script = "trap '' TERM; echo up > up; while :; do sleep 0.05; done"
    pid = one.spawn("deaf", script, launcher.directory, stop_timeout_us=300_000)["pid"]
    until((launcher.directory / "up").exists)
    assert launcher.process is not None
    launcher.process.terminate()
    assert launcher.wait() == 0
    assert gone(pid)


def test_stop_by_the_launcher_shell_that_dies_first_its_child_may_finish(
    launcher: RealLauncher,
) -> None:
    """The first process is often a shell; what saves the data has all of the stop time-out."""
    one = launcher.start().ready()
    child = "trap 'sleep 0.5; echo saved > saved; exit 0' TERM; echo up > up"
    script = f'sh -c "{child}; while :; do sleep 0.05; done" & wait'
    one.spawn("db", script, launcher.directory)
    until((launcher.directory / "up").exists)
    assert launcher.process is not None
    launcher.process.terminate()
    assert launcher.wait() == 0
    assert (launcher.directory / "saved").exists()


def test_stop_by_the_launcher_mixed_signals_the_first_process_alone(
    launcher: RealLauncher,
) -> None:
    """A server's children must not be told: it ends them itself, and what is left is killed."""
    one = launcher.start().ready()
    child = "trap 'echo told > told' TERM; echo up > up"
    script = (
        "trap 'sleep 0.3; exit 0' TERM;"
        f' sh -c "{child}; while :; do sleep 0.05; done" & while :; do wait; done'
    )
    one.spawn("db", script, launcher.directory, kill_mode="mixed")
    until((launcher.directory / "up").exists)
    assert launcher.process is not None
    launcher.process.terminate()
    assert launcher.wait() == 0
    assert not (launcher.directory / "told").exists()
    assert find_marked(MARK) == []


def test_supervisor_dead_while_it_waits_its_answer_is_not_the_nexts(
    launcher: RealLauncher,
) -> None:
    """Requests are numbered by each supervisor from one: a late answer would be another's."""
    one = launcher.start().ready()
    one.spawn("db", LONG, launcher.directory)
    os.kill(launcher.pid, signal.SIGSTOP)
    one.tell("clear", id=7, name="db")
    one.die()
    os.kill(launcher.pid, signal.SIGCONT)
    two = launcher.ready()
    until(lambda: find_marked(MARK) == [])
    for _ in range(8):
        assert "logs" in two.ask("logs")
    assert [message for message in two.events if "id" in message] == []


def test_launcher_out_of_descriptors_goes_on(launcher: RealLauncher) -> None:
    """A supervisor that can't be started for lack of them is started when there are some."""
    one = launcher.start().ready()
    pid = one.spawn("db", LONG, launcher.directory)["pid"]
    soft, hard = resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE, (3, hard))
    one.die()
    until(lambda: "can't be started" in launcher.log.read_text())
    resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE, (soft, hard))
    two = launcher.ready()
    assert not gone(pid)
    assert two.ask("signal", name="db", pid=pid, number=0)["sent"]


def test_orphans_are_reaped(launcher: RealLauncher) -> None:
    """A daemon whose parent died becomes the launcher's child and leaves no zombie."""
    one = launcher.start().ready()
    (launcher.directory / "orphan.sh").write_text("echo $$ > orphan; exec sleep 0.3")
    one.spawn("web", "(setsid sh orphan.sh &); " + LONG, launcher.directory)
    file = launcher.directory / "orphan"
    pid = int(until(lambda: file.exists() and file.read_text().strip()))
    until(lambda: read_stat(pid) is None)


WIPED_DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        script = "import os, signal, time; signal.signal(15, signal.SIG_IGN);" \
                 "open('daemon', 'w').write(str(os.getpid())); time.sleep(600)"
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", script], {})
    os._exit(0)
os.wait()
time.sleep(600)
"""


def test_clear_finds_the_daemon_that_left_tree_and_session_and_wiped_its_environment(
    launcher: RealLauncher,
) -> None:
    """Double fork, setsid, empty environment, SIGTERM ignored: the tag finds it all the same."""
    (launcher.directory / "wiped.py").write_text(WIPED_DAEMON)
    one = launcher.start().ready()
    pid = one.spawn("db", f"exec {sys.executable} -I -S wiped.py", launcher.directory)["pid"]
    file = launcher.directory / "daemon"
    daemon = int(until(lambda: file.exists() and file.read_text()))
    stat = until(lambda: (s := read_stat(daemon)) and s.ppid == launcher.pid and s)
    assert stat.session != pid
    assert Path(f"/proc/{daemon}/environ").read_bytes() == b""
    assert one.ask("clear", name="db")["left"] == []
    assert gone(daemon)
    assert gone(pid)


def test_signal_goes_to_the_group_or_to_the_process_alone(launcher: RealLauncher) -> None:
    """Both are asked for by name, so that no number can be another's."""
    one = launcher.start().ready()
    script = "sleep 600 & echo $! > child; trap 'echo t >> got' USR1; while :; do sleep 0.05; done"
    one.spawn("web", script, launcher.directory)
    file = launcher.directory / "child"
    child = int(until(lambda: file.exists() and file.read_text().strip()))
    assert one.ask("signal", name="web", number=10, group=False)["sent"]
    until((launcher.directory / "got").exists)
    assert not gone(child)
    assert one.ask("signal", name="web", number=9)["sent"]
    until(lambda: gone(child))
    assert one.event("exited")["exit"] == [None, 9, False]


def test_notify_socket_is_heard_remembered_and_told_again(launcher: RealLauncher) -> None:
    """What a service said reaches this supervisor at once and the next one with its age."""
    one = launcher.start().ready()
    code = (
        "import os,socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
        "s.sendto(b'READY=1\\nSTATUS=serving',os.environ['NOTIFY_SOCKET'])"
    )
    script = f'{sys.executable} -I -S -c "{code}"; ' + LONG
    assert "pid" in one.spawn("db", script, launcher.directory, notify=True)
    event = one.event("notify")
    assert (event["name"], event["data"]) == ("db", b"READY=1\nSTATUS=serving")
    one.die()
    two = launcher.puppet()
    two.ask("hello", protocol=1, version="test")
    held = next(e for e in two.events if e.get("event") == "service")
    assert held["notify"]
    assert {note for note, _ in held["notes"]} == {b"READY=1", b"STATUS=serving"}
    assert all(age >= 0 for _, age in held["notes"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can send as somebody else")
def test_notify_socket_stranger_is_not_heard(launcher: RealLauncher) -> None:
    """A datagram of another user changes nothing."""
    one = launcher.start().ready()
    one.spawn("db", LONG, launcher.directory, notify=True, credentials=[65534, 65534, [65534]])
    path = launcher.directory / "db" / "notify"
    for directory in (launcher.directory, launcher.directory / "db", *launcher.directory.parents):
        if str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o711)
    path.chmod(0o666)
    sender = os.fork()
    if sender == 0:
        try:
            os.setresuid(12345, 12345, 12345)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"READY=1", str(path))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(sender, 0)[1] == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"STATUS=of root", str(path))
    assert one.event("notify")["data"] == b"STATUS=of root"
