"""The order of a supervisor's services: gates, wake-ups, and the way down with its bound."""

from __future__ import annotations

import asyncio
from typing import cast

from sup.model.process_state import State
from sup.model.start_order import Standing
from sup.service import Service
from sup.start_order import OrderGate, StartOrder


class Standin:
    """A service as far as the order knows it."""

    def __init__(self, name: str, ended: list[str], stop_s: float = 0.01) -> None:
        self.standing = Standing(State.DOWN)
        self.looked = 0
        self._name = name
        self._ended = ended
        self._stop_s = stop_s

    def look(self) -> None:
        self.looked += 1

    async def stop(self) -> None:
        await asyncio.sleep(self._stop_s)
        self._ended.append(self._name)


class Fleet:
    """An order, and services that it may ask for."""

    def __init__(self, **after: dict[str, str]) -> None:
        self.ended: list[str] = []
        self.services = {name: Standin(name, self.ended) for name in after}
        self.order = StartOrder(lambda name: cast(Service, self.services.get(name)))
        for name, others in after.items():
            self.order.put(name, others)  # type: ignore[arg-type]

    async def stop(self, order_s: float) -> None:
        await self.order.stop(cast("dict[str, Service]", self.services), order_s)


async def test_order_holds_a_start_until_the_other_has_come_far_enough() -> None:
    """Visible while it waits; whoever changes wakes those that come after it, and nobody else."""
    fleet = Fleet(db={}, web={"db": "ready"}, other={})
    gate = OrderGate(fleet.order, "web")
    assert gate.held() == "waits for db (ready), which is down"
    fleet.services["db"].standing = Standing(State.UP, True, True)
    fleet.order.tell("db")
    assert gate.held() == ""
    assert [fleet.services[name].looked for name in ("db", "web", "other")] == [0, 1, 0]
    fleet.order.drop("db")
    del fleet.services["db"]
    assert gate.held() == "waits for db (ready), which is not loaded here"


async def test_order_refuses_a_circle_by_name_and_holds_who_is_in_one() -> None:
    """At sup start it is refused; edited into spec files it holds, and says why."""
    fleet = Fleet(db={"disk": "ready"}, disk={})
    line = fleet.order.circle_with("disk", {"db": "ready"})
    assert line == "after forms a circle: disk -> db -> disk; remove one of them"
    assert fleet.order.circle_with("web", {"db": "ready"}) == ""
    fleet.order.put("disk", {"db": "ready"})
    assert "disk -> db -> disk" in fleet.order.held("disk")
    assert "db -> disk -> db" in fleet.order.held("db")


async def test_order_stops_in_reverse_and_independent_ones_together() -> None:
    """web before db before disk; the one that nobody comes after does not wait."""
    fleet = Fleet(disk={}, db={"disk": "ready"}, web={"db": "ready"}, other={})
    await fleet.stop(30.0)
    assert [name for name in fleet.ended if name != "other"] == ["web", "db", "disk"]
    assert set(fleet.ended[:2]) == {"web", "other"}


async def test_order_is_given_up_after_its_bound() -> None:
    """A service that takes for ever to stop does not keep the others up."""
    fleet = Fleet(db={}, web={"db": "ready"})
    fleet.services["web"] = Standin("web", fleet.ended, stop_s=0.6)
    await fleet.stop(0.1)
    assert fleet.ended == ["db", "web"]


async def test_order_stop_of_a_circle_ends() -> None:
    """A circle has no order: all are stopped at once."""
    fleet = Fleet(a={"b": "ready"}, b={"a": "ready"})
    await asyncio.wait_for(fleet.stop(30.0), 10)
    assert sorted(fleet.ended) == ["a", "b"]
