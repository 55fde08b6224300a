"""Invariants that are looked at while a simulated ring runs, at every event of every member.

A check sees what one viewer reports about one member, what that viewer held before, and what is
true because the simulator did it. It never touches a node's inputs and draws no random number, so
a run is the same with and without checks. A broken invariant raises `Violation` with the seed,
the virtual time and a line that replays it.

What counts as a false death is said in `sup_core.simulator_excuses`. An excused one may be told but
must not last: that the convergence bounds of the scenarios find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from sup_core.events import MemberChange, MemberEvent, MemberState, RumorEvent
from sup_core.limits import MEMBERS_MAX, PULLS_MAX, RUMOR_BYTES_MAX, RUMORS_MAX, TIMERS_MAX

if TYPE_CHECKING:
    from sup_core.simulator import Life, Simulator

PACKETS_PER_S_MAX = 3000
"""Packets that one member may send per second, averaged between two samples; far above a mass
change at 1,000 members (fan-out 3, four packets a tick, five ticks a second, and all probes): a
storm."""

_QUEUE_BOUNDS = {
    "timers": TIMERS_MAX,
    "pulls": PULLS_MAX,
    "rumors_stored": RUMORS_MAX,
    "rumor_bytes": RUMOR_BYTES_MAX,
    "members_rows": MEMBERS_MAX,
    "news_members": MEMBERS_MAX,
    "news_rumors": RUMORS_MAX,
    # What a healthy driver never loses: a drop here is a queue that overflowed.
    "packets_out_dropped": 0,
    "events_dropped": 0,
    "timers_refused": 0,
    "effects_refused": 0,
}


class Violation(AssertionError):
    """A simulated ring broke an invariant; the text names the seed, the time and how to replay
    it."""

    def __init__(self, check: str, text: str, *, seed: int, t_us: int, replay: str) -> None:
        super().__init__(f"{check} at {t_us / 1e6:.6f} s, seed {seed}: {text}; replay: {replay}")
        self.check = check
        self.seed = seed
        self.t_us = t_us
        self.replay = replay


class Seen(NamedTuple):
    """What a viewer's events say that it holds of a member."""

    state: MemberState
    epoch: int
    incarnation: int


class Check:
    """One invariant; subclasses override the questions they need."""

    name = ""

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """Judge an event about another member of a ring."""

    def rumor(self, sim: Simulator, viewer: int, event: RumorEvent) -> None:
        """Judge a change of the viewer's rumor store."""

    def sample(self, sim: Simulator, viewer: int) -> None:
        """Judge the whole view of one member, about once per virtual second in turn."""

    def reset(self, viewer: int) -> None:
        """Forget the viewer: a new process starts there."""


class Story(Check):
    """Events tell each transition once and in order, and end where the view is."""

    name = "story"
    _FROM: ClassVar[dict[MemberChange, tuple[MemberState | None, ...]]] = {
        MemberChange.JOINED: (None,),
        MemberChange.UPDATED: tuple(MemberState),
        MemberChange.SUSPECTED: (MemberState.ALIVE,),
        MemberChange.REFUTED: (MemberState.SUSPECT,),
        MemberChange.DIED: (None, MemberState.ALIVE, MemberState.SUSPECT),
        MemberChange.LEFT: (None, MemberState.ALIVE, MemberState.SUSPECT, MemberState.DEAD),
        MemberChange.RETURNED: (MemberState.DEAD, MemberState.LEFT),
        MemberChange.FORGOTTEN: (MemberState.DEAD, MemberState.LEFT),
    }
    _TO: ClassVar[dict[MemberChange, MemberState]] = {
        MemberChange.JOINED: MemberState.ALIVE,
        MemberChange.SUSPECTED: MemberState.SUSPECT,
        MemberChange.REFUTED: MemberState.ALIVE,
        MemberChange.DIED: MemberState.DEAD,
        MemberChange.LEFT: MemberState.LEFT,
        MemberChange.RETURNED: MemberState.ALIVE,
    }

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """The change must lead from the state held before to the state told."""
        held = None if before is None else before.state
        wanted = self._TO.get(event.change, event.member.state)
        if event.change is MemberChange.UPDATED and held is not None:
            wanted = held
        # The end of a start that this viewer never saw: gone before, gone now, of a newer epoch.
        again = before is not None and event.member.epoch > before.epoch and held == wanted
        if (held not in self._FROM[event.change] and not again) or event.member.state != wanted:
            sim.violate(
                self.name,
                f"{sim.name(viewer)} tells {event.change.value} of {life.name}, "
                f"held {held!r}, now {event.member.state!r}",
            )

    def sample(self, sim: Simulator, viewer: int) -> None:
        """What the events told is what the node answers."""
        told = sim.told(viewer)
        held = {
            m.id: Seen(m.state, m.epoch, m.incarnation)
            for m in sim.node_of(viewer).members()
            if not m.local
        }
        if told.keys() != held.keys():
            odd = sorted(sim.name_of(i) for i in told.keys() ^ held.keys())
            sim.violate(self.name, f"{sim.name(viewer)}: events and view differ about {odd}")
        for key, seen in told.items():
            if seen.state != held[key].state or seen.epoch != held[key].epoch:
                sim.violate(
                    self.name,
                    f"{sim.name(viewer)}: events left {sim.name_of(key)} at {seen}, "
                    f"the view holds {held[key]}",
                )


