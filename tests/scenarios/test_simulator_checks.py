"""Every invariant check can fail: planted faults must be found, and by the check that is meant to.

Two kinds of fault are planted: events that a broken core would tell, handed to the checks as if a
member had told them, and nodes that misbehave on the wire, which the whole ring then suffers from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sup_core.config import Config
from sup_core.events import (
    Member,
    MemberChange,
    MemberEvent,
    MemberState,
    Rumor,
    RumorEvent,
    Version,
)
from sup_core.node import Node
from sup_core.simulator import Simulator, Violation
from sup_core.simulator_excuses import grace_us
from sup_core.simulator_network import Network

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def ring(count: int = 4, **options: Any) -> Simulator:
    """Form a small ring that agrees."""
    sim = Simulator(seed=1, **options)
    sim.add(count)
    sim.run_until(sim.converged, 20.0)
    sim.run(40.0)  # past the grace of the starts
    return sim


def tell(
    sim: Simulator,
    change: MemberChange,
    state: MemberState,
    *,
    epoch: int = 1,
    incarnation: int | None = None,
    viewer: int = 0,
    subject: int = 1,
    id: bytes | None = None,
    local: bool = False,
) -> None:
    """Let a viewer tell something about a member, as a broken core might."""
    life = sim.life(subject)
    if incarnation is None:
        incarnation = sim.node_of(subject).local().incarnation
    member = Member(
        id=id or life.id,
        name=life.name,
        address=sim.address(subject),
        state=state,
        epoch=epoch,
        incarnation=incarnation,
        since_us=0,
        local=local,
    )
    sim.observe(viewer, MemberEvent(change, member))


def resurrect(sim: Simulator) -> None:
    """Dead at an incarnation, then alive at the same one."""
    sim.excuse(1)
    tell(sim, MemberChange.DIED, DEAD)
    tell(sim, MemberChange.RETURNED, ALIVE)


def revive_leaver(sim: Simulator) -> None:
    """Left, then alive in the same epoch with a higher incarnation."""
    sim.life(1).left = True
    tell(sim, MemberChange.LEFT, LEFT, incarnation=0)
    sim.life(1).incarnation = 5
    tell(sim, MemberChange.RETURNED, ALIVE, incarnation=1)


def fall_back(sim: Simulator) -> None:
    """Incarnation 2, then 1."""
    sim.life(1).incarnation = 5
    tell(sim, MemberChange.SUSPECTED, SUSPECT, incarnation=2)
    tell(sim, MemberChange.REFUTED, ALIVE, incarnation=1)


def two_values(sim: Simulator) -> None:
    """One version with two values at two members."""
    origin = sim.life(1).id
    for viewer, value in ((0, b"a"), (2, b"b")):
        sim.observe(viewer, RumorEvent(Rumor(1, b"k", origin, Version(1, 1), value)))


def older_version(sim: Simulator) -> None:
    """A rumor is replaced by an older one."""
    rumor = Rumor(1, b"k", sim.life(1).id, Version(1, 1), b"a")
    sim.observe(0, RumorEvent(rumor, previous=Version(1, 2)))


def overfull(sim: Simulator) -> None:
    """A queue above its limit."""
    for index in range(sim.size):
        patch(sim, index, "counters", lambda: {"timers": 1 << 30})
    sim.run(2.0)


def negative(sim: Simulator) -> None:
    """A counter that has wrapped."""
    for index in range(sim.size):
        patch(sim, index, "counters", lambda: {"lost": -1})
    sim.run(2.0)


def self_dead(sim: Simulator) -> None:
    """A member that believes its own death."""
    local = sim.node_of(1).local()
    dead = Member(local.id, local.name, local.address, DEAD, 1, 0, 0, local=True)
    patch(sim, 1, "local", lambda: dead)
    sim.run(5.0)


def silent_change(sim: Simulator) -> None:
    """A view that changes without an event."""
    for index in range(sim.size):
        patch(sim, index, "members", list)
    sim.run(2.0)


def patch(sim: Simulator, index: int, method: str, answer: Callable[[], Any]) -> None:
    """Let one question of a node get another answer."""

    class Patched(Proxy):
        def __getattribute__(self, name: str) -> Any:
            if name == method:
                return answer
            return super().__getattribute__(name)

    sim.boot(index, Patched(sim.node_of(index)))


class Proxy:
    """A node around a node; subclasses change what passes."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


