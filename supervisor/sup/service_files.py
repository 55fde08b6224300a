"""Keeps ``svc/NAME/files`` of one service equal to the files of its group (floor 8).

Level-triggered: ``want`` says which versions there should be, a task writes what differs and calls
the service once it has. Which files the service was not told of yet is on record, so a supervisor
that is killed between the write and the ``file-updated`` hook tells of them after it is back. A
disk that refuses is asked again. As a gate it holds the first start until what the ring had at
that moment is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from sup import events
from sup.edge.service_dir import prepare_directory
from sup.edge.service_files import Record, read_record, write_files, write_record
from sup.edge.users import resolve_credentials
from sup.errors import OperatorError
from sup.model.plan import Plan
from sup.model.service_paths import ServicePaths

log = logging.getLogger("sup.files")

RETRY_S = 5.0
"""After a disk that refused."""

Read = Callable[[str], bytes | None]
"""The bytes of a file by its name; None: gone meanwhile."""


class ServiceFiles:
    """The gossiped files of one service."""

    def __init__(
        self,
        name: str,
        plan: Plan,
        paths: ServicePaths,
        read: Read,
        updated: Callable[[list[str]], Awaitable[None]],
        opened: Callable[[], None],
    ) -> None:
        """``updated`` tells the running service; ``opened`` is called when the gate opens."""
        self._name = name
        self._plan = plan.service
        self._paths = paths
        self._record_path = paths.root / "gossiped"
        self._read = read
        self._updated = updated
        self._opened = opened
        self._wanted: Mapping[str, str] | None = None
        self._record: Record | None = None
        self._settled = False
        self._problem = ""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def held(self) -> str:
        """Why a start waits: the files are being written. Empty when they are, or can't be."""
        return "" if self._settled else "the files of its group are being written"

    def want(self, versions: Mapping[str, str]) -> None:
        """There should be these files, version by name. Cheap when nothing has changed."""
        if versions == self._wanted:
            return
        first, self._wanted = self._wanted is None, dict(versions)
        if first and not versions and not self._record_path.exists():
            self._open()  # the usual case: nobody has put a file, now or before
        elif self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"files {self._name}")
        self._news.set()

    async def end(self) -> None:
        """Stop; a hook that runs is killed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        """Until what is wanted is there and told of; every failure is tried again."""
        try:
            while self._news.is_set():
                self._news.clear()
                try:
                    await self._settle()
                    self._problem = ""
                    continue
                except (OSError, OperatorError) as error:
                    self._complain(str(error))
                except Exception:  # a mistake of ours must not hold the service for ever
                    log.exception("files fault name=%s", self._name)
                self._open()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._news.wait()
                self._news.set()
        finally:
            self._task = None

    async def _settle(self) -> None:
        if self._record is None:
            self._record = await asyncio.to_thread(read_record, self._record_path)
        before, wanted = self._record, dict(self._wanted or {})
        stale = sorted(before.versions.keys() - wanted.keys())
        new = [name for name in wanted if before.versions.get(name) != wanted[name]]
        if stale or new:
            files = {name: data for name in new if (data := self._read(name)) is not None}
            changed = await asyncio.to_thread(self._write, files, stale)
            have = {n: v for n, v in wanted.items() if n not in new or n in files}
            await self._keep(Record(have, sorted({*before.owed, *changed})))
            for name in changed:
                what = f"{len(files[name])} bytes" if name in files else "removed"
                events.tell("file", self._name, f"file {name}: {what}", file=name)
                log.info("file written name=%s file=%s what=%r", self._name, name, what)
        self._open()
        if self._record.owed:
            await self._updated(self._record.owed)
            await self._keep(Record(self._record.versions, []))

    def _open(self) -> None:
        if not self._settled:
            self._settled = True
            self._opened()

    def _write(self, files: Mapping[str, bytes], stale: list[str]) -> list[str]:
        user = resolve_credentials(self._plan.user or None, self._plan.group or None)
        prepare_directory(self._paths, user)
        owner = None if user is None else (user.uid, user.gid)
        return write_files(self._paths.files, files, stale, owner)

    async def _keep(self, record: Record) -> None:
        if record != self._record:
            await asyncio.to_thread(write_record, self._record_path, record)
            self._record = record

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.error("files not written name=%s: %s", self._name, problem)
            events.tell("file", self._name, f"files can't be written: {problem}")
        self._problem = problem
