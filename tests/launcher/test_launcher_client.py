"""The supervisor's end of the protocol, against a launcher made of a socket and this test."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sup.edge.launcher_client import LauncherError, LauncherHost
from sup.edge.process_tree import boot_id, read_stat
from sup.edge.processes import Exit, LogTarget, ProcessError, ProcessIdentity, SpawnRequest
from sup.errors import ConflictError, OperatorError
from sup.launcher.wire import MESSAGE_BYTES_MAX

HELLO = {"ok": True, "protocol": 1, "version": "0", "pid": 1, "starts": 1, "watchdog_us": 0}


class FakeLauncher:
    """Answers by the name of the request; keeps what was asked."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, Mapping[str, Any]] = {"hello": HELLO}
        self.before: dict[str, list[dict[str, Any]]] = {}
        """Events that go out before the answer."""

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self.ours, MESSAGE_BYTES_MAX):
            asked = msgspec.msgpack.decode(data)
            self.asked.append(asked)
            for event in self.before.pop(asked["do"], ()):
                self.tell(event)
            answer = self.answers.get(asked["do"])
            if answer is not None and "id" in asked:
                self.tell({"id": asked["id"], **answer})

    def tell(self, message: dict[str, Any]) -> None:
        self.ours.send(msgspec.msgpack.encode(message))

    async def host(self) -> LauncherHost:
        return await LauncherHost.open(os.dup(self.theirs.fileno()))


@pytest.fixture
async def fake() -> AsyncIterator[FakeLauncher]:
    one = FakeLauncher()
    task = asyncio.create_task(one.serve())
    yield one
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    one.ours.close()
    one.theirs.close()


def request(tmp_path: Path, **fields: Any) -> SpawnRequest:
    fields = {"environment": {}, **fields}
    return SpawnRequest(
        name="db",
        argv=["/bin/db"],
        directory=str(tmp_path),
        mark="m.1",
        log=LogTarget(tmp_path, "db"),
        **fields,
    )


def held(name: str = "db", **fields: Any) -> dict[str, Any]:
    return {
        "event": "service",
        "name": name,
        "pid": 7,
        "start_ticks": 70,
        "mark": "m.1",
        "fingerprint": "f",
        "notify": True,
        "notes": [[b"READY=1", 5_000_000]],
        "exit": None,
        **fields,
    }


async def test_open_unknown_protocol_is_a_conflict_that_says_both(fake: FakeLauncher) -> None:
    """A launcher of the future is not guessed at."""
    fake.answers["hello"] = {**HELLO, "protocol": 99, "version": "9.9"}
    with pytest.raises(ConflictError, match=r"version 9\.9\) speaks protocol 99"):
        await fake.host()


async def test_open_descriptor_that_is_no_socket_is_one_line(tmp_path: Path) -> None:
    """A number in the environment is not trusted."""
    with (tmp_path / "x").open("w") as file, pytest.raises(OperatorError, match="no socket"):
        await LauncherHost.open(os.dup(file.fileno()))


async def test_spawn_exit_told_before_the_answer_is_not_lost(
    fake: FakeLauncher, tmp_path: Path
) -> None:
    """A program that ends at once may end before its start was answered."""
    fake.answers["spawn"] = {"ok": True, "pid": 7, "start_ticks": 70, "warnings": []}
    exited = {"event": "exited", "name": "db", "pid": 7, "start_ticks": 70}
    fake.before["spawn"] = [{**exited, "exit": [3, None, False]}]
    host = await fake.host()
    process = await host.spawn(request(tmp_path))
    async with asyncio.timeout(5):
        assert await process.wait() == Exit(code=3)
    host.close()


