"""The maintenances of this supervisor on disk and in force (floor 8); the rules are
``model.maintenance``.

The file is durable before a change is answered. One that is damaged is set aside with a line in the
log, and no service is in maintenance then: that is what an operator sees and can mend, while a
service that nobody uses for a reason that nobody can read is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from sup import events
from sup.edge.process_tree import boot_id
from sup.edge.state_files import CorruptStateError, quarantine, seal, unseal, write_durable
from sup.errors import ExitCode, OperatorError
from sup.model.maintenance import ALL, Entry, MaintenanceError, MaintenanceList, Moment, entry

log = logging.getLogger("sup.services")

KIND = "maintenance"
FILE_BYTES_MAX = 1024 * 1024
"""The longest list there can be is a quarter of it."""


def now() -> Moment:
    """This moment by both clocks."""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot_id())


class Maintenance:
    """Which services are in maintenance, why, and for how long."""

    def __init__(self, path: Path, clock: Callable[[], Moment] = now) -> None:
        self.warnings: list[str] = []
        """A damaged file, a line."""
        self._path = path
        self._clock = clock
        self._writing = asyncio.Lock()
        self._list = self._load()

    def reason(self, name: str) -> str:
        """Why the service ``name`` is in maintenance, or empty."""
        return self._list.reason(name)

    def entries(self) -> list[tuple[Entry, float | None]]:
        """All, by name, each with the seconds that are left (None: no end)."""
        moment = self._clock()
        return [(one, one.left_s(moment)) for one in self._list.entries]

    async def begin(self, name: str, reason: str, for_s: float | None) -> None:
        """Put a service (or ``model.maintenance.ALL``) into maintenance, durably.

        Raises:
            OperatorError: the reason or the time is not usable, or the disk refuses; then nothing
            has changed.
        """
        async with self._writing:
            new = MaintenanceList(self._list.entries)
            new.add(entry(name, reason, for_s, self._clock()))
            await self._save(new)
        log.info("maintenance on name=%s for_s=%s reason=%r", name, for_s or "-", reason)
        _tell(name, f"in maintenance: {reason.strip()}")

    async def end(self, name: str) -> list[str]:
        """End the maintenance of a service (``ALL``: every one), durably; returns whose it was.

        Raises:
            OperatorError: the disk refuses; nothing has changed.
        """
        async with self._writing:
            new = MaintenanceList(self._list.entries)
            ended = [one.name for one in new.end(name)]
            if ended:
                await self._save(new)
        for one in ended:
            log.info("maintenance off name=%s", one)
            _tell(one, "out of maintenance")
        return ended

    def expire(self) -> bool:
        """End those whose time is over; whether there were any. The file follows with the next
        change: what it says too much is over at the next start as well.
        """
        if not self._list:
            return False
        over = self._list.expire(self._clock())
        for one in over:
            log.info("maintenance over name=%s reason=%r", one.name, one.reason)
            _tell(one.name, f"out of maintenance, its time is over: {one.reason}")
        return bool(over)

    async def _save(self, new: MaintenanceList) -> None:
        try:
            await asyncio.to_thread(write_durable, self._path, seal(new.encode(), KIND))
        except OSError as error:
            raise OperatorError(
                f"can't write {self._path}: {error.strerror}", ExitCode.FAILED
            ) from None
        self._list = new

    def _load(self) -> MaintenanceList:
        try:
            with self._path.open("rb") as file:
                found = MaintenanceList.decode(unseal(file.read(FILE_BYTES_MAX), KIND))
        except FileNotFoundError:
            return MaintenanceList()
        except (CorruptStateError, MaintenanceError, OSError) as error:
            self._set_aside(error)
            return MaintenanceList()
        found.expire(self._clock())
        found.rebase(self._clock())
        return found

    def _set_aside(self, error: Exception) -> None:
        line = f"state file {self._path.name} is damaged ({error}); no service is in maintenance"
        try:
            line += f"; kept as {quarantine(self._path).name}"
        except OSError as refused:
            line += f"; {refused.strerror}"
        self.warnings.append(line)
        log.error("maintenance lost: %s", line)


def _tell(name: str, text: str) -> None:
    events.tell("maintenance", "" if name == ALL else name, text)
