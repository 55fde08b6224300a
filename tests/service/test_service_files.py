"""Gossiped files in the directory of a service: written, told of, and taken away again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.conftest import until

from sup import events
from sup.edge.service_files import read_record
from sup.model.event_log import EventLog
from sup.model.plan import for_command
from sup.model.service_paths import ServicePaths
from sup.service_files import ServiceFiles


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of events of this test's own."""
    monkeypatch.setattr(events, "kept", EventLog())


class Group:
    """The files of a group, and a service that notes what it is told."""

    def __init__(self, directory: Path) -> None:
        self.paths = ServicePaths.of(directory, "web")
        self.data: dict[str, bytes] = {}
        self.told: list[list[str]] = []
        self.opened = 0
        self.hold: asyncio.Event | None = None
        self.files = self.again()

    def again(self) -> ServiceFiles:
        """As the next supervisor makes it."""
        self.files = ServiceFiles(
            "web", for_command("web", "x"), self.paths, self.data.get, self._updated, self._open
        )
        return self.files

    def put(self, **data: bytes) -> None:
        """The group has these files now; versions follow the bytes."""
        self.data.clear()
        self.data.update(data)
        self.files.want({name: value.hex() for name, value in data.items()})

    async def _updated(self, names: list[str]) -> None:
        if self.hold is not None:
            await self.hold.wait()
        self.told.append(names)

    def _open(self) -> None:
        self.opened += 1

    @property
    def written(self) -> dict[str, bytes]:
        found = self.paths.files
        return {f.name: f.read_bytes() for f in found.iterdir()} if found.exists() else {}


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    group = Group(tmp_path)
    yield group
    await group.files.end()


async def test_files_are_written_changed_and_removed_and_told_of(group: Group) -> None:
    """The directory follows the group; each change is told once, with the names."""
    group.put(a=b"1", b=b"2")
    assert group.files.held()
    await until(lambda: group.told)
    assert group.written == {"a": b"1", "b": b"2"}
    assert (group.files.held(), group.opened) == ("", 1)
    group.put(a=b"1", b=b"3")
    await until(lambda: len(group.told) == 2)
    group.put(b=b"3")
    await until(lambda: len(group.told) == 3)
    assert group.written == {"b": b"3"}
    assert group.told == [["a", "b"], ["b"], ["a"]]
    texts = [e.text for e in events.kept.since(0, kinds=frozenset({"file"}))[0]]
    assert texts == ["file a: 1 bytes", "file b: 1 bytes", "file b: 1 bytes", "file a: removed"]


async def test_files_of_nobody_open_the_gate_without_a_task(group: Group) -> None:
    """A service whose group has no files costs nothing and waits for nothing."""
    group.put()
    assert (group.files.held(), group.opened, group.files._task) == ("", 1, None)
    assert not group.paths.root.exists()


async def test_files_of_the_service_itself_are_never_touched(group: Group) -> None:
    """Only what was gossiped is removed."""
    group.put(a=b"1")
    await until(lambda: group.told)
    (group.paths.files / "own").write_bytes(b"mine")
    group.put()
    await until(lambda: len(group.told) == 2)
    assert group.written == {"own": b"mine"}


async def test_files_known_to_an_earlier_supervisor_are_told_of_only_when_changed(
    group: Group,
) -> None:
    """A restart of the supervisor is no change; what was removed meanwhile goes."""
    group.put(a=b"1", b=b"2")
    await until(lambda: group.told)
    await until(lambda: read_record(group.paths.root / "gossiped").owed == [])
    await group.files.end()
    group.again()
    group.put(a=b"1")
    await until(lambda: len(group.told) == 2)
    assert group.told[1] == ["b"]
    assert group.written == {"a": b"1"}


async def test_files_not_told_of_yet_are_owed_by_the_next_supervisor(group: Group) -> None:
    """A supervisor that is killed in the middle of the hook loses no news."""
    group.hold = asyncio.Event()
    group.put(a=b"1")
    await until(lambda: read_record(group.paths.root / "gossiped").owed == ["a"])
    await group.files.end()
    assert group.told == []
    group.hold = None
    group.again()
    group.put(a=b"1")
    await until(lambda: group.told == [["a"]])
    await until(lambda: read_record(group.paths.root / "gossiped").owed == [])


async def test_files_the_disk_refuses_hold_no_start_and_are_tried_again(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is an event; the gate opens, since the service may do without; then they come."""
    monkeypatch.setattr("sup.service_files.RETRY_S", 0.05)
    group.paths.root.mkdir(parents=True)
    (group.paths.root / "files").write_text("no directory")
    group.put(a=b"1")
    await until(lambda: group.opened)
    assert "files can't be written" in events.kept.since(0)[0][0].text
    assert group.told == []
    (group.paths.root / "files").unlink()
    await until(lambda: group.told == [["a"]])
    assert events.kept.last == 2  # the same reason is told once


async def test_files_that_change_while_the_hook_runs_follow_it(group: Group) -> None:
    """The newest version is on the disk in the end, and told of."""
    group.hold = asyncio.Event()
    group.put(a=b"1")
    await until(lambda: group.written)
    group.put(a=b"2")
    group.put(a=b"3")
    group.hold.set()
    await until(lambda: len(group.told) == 2)
    assert group.written == {"a": b"3"}
