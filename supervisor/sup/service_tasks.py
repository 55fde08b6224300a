"""Tasks beside the task of a service (floor 8): those begun with its process and ended with it,
never silent, and those of callers that wait for something the service's task will do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("sup.service")
T = TypeVar("T")

CANCEL_PAUSE_S = 3.0
CANCEL_TRIES = 5
"""Together longer than a cancelled hook needs to kill its tree (2 × 5 s)."""


class SideTasks:
    """The tasks that run as long as one process runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` until it ends or ``end`` cancels it; an error is logged."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.append(task)
        return task

    async def end(self) -> None:
        """Cancel all and wait until they are done with it; bounded.

        A health check of a plugin can swallow a cancellation, so it is repeated; one that insists
        is left behind with an error in the log.
        """
        tasks, self._tasks = set(self._tasks), []
        for _ in range(CANCEL_TRIES):
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=CANCEL_PAUSE_S)
        if tasks:
            logger.error("service fault name=%s: a task does not end when cancelled", self._name)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("service fault name=%s", self._name)


class Callers:
    """Who waits until the service's task has done one thing; one that gave up is passed over."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self, wake: asyncio.Event) -> None:
        """Wake the task and wait; raises what ``refuse`` is given."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        wake.set()
        await done

    def take(self) -> Callers:
        """Those that wait now, apart: who comes from here on means something later."""
        taken = Callers()
        taken._waiting, self._waiting = self._waiting, []
        return taken

    def join(self, others: Callers) -> None:
        """``others`` wait for the same from now on."""
        self._waiting += others.take()._waiting

    def answer(self) -> None:
        """It is done."""
        for done in self.take()._waiting:
            if not done.done():
                done.set_result(None)

    def refuse(self, error: Exception) -> None:
        """It will not be done."""
        for done in self.take()._waiting:
            if not done.done():
                done.set_exception(error)


async def unless(
    wake: asyncio.Event, interrupted: Callable[[], bool], work: Coroutine[Any, Any, T]
) -> T | None:
    """Do ``work`` unless ``interrupted`` turns true first: then cancel it and return None.

    ``interrupted`` is asked whenever ``wake`` is set; ``wake`` is set at the end, so that whatever
    came meanwhile is looked at by its owner.
    """
    task = asyncio.create_task(work)
    try:
        while not task.done() and not interrupted():
            wake.clear()
            news = asyncio.create_task(wake.wait())
            await asyncio.wait({task, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        return task.result() if task.done() else None
    finally:
        wake.set()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
