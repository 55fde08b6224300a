"""Telling the ring of services: what can't be told must not end whoever was to tell it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sup.model.service_rumor import ServiceRumor, decode
from sup.service_teller import ServiceTeller
from sup_core.events import Rumor, Version

ME = "0a" * 16
KEY = b"web.default"


class FakeRing:
    """Remembers what was published."""

    member_id = ME

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.count = 0
        self.full = False

    def publish(self, kind: int, key: bytes, value: bytes) -> Version:
        if self.full:
            raise ValueError("512 rumors, limit is 512")
        self.count += 1
        self.values[key] = value
        return Version(1, self.count)

    def retract(self, kind: int, key: bytes) -> Version:
        del self.values[key]
        return Version(1, self.count)

    def rumors(self, kind: int | None = None) -> list[Rumor]:
        mine = [Rumor(1, k, bytes.fromhex(ME), Version(1, 1), v) for k, v in self.values.items()]
        return [*mine, Rumor(1, b"other.default", b"\x0b" * 16, Version(1, 1), b"")]


def rumor(**exports: Any) -> ServiceRumor:
    return ServiceRumor(service="web", group="default", process="up", exports=exports)


def test_teller_tells_once_and_takes_back() -> None:
    """The same again is no rumor; what is no longer wanted is retracted, others' are left."""
    ring = FakeRing()
    teller = ServiceTeller(ring)
    teller.tell({KEY: rumor(port=80)})
    teller.tell({KEY: rumor(port=80)})
    assert ring.count == 1
    teller.tell({})
    assert ring.values == {}
    teller.tell({KEY: rumor(port=80)})
    assert ring.count == 2


@pytest.mark.parametrize("value", ["x" * 20_000, math.nan, {"a": [[[[[[[[[1]]]]]]]]]}])
def test_teller_export_that_cannot_be_gossiped_leaves_the_rest(value: object) -> None:
    """Any host may apply such a value to the group: no supervisor of it may end by that."""
    ring = FakeRing()
    teller = ServiceTeller(ring)
    for _ in range(2):
        teller.tell({KEY: rumor(port=value)})
    said = decode(ring.values[KEY])
    assert (said.process, said.exports, ring.count) == ("up", {}, 1)
    assert len(teller.problems) == 1
    teller.tell({KEY: rumor(port=80)})
    assert teller.problems == {}
    assert decode(ring.values[KEY]).exports == {"port": 80}


def test_teller_ring_that_is_full_is_asked_again() -> None:
    """A bound of the core is a problem to show, and gone when there is room."""
    ring = FakeRing()
    teller = ServiceTeller(ring)
    ring.full = True
    teller.tell({KEY: rumor()})
    assert "limit is 512" in teller.problems[KEY]
    ring.full = False
    teller.tell({KEY: rumor()})
    assert (teller.problems, ring.count) == ({}, 1)
