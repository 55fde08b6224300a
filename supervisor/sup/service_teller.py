"""What the ring is told of the services here: rumors published when they change, taken back when
nothing stands for them any more (floor 8).

An export is a value of the configuration, which any host of the ring may set: one that can't be
gossiped must not end whoever was to say it. Such a service is told of without its exports, with one
line for the operator.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from sup.model.service_rumor import SERVICE_KIND, ServiceRumor, ServiceRumorError, encode
from sup_core.events import Rumor, Version

log = logging.getLogger("sup.supervisor")


class RingView(Protocol):
    """What is needed of the ring."""

    member_id: str

    def publish(self, kind: int, key: bytes, value: bytes) -> Version: ...
    def retract(self, kind: int, key: bytes) -> Version: ...
    def rumors(self, kind: int | None = None) -> list[Rumor]: ...


class ServiceTeller:
    """Keeps the ring's rumors of this member's services equal to what ``tell`` is given."""

    def __init__(self, ring: RingView) -> None:
        self.problems: dict[bytes, str] = {}
        """Why a service is told of with less than it exports, a line each, by rumor key."""
        self._ring = ring
        self._told: dict[bytes, bytes] = {}

    def tell(self, wanted: Mapping[bytes, ServiceRumor]) -> None:
        """Publish what differs from what was told; retract what is not wanted. Never raises."""
        problems: dict[bytes, str] = {}
        for key in self._stale(wanted):
            self._ring.retract(SERVICE_KIND, key)
            self._told.pop(key, None)
        for key, rumor in wanted.items():
            try:
                data = encode(rumor)
            except ServiceRumorError as error:
                problems[key] = str(error)
                data = encode(dataclasses.replace(rumor, exports={}))
            if self._told.get(key) != data:
                try:
                    self._ring.publish(SERVICE_KIND, key, data)
                    self._told[key] = data
                except ValueError as error:  # a bound of the core: too many, too much
                    problems[key] = f"service {rumor.service}: can't be gossiped: {error}"
        for key, problem in problems.items():
            if self.problems.get(key) != problem:
                log.error("rumor is cut: %s", problem)
        self.problems = problems

    def _stale(self, wanted: Iterable[bytes]) -> list[bytes]:
        """Keys of own service rumors, also of an earlier run, that nothing here stands for."""
        me = bytes.fromhex(self._ring.member_id)
        mine = {rumor.key for rumor in self._ring.rumors(SERVICE_KIND) if rumor.origin == me}
        return sorted(mine.difference(wanted))
