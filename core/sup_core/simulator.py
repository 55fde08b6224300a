"""Whole rings in virtual time: real nodes, a modelled network, planted faults and invariant checks.

One `Simulator` is one run, a function of its seed and of the calls made on it: the same script
gives the same trace hash. Times that a caller passes are seconds, times that it reads are
microseconds. Hosts are named by index, in the order they were added.

It is the second driver of `sup_core.node` beside the sockets, and it knows the truth: who runs, and
who could reach whom. `sup_core.simulator_checks` and ``_excuses`` hold the members' views to that.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from sup_core.card_pool import CardPool
from sup_core.config import Config
from sup_core.events import Event, MemberChange, MemberEvent, MemberState, RumorEvent, Version
from sup_core.node import Node
from sup_core.simulator_checks import (
    Check,
    Seen,
    Violation,
    default_checks,
)
from sup_core.simulator_engine import Engine
from sup_core.simulator_excuses import FOREVER_US, LOSS_STRICT, Excuses, grace_us
from sup_core.simulator_ledger import Ending, Ledger, Spread
from sup_core.simulator_network import Dice, Network

__all__ = ["FOREVER_US", "Life", "Network", "Simulator", "Violation"]

SAMPLE_US = 1_000_000
WALL_US = 1_700_000_000_000_000
SEEDS = 3


@dataclass(slots=True)
class Life:
    """The truth about one member id: where it runs and what was done to it."""

    index: int
    id: bytes
    name: str
    ring: str
    epoch: int
    incarnation: int = 0
    running: bool = True
    left: bool = False
    started_us: int = 0
    ended_us: int = 0
    excused_until: int = 0
    number: int = -1  # in the ledger


class Simulator(Engine):
    """A network, its hosts and the members that run on them.

    ``node_type`` is called like `Node`; a test passes a faulty one to see that a check can fail.
    ``replay`` is the line that a violation tells the reader to run. ``light`` runs without a Python
    object per event: `ledger` answers the questions, while `told`, `view`, `watch` and the checks
    stay empty; rings of thousands need it.
    """

    def __init__(
        self,
        *,
        seed: int,
        config: Config | None = None,
        network: Network | None = None,
        checks: Iterable[Check] | None = None,
        node_type: Callable[..., Any] = Node,
        replay: str = "",
        light: bool = False,
    ) -> None:
        self.ledger = Ledger(self._judge)
        super().__init__(seed, network or Network(), self.ledger, light)
        self.seed = seed
        self.config = config or Config()
        self.faults = Dice(seed ^ 0x5EED)  # for scripts, apart from the network's own draws
        self.replay = replay or f"Simulator(seed={seed})"
        self._excused_before: dict[int, int] = {}
        self.isolated: set[int] = set()  # hosts that `isolate` holds
        self.moved: set[int] = set()  # hosts that have another address than at first
        self._deaths: list[tuple[int, int, int]] = []
        self._changes: dict[MemberChange, int] = dict.fromkeys(MemberChange, 0)
        self._checks = list(default_checks() if checks is None else checks)
        if light:
            self._checks = []
        self._rings: dict[str, int] = {}
        # All members hold the cards that one process has of them, as a fleet in one process would.
        self.cards = CardPool(seed)
        self._node_type = partial(Node, cards=self.cards) if node_type is Node else node_type
        self._lives: list[Life] = []
        self._by_id: dict[bytes, Life] = {}
        self._numbered: list[Life] = []
        self._told: list[dict[bytes, Seen]] = []
        self._alive: list[set[bytes]] = []
        self.excuses = Excuses(self.config, self._grace_us)
        self._disks: dict[int, bytes] = {}
        self._seeds: list[list[int]] = []
        self._watchers: list[Callable[[int, Event], None]] = []
        self._next_sample_us = SAMPLE_US
        self._sampled = 0
        self._swallowed: list[Any] = []

    # members

    def add(
        self,
        count: int = 1,
        *,
        ring: str = "sim",
        over: float = 0.0,
        seeds: Sequence[int] | None = None,
        drift_ppm: int | None = None,
        tags: dict[str, str] | None = None,
    ) -> list[int]:
        """Start `count` members, evenly within `over` seconds from now; return their indices.

        They join through `seeds`, by default the ring's first three. Clocks start at random and
        drift by up to 100 ppm, or as told.
        """
        first = self.size
        known = [life.index for life in self._lives if life.ring == ring]
        contacts = list(seeds) if seeds is not None else (known + list(range(first, first + count)))
        contacts = contacts[:SEEDS] if seeds is None else contacts
        indices = []
        for _ in range(count):
            drift = self.faults.integer(-100, 100) if drift_ppm is None else drift_ppm
            index = self.place(None, offset_us=self.faults.integer(1, 10**12), drift_ppm=drift)
            life = Life(index, self._make_id(index, 0), f"m{index}", ring, 0, running=False)
            self._lives.append(life)
            self._enter(life)
            self._told.append({})
            self._alive.append(set())
            self._seeds.append(contacts)
            indices.append(index)
        for n, index in enumerate(indices):
            delay = int(over * 1e6 * n / count)
            if delay:
                self.at(self.now_us + delay, partial(self._start, index, tags))
            else:
                self._start(index, tags)
        return indices

    def crash(self, index: int, *, host: bool = False) -> None:
        """Kill the process, with its host if `host`; its disk keeps what a snapshot holds."""
        life = self._lives[index]
        if not life.running:
            return
        self._disks[index] = self.node_of(index).snapshot()
        self.own_evidence(life, (life.epoch, FOREVER_US))
        life.running = False
        life.ended_us = self.now_us
        self.ledger.end(life.number, self.now_us)
        self.halt(index, host_up=not host)

    def restart(self, index: int, *, disk: bool = True) -> None:
        """Start the process again: with its disk as the same member, else as a new one."""
        self.crash(index)
        old = self._lives[index]
        if not disk:
            life = Life(
                index, self._make_id(index, len(self._by_id)), old.name, old.ring, 0, running=False
            )
            self._lives[index] = life
            self._enter(life)
            self._disks.pop(index, None)
        self._start(index, None)

    def leave(self, index: int) -> None:
        """Let the member leave; once it says that it has, its process ends."""
        life = self._lives[index]
        life.left = True
        self.ledger.depart(life.number, self.now_us)
        self._call(index, "leave")
        self._await_left(index, life)

    def publish(self, index: int, kind: int, key: bytes, value: bytes) -> Version:
        """Publish a rumor at a member."""
        version: Version = self._call(index, "publish", kind, key, value)
        held = self.node_of(index).rumor(kind, key)
        if held is None or held.value != value or held.version != version:
            self.violate("publish", f"{self.name(index)} does not hold what it published: {held}")
        return version

    def retract(self, index: int, kind: int, key: bytes) -> Version:
        """Retract a rumor at a member."""
        version: Version = self._call(index, "retract", kind, key)
        return version

    def move(self, index: int) -> None:
        """Give the member a new address: its socket is rebound and it says so."""
        self._call(index, "set_address", self.rebind(index))
        self.moved.add(index)
        self._excuse_until(index, self.excuses.move(index, self.now_us))

    # faults (pauses and the like in seconds; the engine's own are in microseconds)

    def freeze(self, index: int, seconds: float) -> None:
        """Stop the process for some seconds; excused only if not shorter than the tolerance."""
        self._silence(index, self.now_us + int(seconds * 1e6))
        self.pause(index, int(seconds * 1e6))

    def deafen(self, index: int, seconds: float) -> None:
        """Stop only the reading of a process for some seconds; excused as `freeze` is."""
        self._silence(index, self.now_us + int(seconds * 1e6))
        self.stall(index, int(seconds * 1e6))

    def isolate(self, index: int, *, incoming: float = 1.0, outgoing: float = 1.0) -> None:
        """Lose a share of what a host receives and sends, excused above 5 %; 0 and 0 end it."""
        if incoming > LOSS_STRICT or outgoing > LOSS_STRICT:
            self.isolated.add(index)
            self.excuses.isolate(index, self.now_us)
            before = self._lives[index].excused_until
            if before < FOREVER_US:
                self._excused_before[index] = before
            self._set_excuse(self._lives[index], FOREVER_US)
        else:
            self.isolated.discard(index)
            until = self.excuses.hear(index, self.now_us)
            before = self._excused_before.pop(index, self._lives[index].excused_until)
            self._set_excuse(self._lives[index], max(before, until))
        self.set_loss(index, incoming=incoming, outgoing=outgoing)

    def set_link(self, source: int, target: int, up: bool) -> None:
        """Cut one direction between two hosts, or mend it."""
        super().set_link(source, target, up)
        self.excuses.link(source, target, self.now_us, self.link_loss(source, target))

    def set_link_loss(self, source: int, target: int, share: float) -> None:
        """Lose a share of what one host sends to another."""
        super().set_link_loss(source, target, share)
        self.excuses.link(source, target, self.now_us, self.link_loss(source, target))

    def set_network_loss(self, loss: float) -> None:
        """Change the network's loss; above 5 % false deaths are excused until a grace after it."""
        self.excuses.weather(self.now_us, self.network.loss, loss)
        self.network.loss = loss

    def partition(self, sets: Sequence[Iterable[int]]) -> None:
        """Let packets pass only within each set, and among the hosts that are in none."""
        groups = [0] * self.size
        for number, members in enumerate(sets):
            for index in members:
                groups[index] = number + 1
        for index, group in enumerate(groups):
            self.set_group(index, group)
        parted = self.excuses.split(groups, self.running(), self.now_us)
        for index, until in parted.items():
            self._excuse_until(index, until)
        self.ledger.regroup(groups)

    def heal(self) -> None:
        """End the partition."""
        self.partition([])

    def excuse(self, index: int, seconds: float = 0.0) -> None:
        """Allow others to declare this member dead from now until a grace after `seconds`."""
        self._excuse_until(index, self.now_us + int(seconds * 1e6) + self._grace_us())

    def excused(self, viewer: int, life: Life) -> bool:
        """Return whether the viewer may declare this member dead now, though it runs."""
        then = self.excuses.knew(viewer, self.now_us)
        if then < max(life.excused_until, self.excuses.harsh_until):
            return True
        if self.excuses.group(viewer) != self.excuses.group(life.index):
            return True
        now = self.now_us
        if not self._astray(viewer, life):
            if not self.excuses.unheard(viewer, life.index, now):
                return False
            up = self.running(life.ring)
            if self.ledger.live(viewer) > 1 and self.excuses.third(viewer, life.index, up, now):
                return False
        # Its verdict is told to who comes within reach.
        self._set_excuse(life, self.now_us + self._grace_us())
        return True

    # time

    def run(self, seconds: float) -> None:
        """Let virtual time pass.

        Raises: Violation when a check fails or a node raises.
        """
        end = self.now_us + int(seconds * 1e6)
        # What a compiled leaf raises can't pass it: the interpreter reports it to this hook only.
        hook, sys.unraisablehook = sys.unraisablehook, self._swallowed.append
        try:
            while self.now_us < end:
                self.advance(min(end, self._next_sample_us))
                if self._swallowed:
                    raise RuntimeError(f"swallowed: {self._swallowed[0].exc_value!r}")
                if self.now_us >= self._next_sample_us:
                    self._next_sample_us += SAMPLE_US
                    self._sample()
        except Violation:
            raise
        except Exception as error:
            raise Violation(
                "raised", repr(error), seed=self.seed, t_us=self.now_us, replay=self.replay
            ) from error
        finally:
            sys.unraisablehook = hook
            self._swallowed.clear()

    def run_until(
        self, condition: Callable[[], bool], limit: float, *, every: float = 0.1, what: str = ""
    ) -> float:
        """Let time pass until the condition holds; return the seconds it took.

        Raises: Violation when it does not hold within `limit` seconds.
        """
        start = self.now_us
        while not condition():
            if self.now_us - start >= limit * 1e6:
                self.violate(
                    "bound",
                    f"{what or 'the condition'} took more than {limit} s: {self.disagreement()}",
                )
            self.run(every)
        return (self.now_us - start) / 1e6

    def watch(self, watcher: Callable[[int, Event], None]) -> None:
        """Call `watcher(viewer, event)` at every event, after the checks; not in light mode.

        Raises: ValueError in light mode, where `follow` and `ledger` answer instead.
        """
        if self.light:
            raise ValueError("there are no Python events in light mode; use follow or ledger")
        self._watchers.append(watcher)

    def follow(self, kind: int, key: bytes) -> Spread:
        """Follow a rumor from now on: when each host first sees it, how many copies it gets."""
        return self.ledger.follow(kind, key, self.now_us)

    # questions

    @property
    def changes(self) -> dict[MemberChange, int]:
        """How often each change of a member was told."""
        return self.ledger.changes() if self.light else self._changes

    @property
    def deaths(self) -> Sequence[tuple[int, int, int]]:
        """(t_us, viewer, host) of every death told; in light mode only of hosts that run, at most
        10,000 of them."""
        return [d[:3] for d in self.ledger.deaths] if self.light else self._deaths

    def ending(self, index: int) -> Ending:
        """Return who knows of the crash or departure of a host's member, and since when."""
        return self.ledger.ending(self._lives[index].number)

    def node_of(self, index: int) -> Node:
        """Return the running node of a host. Raises: ValueError if nothing runs there."""
        node = self.node(index)
        if node is None:
            raise ValueError(f"{self.name(index)} does not run")
        return node  # type: ignore[return-value]

    def life(self, index: int) -> Life:
        """Return the truth about the member on a host."""
        return self._lives[index]

    def lives(self) -> list[Life]:
        """Return the truth about the present member of every host."""
        return list(self._lives)

    def running(self, ring: str | None = None) -> list[int]:
        """Return the hosts whose member runs and has not left, in order."""
        return [
            life.index
            for life in self._lives
            if life.running and not life.left and ring in (None, life.ring)
        ]

    def name(self, index: int) -> str:
        """Return the name of the member on a host."""
        return self._lives[index].name

    def name_of(self, member_id: bytes) -> str:
        """Return the name that belongs to a member id."""
        life = self._by_id.get(member_id)
        return life.name if life else member_id.hex()

    def told(self, index: int) -> dict[bytes, Seen]:
        """Return what the events of a host's present process say about the others."""
        return self._told[index]

    def live_count(self, index: int) -> int:
        """Return how many others a member holds alive in their present life."""
        return len(self._alive[index])

    def view(self, index: int) -> dict[str, MemberState]:
        """Return what a member holds of the others, by name (of two lives, the live one)."""
        ordered = sorted(self._told[index].items(), key=lambda item: -item[1].state)
        return {self.name_of(key): seen.state for key, seen in ordered}

    def converged(self) -> bool:
        """Return whether all members that can reach each other agree: on who lives, on rumors."""
        if self.light and self.ledger.wrong > self.size:
            return False  # more than the lonely, who are looked at one by one, can account for
        return not self._disagreement(first=True)

    def disagreement(self) -> str:
        """Describe what stands in the way of `converged`, a few lines at most."""
        return "; ".join(self._disagreement(first=False)[:6]) or "nothing"

    def own_evidence(self, life: Life, wanted: tuple[int, int]) -> tuple[int, int]:
        """Return a member's own highest (epoch, incarnation); asked of it if `wanted` is higher."""
        if wanted > (life.epoch, life.incarnation) and life.running:
            life.incarnation = self.node_of(life.index).local().incarnation
        return life.epoch, life.incarnation

    def digest_of(self, value: bytes) -> int:
        """Return a short stable hash of a rumor's value."""
        return zlib.crc32(value)

    def totals(self) -> dict[str, int]:
        """Return the sums of all sockets' counters, and the engine's own."""
        sums: dict[str, int] = {}
        for index in range(self.size):
            for key, value in self.traffic(index).items():
                sums[key] = sums.get(key, 0) + value
        sums["streams"] = self.stream_count
        sums["stream_bytes"] = self.stream_bytes
        sums["stream_failures"] = self.stream_failures
        sums["unroutable_packets"] = self.unroutable_packets
        sums["oversize_packets"] = self.oversize_packets
        sums["duplicated_packets"] = self.duplicated_packets
        sums["damaged_packets"] = self.damaged_packets
        return sums

    def violate(self, check: str, text: str) -> NoReturn:
        """Raise the violation of an invariant."""
        raise Violation(check, text, seed=self.seed, t_us=self.now_us, replay=self.replay)

    # inside

    def _judge(self, viewer: int, number: int) -> bool:
        return self.excused(viewer, self._numbered[number])

    def _enter(self, life: Life) -> None:
        ring = self._rings.setdefault(life.ring, len(self._rings))
        life.number = self.ledger.add_life(life.index, life.id, ring)
        self._numbered.append(life)
        self._by_id[life.id] = life

    def _grace_us(self) -> int:
        return grace_us(self.config, self.network, self.size)

    def _silence(self, index: int, until: int) -> None:
        self._excuse_until(index, self.excuses.silence(index, self.now_us, until))

    def _astray(self, viewer: int, life: Life) -> bool:
        # It has moved and holds nobody alive whom it could tell, not even the viewer, which looks
        # for it where it was: neither can find the other before the next contact with the dead.
        if self.light or life.index not in self.moved or self._alive[life.index]:
            return False
        held = self.node_of(viewer).member(life.id)
        return held is not None and held.address != self.address(life.index)

    def spell(self, index: int, until: int) -> None:
        """The network loses most of what a host is sent until then."""
        self._excuse_until(index, self.excuses.spell(index, self.now_us, until))

    def _excuse_until(self, index: int, until: int) -> None:
        life = self._lives[index]
        self._set_excuse(life, max(life.excused_until, until))

    def _set_excuse(self, life: Life, until: int) -> None:
        life.excused_until = until
        self.ledger.excuse(life.number, until)

    def observe(self, index: int, event: Event) -> None:
        """Keep the view that the events tell, and hold it against the checks."""
        if isinstance(event, MemberEvent):
            self._observe_member(index, event)
        elif isinstance(event, RumorEvent):
            for check in self._checks:
                check.rumor(self, index, event)
        for watcher in self._watchers:
            watcher(index, event)

    def _observe_member(self, index: int, event: MemberEvent) -> None:
        member = event.member
        if member.local:
            if self._checks and member.state not in (MemberState.ALIVE, MemberState.LEFT):
                self.violate("self", f"{self.name(index)} tells itself as {member.state!r}")
            return
        life = self._by_id.get(member.id)
        if life is None or life.ring != self._lives[index].ring:
            if not self._checks:
                return
            self.violate("ring", f"{self.name(index)} tells of a stranger, {member!r}")
        told = self._told[index]
        before = told.get(member.id)
        for check in self._checks:
            check.member(self, index, life, event, before)
        self._changes[event.change] += 1
        if event.change is MemberChange.DIED:
            self._deaths.append((self.now_us, index, life.index))
        if event.change is MemberChange.FORGOTTEN:
            told.pop(member.id, None)
        else:
            told[member.id] = Seen(member.state, member.epoch, member.incarnation)
        if member.state is MemberState.ALIVE and member.epoch == life.epoch:
            self._alive[index].add(member.id)
        else:
            self._alive[index].discard(member.id)

    def _sample(self) -> None:
        for _ in range(self.size):
            index = self._sampled % self.size
            self._sampled += 1
            if self._lives[index].running:
                for check in self._checks:
                    check.sample(self, index)
                return

    def _disagreement(self, *, first: bool) -> list[str]:
        lines: list[str] = []
        clusters: dict[tuple[str, int], list[int]] = {}
        for index in self.running():
            key = (self._lives[index].ring, self.excuses.group(index))
            clusters.setdefault(key, []).append(index)
        for members in clusters.values():
            truth = {self._lives[index].id for index in members}
            for index in members:
                own = self._lives[index].id
                # The last survivor can't tell the others' crash from its own deafness, and says so.
                if len(members) == 1 and self.ledger.cut_off(index):
                    continue
                if self.light:
                    if self.ledger.missing(index):
                        lines.append(
                            f"{self.name(index)}'s view differs in {self.ledger.missing(index)}"
                        )
                        if first:
                            return lines
                elif self._alive[index] != truth - {own}:
                    missing = sorted(self.name_of(i) for i in truth - {own} - self._alive[index])
                    extra = sorted(self.name_of(i) for i in self._alive[index] - truth)
                    lines.append(
                        f"{self.name(index)} misses {len(missing)} {missing[:4]}, "
                        f"holds {len(extra)} {extra[:4]} for alive"
                    )
                    if first:
                        return lines
            digests = {self.node_of(index).digest() for index in members}
            if len(digests) > 1:
                lines.append(f"{len(members)} members hold {len(digests)} digests")
                if first:
                    return lines
        return lines

    def _make_id(self, index: int, life: int) -> bytes:
        dice = Dice((self.seed << 40) ^ (index << 16) ^ life)
        return dice.next().to_bytes(8, "big") + dice.next().to_bytes(8, "big")

    def _start(self, index: int, tags: dict[str, str] | None) -> None:
        life = self._lives[index]
        life.epoch += 1
        life.incarnation = 0
        life.running = True
        life.left = False
        life.started_us = self.now_us
        disk = life.ended_us if index in self._disks else self.now_us
        self.excuses.start(index, self.now_us, disk)
        self._set_excuse(life, FOREVER_US if index in self.isolated else 0)
        clock = self.clock(index)
        node = self._node_type(
            self.config,
            member_id=life.id,
            name=life.name,
            ring=life.ring,
            address=self.address(index),
            epoch=life.epoch,
            seed=self.faults.next(),
            now=clock,
            wall_us=WALL_US + self.now_us,
            tags=tags,
        )
        self._told[index] = {}
        self._alive[index] = set()
        self.ledger.begin(life.number, life.epoch)
        for check in self._checks:
            check.reset(index)
        self.boot(index, node)
        snapshot = self._disks.get(index)
        if snapshot is not None:
            node.load(snapshot, clock)
        node.join([self.address(seed) for seed in self._seeds[index]], clock)
        self.touch(index)

    def _call(self, index: int, method: str, *arguments: object) -> Any:
        result = getattr(self.node_of(index), method)(*arguments, self.clock(index))
        self.touch(index)
        return result

    def _await_left(self, index: int, life: Life) -> None:
        if not life.running or self._lives[index] is not life:
            return
        if self.node_of(index).has_left():
            self.crash(index)
        else:
            self.at(self.now_us + 50_000, partial(self._await_left, index, life))
