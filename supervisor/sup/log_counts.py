"""What the launcher has counted of the services' logs, for ``sup status`` and ``/v1/services``.

The launcher is asked when somebody asks the supervisor, at most once a second, and never waited for
long: an old count is better than no answer. Without a launcher there is nothing to count.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

ASK_S = 0.5
FRESH_S = 1.0
FIELDS = ("lines", "bytes", "dropped_lines", "dropped_bytes", "rotations", "problem")
"""As ``LogEngine.tally`` gives them; dropped lines and bytes are among those counted first."""

log = logging.getLogger("sup.launcher")

Ask = Callable[[], Awaitable[Mapping[str, Sequence[Any]]]]


class LogCounts:
    """The last counts of all logs. ``ask`` asks the launcher; None where there is none."""

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        self._counts: dict[str, dict[str, Any]] = {}
        self._asked_s = -FRESH_S

    async def refresh(self) -> None:
        """Ask, unless the counts are of the last second; never raises."""
        if self._ask is None or time.monotonic() - self._asked_s < FRESH_S:
            return
        self._asked_s = time.monotonic()
        try:
            async with asyncio.timeout(ASK_S):
                tally = await self._ask()
        except Exception as error:  # whatever ails the launcher is told elsewhere
            log.debug("log counts unknown: %r", error)
            return
        self._counts = {
            name: dict(zip(FIELDS, counts, strict=False)) for name, counts in tally.items()
        }

    def of(self, name: str) -> dict[str, Any] | None:
        """The counts of one service's log since its launcher opened it, or None."""
        return self._counts.get(name)