class Monotone(Check):
    """``(epoch, incarnation)`` of a member never falls in one viewer's life, not even when
    forgotten."""

    name = "monotone"

    def __init__(self) -> None:
        self._highest: dict[int, dict[bytes, tuple[int, int]]] = {}

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """Compare with the highest pair this viewer ever told."""
        highest = self._highest.setdefault(viewer, {})
        now = (event.member.epoch, event.member.incarnation)
        if now < highest.get(life.id, (0, 0)):
            sim.violate(
                self.name,
                f"{sim.name(viewer)} tells {event.change.value} of {life.name} at {now}, "
                f"after {highest[life.id]}",
            )
        highest[life.id] = now

    def reset(self, viewer: int) -> None:
        """A new process has told nothing."""
        self._highest.pop(viewer, None)


class Resurrection(Check):
    """Dead returns only with newer evidence, left only with a new epoch, also after being
    forgotten."""

    name = "resurrection"

    def __init__(self) -> None:
        self._buried: dict[int, dict[bytes, Seen]] = {}

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """Remember burials; measure every return against them."""
        m = event.member
        buried = self._buried.setdefault(viewer, {})
        if m.state in (MemberState.DEAD, MemberState.LEFT):
            buried[life.id] = Seen(m.state, m.epoch, m.incarnation)
            return
        grave = buried.get(life.id)
        if grave is None:
            return
        if before is None and life.running and not life.left and m.epoch == life.epoch:
            del buried[life.id]
            return
        newer = (m.epoch, m.incarnation) > (grave.epoch, grave.incarnation)
        if m.epoch <= grave.epoch and (grave.state is MemberState.LEFT or not newer):
            sim.violate(
                self.name,
                f"{sim.name(viewer)} tells {event.change.value} of {life.name} at "
                f"({m.epoch}, {m.incarnation}) by {event.why}, buried as {grave}",
            )

    def reset(self, viewer: int) -> None:
        """A new process has buried nobody."""
        self._buried.pop(viewer, None)


class Forgery(Check):
    """Nobody is at an epoch or incarnation that it has not reached itself."""

    name = "forgery"

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """Compare with the member's own numbers."""
        m = event.member
        if (m.epoch, m.incarnation) > sim.own_evidence(life, (m.epoch, m.incarnation)):
            sim.violate(
                self.name,
                f"{sim.name(viewer)} holds {life.name} at ({m.epoch}, {m.incarnation}), "
                f"itself is at ({life.epoch}, {life.incarnation})",
            )


