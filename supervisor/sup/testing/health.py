"""Contract of a health check: an answer in time, whatever the service does.

These tests run your check for real, so give it a context in which it can run (``contexts``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from sup.model.health import OUTPUT_BYTES_MAX
from sup.plugin_api import CheckContext, CheckResult, Health, HealthCheck

_GRACE_S = 2.0
"""On top of the check's own time-out: a busy machine is not a broken check."""


class HealthCheckContract:
    """Subclass as ``Test…`` and define ``make``; override ``contexts`` for settings of yours."""

    def make(self) -> HealthCheck:
        """Return a fresh check."""
        raise NotImplementedError("define make() in your test class")

    def contexts(self) -> Sequence[CheckContext]:
        """Return the contexts to check in; one of a service without a directory by default."""
        return (
            CheckContext(
                service="app",
                directory="/nonexistent",
                hook_path=None,
                process_up=True,
                timeout_s=1.0,
            ),
        )

    def test_check_returns_a_result_within_its_timeout(self) -> None:
        """Each context, process up or not, gets a ``CheckResult`` before ``timeout_s`` is over."""
        for context in self.contexts():
            for up in (True, False):
                result = _run(self.make(), replace(context, process_up=up))
                assert isinstance(result, CheckResult), f"got {result!r}"
                assert isinstance(result.health, Health), f"health is {result.health!r}"
                size = len(result.output.encode())
                assert size <= OUTPUT_BYTES_MAX, (
                    f"output is {size} bytes, the limit is {OUTPUT_BYTES_MAX}"
                )

    def test_check_can_be_cancelled(self) -> None:
        """A cancelled check ends at once, as it must when the service is stopped."""
        for context in self.contexts():
            _cancel(self.make(), context)

    def test_checks_may_overlap(self) -> None:
        """Two services share one check object: their checks run at the same time."""
        contexts = list(self.contexts())

        check = self.make()

        async def both() -> None:
            await asyncio.gather(*(check.check(context) for context in contexts * 2))

        _bounded(both(), max(context.timeout_s for context in contexts))


def _run(check: HealthCheck, context: CheckContext) -> Any:
    return _bounded(check.check(context), context.timeout_s)


def _bounded(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
    """Run to the end or fail; a check that ignores its cancellation is left behind."""
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(coroutine)
        loop.run_until_complete(asyncio.wait([task], timeout=timeout_s + _GRACE_S))
        if not task.done():
            task.cancel()
            raise AssertionError(f"check took over its time-out of {timeout_s} s")
        return task.result()
    finally:
        loop.close()


def _cancel(check: HealthCheck, context: CheckContext) -> None:
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(check.check(context))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.wait([task], timeout=_GRACE_S))
        assert task.done(), f"check still runs {_GRACE_S} s after its cancellation"
    finally:
        loop.close()
