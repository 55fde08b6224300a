"""Whether the process of one service is ready, and whether it has become faulty (floor 8).

Holds what ``sup.model.readiness`` needs: what the service said (``Process.notifications``), since
when the clock runs, and the one timer. It decides nothing: a fault is shown to the service's task,
which ends the process. There is no polling: the timer stands at the next deadline.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from sup.edge.processes import Process
from sup.model.next_step import Fault
from sup.model.notify import Notified
from sup.model.readiness import Rules, next_deadline, ready, seen
from sup.service_status import StatusBoard

logger = logging.getLogger("sup.service")


class Readiness:
    """Readiness and watchdog of the process that runs now."""

    def __init__(self, name: str, rules: Rules, board: StatusBoard, wake: asyncio.Event) -> None:
        self.fault: Fault | None = None
        """Why the process must be ended; None: it may go on."""
        self.rules = rules
        self._name = name
        self._board = board
        self._wake = wake
        self._since_s = 0.0
        self._assumed = False
        self._process: Process | None = None

    @property
    def ready(self) -> bool:
        """The process counts as started by its type."""
        return ready(self.rules, self._said)

    def begin(self, process: Process, *, adopted: bool) -> None:
        """A process was started or taken over: its times run from now.

        One that is taken over without a word on what it had said counts as ready: to end a service
        that works would be worse than to trust one that does not yet.
        """
        self.fault = None
        self._process = process
        self._assumed = adopted and process.notifications is None
        self._since_s = asyncio.get_running_loop().time()

    def end(self) -> None:
        """There is no process any more."""
        self._process = self.fault = None
        self._board.says("")

    async def watch(self) -> None:
        """Follow what the process says, and the time, until there is a fault; then wake."""
        process = self._process
        assert process is not None
        loop = asyncio.get_running_loop()
        was_ready = self.ready
        while True:
            process.notified.clear()
            said = self._said
            if self.ready and not was_ready:
                was_ready = True
                self._since_s = loop.time()
                self._wake.set()
            self._board.says(said.status)
            deadline = next_deadline(self.rules, said, self._since_s)
            wait_s = None if deadline is None else max(0.0, deadline.at_s - loop.time())
            try:
                async with asyncio.timeout(wait_s):
                    await process.notified.wait()
                continue
            except TimeoutError:
                pass
            assert deadline is not None
            if process.notified.is_set():
                continue
            if seen(deadline, loop.time()):
                self.fault = deadline.fault
                self._wake.set()
                return
            logger.warning(
                "deadline seen late name=%s late_s=%.1f: given again",
                self._name,
                loop.time() - deadline.at_s,
            )
            self._since_s = loop.time()

    @property
    def _said(self) -> Notified:
        said = Notified() if self._process is None else self._process.notifications or Notified()
        return replace(said, ready=True) if self._assumed else said
