"""How the hooks of one service ended last: for its status, and as events (floor 8).

A hook that fails the same way again and again (an ``init`` in its backoff) is told once a minute:
the list of events must not be all its.
"""

from __future__ import annotations

import time
from typing import Any

from sup import events
from sup.edge.hooks import HookResult

OUTPUT_CHARACTERS_MAX = 1024
"""Tail of a hook's output that is kept for the status, per hook."""
TELL_AGAIN_S = 60.0


class HookRuns:
    """The last run of each hook."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._rows: dict[str, dict[str, Any]] = {}
        self._told: dict[str, tuple[str, float]] = {}

    def ended(self, hook: str, result: HookResult) -> None:
        """Keep how ``hook`` ended; a bad end is told as an event."""
        self._rows[hook] = {
            "exit_code": result.exit_code,
            "signal": result.signal,
            "timed_out": result.timed_out,
            "elapsed_ms": result.elapsed_ms,
            "at_s": int(time.time()),
            "output": result.output[-OUTPUT_CHARACTERS_MAX:],
        }
        if result.ok:
            self._told.pop(hook, None)
        else:
            self.tell(hook, f"{hook} hook {result.reason}")

    def tell(self, hook: str, text: str) -> None:
        """Tell of a hook, unless just this was told within the last minute."""
        now_s = time.monotonic()
        before, at_s = self._told.get(hook, ("", 0.0))
        # The time-out's own length differs by milliseconds from run to run.
        if _how(text) == _how(before) and now_s - at_s < TELL_AGAIN_S:
            return
        self._told[hook] = (text, now_s)
        events.tell("hook", self._service, text, hook=hook)

    def answer(self) -> dict[str, dict[str, Any]]:
        """For the REST interface: by hook, when it ran last and how it ended."""
        return {hook: dict(row) for hook, row in sorted(self._rows.items())}


def _how(text: str) -> str:
    return text.partition(" after ")[0] if "timed out" in text else text
