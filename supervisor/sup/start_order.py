"""The order of the services of this supervisor (floor 8): a gate for each start, and the way down.

Keeps ``after`` of every loaded service (the plan's, and the spec's, which wins), and answers from
how far the others have come now. The rules are in ``sup.model.start_order``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from sup.model.start_order import After, Standing, circle, circle_line, dependants, waits_for
from sup.service import Service

log = logging.getLogger("sup.services")

ORDER_S = 120.0
"""How long an ordered end takes at most until the order is given up and the rest stops at once."""


class StartOrder:
    """Who comes after whom. ``service`` gives the service of a name, None: it has none (yet)."""

    def __init__(self, service: Callable[[str], Service | None]) -> None:
        self._service = service
        self._after: dict[str, After] = {}

    def put(self, name: str, after: After) -> None:
        """``name`` is loaded and comes after these."""
        self._after[name] = after

    def drop(self, name: str) -> None:
        """``name`` is not loaded any more."""
        self._after.pop(name, None)

    def circle_with(self, name: str, after: After) -> str:
        """The line that refuses ``name`` with this ``after``; empty: it fits."""
        way = circle({**self._after, name: after}, name)
        return circle_line(way) if way else ""

    def held(self, name: str) -> str:
        """Why the start of ``name`` waits, or empty."""
        after = self._after.get(name)
        if not after:
            return ""
        if way := circle(self._after, name):
            return circle_line(way)
        standings = {other: standing for other in after if (standing := self._standing(other))}
        return waits_for(after, standings)

    def tell(self, name: str) -> None:
        """``name`` has changed: wake whoever may wait for it."""
        for other, after in self._after.items():
            if name in after and (service := self._service(other)) is not None:
                service.look()

    async def stop(self, services: Mapping[str, Service], order_s: float = ORDER_S) -> None:
        """Stop all, each when those that come after it are gone, independent ones together.

        Bounded by ``order_s`` and the longest bound of a single stop.
        """
        gone = {name: asyncio.Event() for name in services}
        deadline = asyncio.get_running_loop().time() + order_s

        async def stop(name: str, service: Service) -> None:
            try:
                async with asyncio.timeout_at(deadline):
                    for other in dependants(self._after, name):
                        if other in gone:
                            await gone[other].wait()
            except TimeoutError:
                log.warning("order given up name=%s after_s=%.0f", name, order_s)
            with contextlib.suppress(Exception):  # said in the log where it happened
                await service.stop()
            gone[name].set()

        await asyncio.gather(*(stop(name, service) for name, service in services.items()))

    def _standing(self, name: str) -> Standing | None:
        service = self._service(name)
        return None if service is None else service.standing


class OrderGate:
    """Holds the start of one service until those it comes after have come far enough."""

    def __init__(self, order: StartOrder, name: str) -> None:
        self._order = order
        self._name = name

    def held(self) -> str:
        return self._order.held(self._name)