PLANTED: dict[str, tuple[str, Callable[[Simulator], None]]] = {
    "resurrected": ("resurrection", resurrect),
    "leaver revived": ("resurrection", revive_leaver),
    "incarnation falls": ("monotone", fall_back),
    "epoch from the future": (
        "forgery",
        lambda sim: tell(sim, MemberChange.UPDATED, ALIVE, epoch=9),
    ),
    "incarnation forged": (
        "forgery",
        lambda sim: tell(sim, MemberChange.SUSPECTED, SUSPECT, incarnation=1000),
    ),
    "healthy member dies": ("false death", lambda sim: tell(sim, MemberChange.DIED, DEAD)),
    "member shown as left": ("left", lambda sim: tell(sim, MemberChange.LEFT, LEFT)),
    "self told dead": ("self", lambda sim: tell(sim, MemberChange.DIED, DEAD, local=True)),
    "self seen dead": ("self", self_dead),
    "joined twice": ("story", lambda sim: tell(sim, MemberChange.JOINED, ALIVE)),
    "refuted, never suspected": ("story", lambda sim: tell(sim, MemberChange.REFUTED, ALIVE)),
    "silent change": ("story", silent_change),
    "two values": ("one value", two_values),
    "older version": ("one value", older_version),
    "queue overfull": ("bounds", overfull),
    "counter negative": ("bounds", negative),
    "stranger": ("ring", lambda sim: tell(sim, MemberChange.JOINED, ALIVE, id=b"s" * 16)),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_check_with_a_planted_fault_names_it(fault: str) -> None:
    """The right check raises, with seed, time and replay line in its text."""
    check, plant = PLANTED[fault]
    sim = ring()
    with pytest.raises(Violation) as caught:
        plant(sim)
    assert caught.value.check == check
    assert "seed 1" in str(caught.value)
    assert "replay: Simulator(seed=1)" in str(caught.value)


class Unanswering(Proxy):
    """Never lets an answer out: of what it sends, only every fourth datagram passes by chance."""

    def poll_transmit(self) -> tuple[bytes, bytes] | None:
        """Drop everything that it wants to send."""
        while self.inner.poll_transmit() is not None:
            pass
        return None


def test_member_that_never_answers_is_found_by_the_false_death_check() -> None:
    """Its refutations are lost, so the ring buries it, though the simulator knows no excuse."""
    sim = ring()
    sim.boot(1, Unanswering(sim.node_of(1)))
    with pytest.raises(Violation) as caught:
        sim.run(30.0)
    assert caught.value.check == "false death"


class Throwing(Proxy):
    """Raises on a datagram."""

    def handle_datagram(self, data: bytes, source: bytes, now: int) -> None:
        """Break the promise never to raise."""
        raise IndexError("off the end")


def test_node_that_raises_is_a_violation_with_its_error() -> None:
    """An exception inside a node is reported like a broken invariant."""
    sim = ring()
    sim.boot(1, Throwing(sim.node_of(1)))
    with pytest.raises(Violation, match="off the end"):
        sim.run(30.0)


class Hasty(Proxy):
    """Tells a death for every suspicion, as a core without a refutation would."""

    def poll_event(self) -> Any:
        """Forge the verdict."""
        event = self.inner.poll_event()
        if isinstance(event, MemberEvent) and event.change is MemberChange.SUSPECTED:
            m = event.member
            dead = Member(m.id, m.name, m.address, DEAD, m.epoch, m.incarnation, m.since_us)
            return MemberEvent(MemberChange.DIED, dead)
        return event


def test_pause_below_tolerance_with_a_hasty_verdict_is_found() -> None:
    """Refutation must win when the pause is shorter than the tolerance; here it can't."""
    sim = ring(node_type=lambda *a, **k: Hasty(Node(*a, **k)))
    sim.run(10.0)
    for n in range(20):
        sim.at(sim.now_us + n * 5_000_000, lambda: sim.freeze(1, 1.9))
    with pytest.raises(Violation) as caught:
        sim.run(100.0)
    assert caught.value.check == "false death"


def test_bound_that_is_missed_says_who_disagrees() -> None:
    """A convergence bound fails with the disagreement in its text."""
    sim = ring()
    sim.crash(1)
    with pytest.raises(Violation, match=r"took more than 0\.5 s: .*m1.* for alive"):
        sim.run_until(sim.converged, 0.5)


def test_excuse_of_a_long_pause_is_not_given_to_a_short_one() -> None:
    """The tolerance decides, at its exact value."""
    sim = ring()
    tolerance = Config().pause_tolerance_us / 1e6
    before = sim.life(1).excused_until
    sim.freeze(1, tolerance - 0.000_001)
    assert sim.life(1).excused_until == before
    sim.freeze(1, tolerance)
    assert sim.life(1).excused_until > before


def test_network_loss_above_the_strict_bound_excuses_for_its_time_and_a_grace() -> None:
    """At 5 % nobody may die; above it false deaths are allowed, until a grace after it ends."""
    sim = ring(network=Network(loss=0.01))
    sim.set_network_loss(0.05)
    assert sim.excuses.harsh_until == 0
    sim.set_network_loss(0.2)
    assert sim.excuses.harsh_until > sim.now_us + 1_000_000_000
    sim.set_network_loss(0.0)
    grace = grace_us(sim.config, sim.network, sim.size)
    assert sim.excuses.harsh_until == sim.now_us + grace
    assert grace < 4_000_000