async def test_spawn_refused_names_step_program_and_reason(
    fake: FakeLauncher, tmp_path: Path
) -> None:
    """The words are those of a start without a launcher."""
    fake.answers["spawn"] = {"error": "x", "errno": 2, "step": "execute", "which": ""}
    host = await fake.host()
    with pytest.raises(ProcessError, match="can't start /bin/db: No such file"):
        await host.spawn(request(tmp_path))
    fake.answers["spawn"] = {"error": "x", "errno": 1, "step": "set a limit", "which": "nofile"}
    with pytest.raises(ProcessError, match="can't set a limit nofile: Operation not permitted"):
        await host.spawn(request(tmp_path))
    with pytest.raises(ProcessError, match="no limit 'wishes'"):
        await host.spawn(request(tmp_path, rlimits={"wishes": (1, 1)}))
    with pytest.raises(ProcessError, match=str(MESSAGE_BYTES_MAX)):
        await host.spawn(request(tmp_path, environment={"X": "x" * MESSAGE_BYTES_MAX}))
    host.close()


async def test_adopt_running_child_with_what_it_said(fake: FakeLauncher) -> None:
    """Readiness and its age are known again; the record on disk wins over the launcher's."""
    fake.before["hello"] = [held()]
    host = await fake.host()
    assert host.unclaimed() == ["db"]
    newer = ProcessIdentity(7, 70, boot_id(), "m.1", "newer")
    process = await host.adopt("db", newer)
    assert process is not None
    assert process.adopted
    assert process.identity.fingerprint == "newer"
    assert process.notifications is not None
    assert process.notifications.ready
    age_s = asyncio.get_running_loop().time() - process.notifications.watchdog_at_s
    assert 5 <= age_s < 60
    fake.tell({"event": "notify", "name": "db", "data": b"STATUS=busy"})
    async with asyncio.timeout(5):
        process.notified.clear()
        await process.notified.wait()
    assert process.notifications.status == "busy"
    assert host.unclaimed() == []
    host.close()


async def test_adopt_child_that_ended_meanwhile_has_its_exit(fake: FakeLauncher) -> None:
    """With a launcher an exit between two supervisors is not unknown."""
    fake.before["hello"] = [held(exit=[None, 11, True])]
    host = await fake.host()
    process = await host.adopt("db", None)
    assert process is not None
    assert process.exit == Exit(signal=11, core=True)
    host.close()


async def test_adopt_what_the_launcher_does_not_know_is_handed_to_it(
    fake: FakeLauncher, tmp_path: Path
) -> None:
    """Of a launcher that died: the new one watches it and takes its log up."""
    fake.answers["adopt"] = {"ok": True}
    host = await fake.host()
    me = read_stat(os.getpid())
    assert me is not None
    identity = ProcessIdentity(me.pid, me.start_ticks, boot_id(), "m.1")
    process = await host.adopt("db", identity, request(tmp_path, stop_signal=signal.SIGINT))
    assert process is not None
    asked = fake.asked[-1]
    assert (asked["do"], asked["pid"], asked["stop_signal"]) == ("adopt", me.pid, 2)
    assert asked["log"]["name"] == "db"
    other_boot = ProcessIdentity(me.pid, me.start_ticks, "another-boot", "m.1")
    assert await host.adopt("web", other_boot, request(tmp_path)) is None
    host.close()


async def test_lost_launcher_fails_what_waits_and_is_told(fake: FakeLauncher) -> None:
    """Nothing waits for an answer that can't come."""
    host = await fake.host()
    waiting = asyncio.create_task(host.deadman("extend", "db", 5.0))
    await asyncio.sleep(0.05)
    fake.ours.shutdown(socket.SHUT_RDWR)
    async with asyncio.timeout(5):
        with pytest.raises(LauncherError, match="gone"):
            await waiting
        await host.lost.wait()
    with pytest.raises(LauncherError, match="gone"):
        host.alive()


async def test_events_of_an_upgrade_are_asked_for(fake: FakeLauncher) -> None:
    """SIGHUP at the launcher, and the moment to let go."""
    host = await fake.host()
    fake.tell({"event": "upgrade"})
    fake.tell({"event": "detach"})
    fake.tell({"event": "of the future"})
    async with asyncio.timeout(5):
        await host.upgrade_asked.wait()
        await host.detach_asked.wait()
    fake.answers["deadman"] = {"error": "service db has no dead-man timer"}
    with pytest.raises(LauncherError, match="no dead-man timer"):
        await host.deadman("extend", "db", 1.0)
    assert fake.asked[-1]["after_us"] == 1_000_000
    host.close()
