"""The ledger and light mode: the same run without Python events, and counts that hold the truth."""

from __future__ import annotations

from typing import Any

import pytest

from sup_core.events import Member, MemberChange, MemberEvent, MemberState
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form, settle
from sup_core.simulator_ledger import Ledger


def ring(count: int, **options: Any) -> Simulator:
    """Form a ring in light mode."""
    sim = Simulator(seed=5, light=True, **options)
    form(sim, count)
    return sim


def stormy(light: bool) -> Simulator:
    """Run a crash, a split, a restart and a leave."""
    sim = Simulator(seed=9, light=light)
    form(sim, 12)
    sim.crash(3)
    sim.partition([[0, 1, 2]])
    sim.run(30.0)
    sim.heal()
    sim.run(40.0)
    sim.restart(3)
    sim.leave(5)
    sim.run(20.0)
    return sim


def test_light_run_is_the_same_run_as_with_events() -> None:
    """Equal traces, equal counts of changes: light mode only looks away."""
    light, full = stormy(light=True), stormy(light=False)
    assert light.trace == full.trace
    assert light.changes == full.changes
    assert light.changes[MemberChange.DIED] > 20
    assert light.ending(5) == full.ending(5)


def test_light_convergence_agrees_with_the_events_at_every_moment() -> None:
    """The counters of the ledger say what comparing all views says."""
    light, full = Simulator(seed=4, light=True), Simulator(seed=4)
    said = []
    for sim in (light, full):
        sim.add(8, over=0.5)
        answers = []
        for step in range(120):
            if step == 30:
                sim.crash(2)
            if step == 60:
                sim.partition([[0, 1, 3]])
            if step == 90:
                sim.heal()
            sim.run(0.25)
            answers.append(sim.converged())
        said.append(answers)
    assert said[0] == said[1]
    assert True in said[0][:30]
    assert False in said[0]


def test_ending_of_a_crash_has_first_median_and_last_in_order() -> None:
    """Everybody who held it alive comes to know, and none twice."""
    sim = ring(30)
    sim.crash(7)
    at = sim.now_us
    assert sim.ending(7).unaware == 29
    sim.run_until(lambda: sim.ending(7).unaware == 0, 10.0)
    ending = sim.ending(7)
    assert ending.ended_us == at
    assert at < ending.first_us <= ending.median_us <= ending.last_us <= sim.now_us
    assert ending.aware == 29


def test_joined_member_is_held_by_all_others_once_it_is_known() -> None:
    """One more member: its holders rise to all, and the ledger knows when."""
    sim = ring(10)
    before = sim.now_us
    index = sim.add(1)[0]
    settle(sim)
    number = sim.life(index).number
    assert sim.ledger.holders(number) == 10
    assert before < sim.ledger.everybody_us(number) <= sim.now_us


def test_death_of_a_running_member_is_excused_by_a_long_pause_only() -> None:
    """The ledger lists who declared whom, and whether that could have been avoided."""
    sim = ring(10)
    sim.run(40.0)
    sim.freeze(4, 10.0)
    sim.run(10.0)
    deaths = sim.ledger.deaths
    assert {d.host for d in deaths} == {4}
    assert all(d.excused for d in deaths)
    assert sim.ledger.false_deaths == len(deaths) == 9
    assert sim.ledger.healthy_deaths == 0


def test_death_of_a_deaf_looking_member_without_excuse_is_a_healthy_one() -> None:
    """Its packets are lost behind the ledger's back: nobody excused it."""
    sim = ring(10)
    sim.run(40.0)
    sim.set_loss(4, outgoing=1.0)
    sim.run(10.0)
    assert sim.ledger.healthy_deaths > 0
    assert not sim.ledger.deaths[0].excused


def test_split_counts_deaths_across_it_as_excused() -> None:
    """A partition that stands needs no excuse per member."""
    sim = ring(10)
    sim.run(40.0)
    sim.partition([[0, 1, 2, 3, 4]])
    settle(sim)
    sim.run(10.0)  # a suspect is not alive, but not dead yet either
    assert sim.ledger.false_deaths == 50
    assert sim.ledger.healthy_deaths == 0
    assert sim.ledger.wrong == 0
    sim.heal()
    assert sim.ledger.wrong == 50
    settle(sim)
    assert sim.ledger.wrong == 0


def test_follow_tells_when_a_rumor_was_seen_and_how_many_copies_came() -> None:
    """First sights of all hosts, and datagrams that held the key."""
    sim = ring(20)
    sim.run(3.0)
    spread = sim.follow(1, b"distinct")
    sim.publish(0, 1, b"distinct", b"value")
    sim.run_until(lambda: sim.ledger.seen_by_all(spread), 3.0)
    delays = spread.delays_us()
    assert len(delays) == 20
    assert delays[0] == 0
    assert 0 < delays[-1] < 3_000_000
    assert spread.first_us(0) == spread.start_us
    assert sum(spread.copies()) >= 19


def test_watch_in_light_mode_is_refused() -> None:
    """There are no Python events to hand out."""
    with pytest.raises(ValueError, match="light mode"):
        ring(2).watch(lambda viewer, event: None)


def test_ledger_counts_a_change_that_no_order_of_events_allows() -> None:
    """A suspicion of who was never shown."""
    sim = Simulator(seed=1)
    form(sim, 3)
    me = sim.node_of(1).local()
    member = Member(me.id, me.name, me.address, MemberState.ALIVE, 1, 0, 0)
    sim.ledger.tell(0, MemberEvent(MemberChange.REFUTED, member), sim.now_us)
    assert sim.ledger.odd_changes == 1
    assert sim.ledger.odd.startswith("host 0 tells refuted of host 1")


@pytest.mark.parametrize("number", [-1, 5])
def test_ledger_refuses_a_life_that_is_not_there(number: int) -> None:
    """Indices are checked at every question."""
    with pytest.raises(IndexError):
        Ledger().ending(number)