class FalseDeath(Check):
    """No healthy, reachable member is declared dead; a refutation wins over a short pause."""

    name = "false death"

    def __init__(self) -> None:
        self._verdicts: set[tuple[bytes, int, int]] = set()
        """What any viewer declared, or was told of a member that it showed."""

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """Look for an excuse."""
        verdict = (life.id, event.member.epoch, event.member.incarnation)
        if event.change is MemberChange.DIED and before is not None:
            self._verdicts.add(verdict)
        if event.change is not MemberChange.DIED or not life.running or life.left:
            return
        if event.member.epoch < life.epoch:
            return  # an earlier start of it is dead indeed
        if before is None and verdict in self._verdicts:
            # Who never knew it is told what others hold, by somebody that has just started with an
            # old disk, or from beyond a split. Whoever declared it was judged then, and nobody
            # loses it here; that it comes back is a matter of agreement.
            return
        if sim.excused(viewer, life):
            return
        why = "; ".join(sim.node_of(viewer).why(life.id))
        sim.violate(
            self.name, f"{sim.name(viewer)} declares {life.name} dead, which is well: {why}"
        )


class LeftStays(Check):
    """Only a member that left is shown as left."""

    name = "left"

    def member(
        self, sim: Simulator, viewer: int, life: Life, event: MemberEvent, before: Seen | None
    ) -> None:
        """Compare with what the simulator did."""
        m = event.member
        if m.state is MemberState.LEFT and m.epoch >= life.epoch and not life.left:
            sim.violate(self.name, f"{sim.name(viewer)} shows {life.name} as left; it has not")


class SelfAlive(Check):
    """A member never sees itself suspect or dead, nor left before it leaves."""

    name = "self"

    def sample(self, sim: Simulator, viewer: int) -> None:
        """Ask it about itself."""
        state = sim.node_of(viewer).local().state
        allowed = (MemberState.ALIVE,) if not sim.life(viewer).left else tuple(MemberState)[::3]
        if state not in allowed:
            sim.violate(self.name, f"{sim.name(viewer)} sees itself as {state!r}")


class OneValue(Check):
    """One version of a rumor has one value, wherever it is told; versions only rise."""

    name = "one value"

    def __init__(self) -> None:
        self._values: dict[tuple[int, bytes, bytes, object], int | None] = {}

    def rumor(self, sim: Simulator, viewer: int, event: RumorEvent) -> None:
        """Compare with the first time this version was told."""
        r = event.rumor
        ring = sim.life(viewer).ring.encode()
        owner = r.origin if r.kind < 64 else b""
        value = None if r.value is None else sim.digest_of(r.value)
        first = self._values.setdefault((r.kind, ring + b"\0" + r.key, owner, r.version), value)
        if first != value:
            sim.violate(
                self.name,
                f"{sim.name(viewer)} holds kind {r.kind} key {r.key!r} version {r.version} "
                f"with another value than was told before",
            )
        if event.previous is not None and not event.previous < r.version:
            sim.violate(
                self.name,
                f"{sim.name(viewer)} replaces {event.previous} of {r.key!r} by {r.version}",
            )


class Bounds(Check):
    """Queues stay below their limits, counters never fall, nobody sends a storm."""

    name = "bounds"

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}

    def sample(self, sim: Simulator, viewer: int) -> None:
        """Look at the counters of the node and of its socket."""
        counters = sim.node_of(viewer).counters()
        for key, bound in _QUEUE_BOUNDS.items():
            if counters.get(key, 0) > bound:
                sim.violate(
                    self.name, f"{sim.name(viewer)}: {key} is {counters[key]}, limit is {bound}"
                )
        negative = [key for key, value in counters.items() if value < 0]
        if negative:
            sim.violate(self.name, f"{sim.name(viewer)}: negative counters {negative}")
        sent = sim.traffic(viewer)["sent_packets"]
        t0, sent0 = self._last.get(viewer, (0, 0))
        if (sent - sent0) * 1_000_000 > PACKETS_PER_S_MAX * max(1_000_000, sim.now_us - t0):
            sim.violate(
                self.name,
                f"{sim.name(viewer)} sent {sent - sent0} packets in {sim.now_us - t0} us",
            )
        self._last[viewer] = (sim.now_us, sent)


def default_checks() -> list[Check]:
    """Return a fresh set of all checks."""
    return [
        Story(),
        Monotone(),
        Resurrection(),
        Forgery(),
        FalseDeath(),
        LeftStays(),
        SelfAlive(),
        OneValue(),
        Bounds(),
    ]
