"""memberlist's rules as a node of our simulator: what it would do in the same network and faults.

`MemberlistNode` has the methods of `sup_core.node.Node` that the simulator needs, and follows the
protocol of hashicorp/memberlist 0.7 with its defaults: written from its documented parameters,
formulas and wire facts, none of it copied. ``bench/peers/validate.py`` holds it against the real
one. What it leaves out: the CPU that packets cost, compression, encryption, metadata, restarts.

Records on the simulated wire are 13 bytes, whatever they weigh in memberlist; how many fit into a
packet is reckoned with memberlist's sizes, so bytes per second are not comparable and packets are.
"""

from __future__ import annotations

import heapq
import random
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from bench.peers.memberlist_rules import (
    COMPOUND_BYTES,
    Queue,
    Settings,
    Suspicion,
    push_pull_interval_us,
    retransmit_limit,
    suspicion_timeout_us,
)

from sup_core.events import Event, Member, MemberChange, MemberEvent, MemberState

NEVER_US = 1 << 62
PING, INDIRECT, ACK, NACK, ALIVE, SUSPECT, DEAD, RUMOR = range(8)
_RECORD = struct.Struct("<BIII")
_pack = _RECORD.pack

PACKET_BYTES = 1400
SIZES = {ALIVE: 70, SUSPECT: 53, DEAD: 53, RUMOR: 257}
"""Bytes of a message in memberlist's msgpack, for names of 13 letters, IPv4 and no metadata."""
PING_BYTES = 78


@dataclass(slots=True)
class Directory:
    """Who is behind an address: stands for the names and addresses that real messages carry."""

    ids: dict[int, bytes] = field(default_factory=dict)
    addresses: dict[int, bytes] = field(default_factory=dict)


class _Peer:
    """What a node holds of one member."""

    __slots__ = ("changed_us", "incarnation", "index", "state", "suspicion")

    def __init__(self, index: int, now: int) -> None:
        self.index = index
        self.incarnation = 0
        self.state = MemberState.DEAD
        self.changed_us = now
        self.suspicion: Suspicion | None = None


class MemberlistNode:
    """One member that follows memberlist's rules; `settings` and `directory` come by partial.

    The directory is shared by all nodes of a simulator.
    """

    def __init__(
        self,
        config: object = None,
        *,
        settings: Settings,
        directory: Directory,
        member_id: bytes,
        name: str,
        ring: str,
        address: bytes,
        epoch: int,
        incarnation: int = 0,
        seed: int,
        now: int,
        wall_us: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.index = _index(address)
        self.address = address
        directory.ids[self.index] = member_id
        directory.addresses[self.index] = address
        self._directory = directory
        self._epoch = epoch
        self._dice = random.Random(seed)
        self._out: deque[tuple[bytes, bytes]] = deque()
        self._requests: deque[tuple[int, bytes, bytes]] = deque()
        self._events: deque[Event] = deque()
        self._timers: list[tuple[int, int, Any, Any]] = []
        self._timer_number = 0
        self._sequence = 0
        self._request = 0
        self._streams: dict[int, tuple[str, int]] = {}
        self._health = 0
        self._left = False
        self._queue = Queue()
        self._rumor_queue = Queue()
        self._gossip_due = False
        self.rumors_seen: dict[int, int] = {}
        self.rumor_copies = 0

        self._me = _Peer(self.index, now)
        self._me.state = MemberState.ALIVE
        self._me.incarnation = 1
        self._peers = {self.index: self._me}
        self._nodes = [self._me]
        self._next_probe = 0
        self._tell_alive(self._me)

        # A probe in progress: sequence -> state; helpers' probes: own sequence -> whom they answer.
        self._probes: dict[int, SimpleNamespace] = {}
        self._relays: dict[int, tuple[int, int]] = {}
        # Each ticker starts with a random part of its interval, so that members do not step in
        # time with each other.
        interval = settings.probe_interval_us
        self._probe_phase = now + interval + self._draw(interval)
        self._after(self._probe_phase, self._probe, None)
        self._gossip_phase = (
            now + settings.gossip_interval_us + self._draw(settings.gossip_interval_us)
        )
        self._after(now + self._draw(settings.push_pull_interval_us), self._push_pull_wait, None)

    # what the simulator calls

    def handle_datagram(self, data: bytes, source: bytes, now: int) -> None:
        """Take one packet: any number of records."""
        sender = source
        for kind, subject, number, other in _RECORD.iter_unpack(data):
            if kind == ACK:
                self._ack(number, now)
            elif kind == PING:
                self._send(sender, _pack(ACK, 0, number, 0), now)
            elif kind == SUSPECT:
                self._suspect(subject, number, other, now)
            elif kind == ALIVE:
                self._alive(subject, number, now)
            elif kind == DEAD:
                self._dead(subject, number, other, now)
            elif kind == INDIRECT:
                self._help(subject, number, sender, now)
            elif kind == NACK:
                probe = self._probes.get(number)
                if probe is not None:
                    probe.nacks += 1
            elif kind == RUMOR:
                self._rumor(number, now)
        self._wake(now)

    def handle_timeout(self, now: int) -> None:
        """Fire what is due."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            _, _, call, argument = heapq.heappop(timers)
            call(argument, now)
        self._wake(now)

    def handle_request(self, data: bytes, source: bytes, now: int) -> bytes:
        """Answer a stream: a ping, or a full exchange."""
        if data[:1] == b"T":
            return b"T"
        answer = self._full_state()
        self._merge(data[1:], now)
        self._wake(now)
        return answer

    def handle_response(self, request_id: int, data: bytes | None, now: int) -> None:
        """Take a stream's answer, None if it failed."""
        kind, sequence = self._streams.pop(request_id)
        if data is not None:
            if kind == "ping":
                probe = self._probes.get(sequence)
                if probe is not None:
                    probe.contact = True
            else:
                self._merge(data[1:], now)
        self._wake(now)

    def join(self, addresses: Sequence[bytes], now: int) -> None:
        """Exchange the full state with each address."""
        for address in addresses:
            if address != self.address:
                self._exchange(address)
        self._wake(now)

    def publish_rumor(self, number: int, now: int) -> None:
        """Send a message of 256 bytes to everybody."""
        self._rumor(number, now)
        self.rumor_copies -= 1
        self._wake(now)

    def poll_transmit(self) -> tuple[bytes, bytes] | None:
        """Return the next datagram."""
        return self._out.popleft() if self._out else None

    def poll_request(self) -> tuple[int, bytes, bytes] | None:
        """Return the next stream to open."""
        return self._requests.popleft() if self._requests else None

    def poll_event(self) -> Event | None:
        """Return the next event."""
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> int:
        """Return when `handle_timeout` wants to be called."""
        return self._timers[0][0] if self._timers else NEVER_US

    def local(self) -> SimpleNamespace:
        """Return what the node says of itself."""
        return SimpleNamespace(
            state=MemberState.LEFT if self._left else MemberState.ALIVE,
            incarnation=self._me.incarnation,
            epoch=self._epoch,
        )

    def local_health(self) -> int:
        """Return Lifeguard's multiplier, 0 is healthy."""
        return self._health

    def digest(self) -> int:
        """Return 0: memberlist has no digest, so agreement is judged by the views alone."""
        return 0

    def snapshot(self) -> bytes:
        """Return nothing: memberlist keeps no disk."""
        return b""

    def load(self, snapshot: bytes, now: int) -> None:
        """Take nothing."""

    def counters(self) -> dict[str, int]:
        """Return the lengths of the queues."""
        return {"broadcasts": len(self._queue), "rumors": len(self._rumor_queue)}

    def why(self, id: bytes) -> list[str]:
        """Return nothing: memberlist can't tell."""
        return []

    # probing

    def _probe(self, _: object, now: int) -> None:
        peer = self._next_peer(now)
        settings = self.settings
        next_tick = self._tick_after(now)
        if peer is None:
            self._after(next_tick, self._probe, None)
            return
        self._sequence += 1
        span = settings.probe_interval_us * (self._health + 1)
        probe = SimpleNamespace(
            peer=peer, sequence=self._sequence, incarnation=peer.incarnation, start=now,
            end=now + span, helpers=0, nacks=0, contact=False,
        )  # fmt: skip
        self._probes[probe.sequence] = probe
        ping = _pack(PING, peer.index, probe.sequence, 0)
        if peer.state is MemberState.ALIVE:
            self._send(self._address(peer.index), ping, now, PING_BYTES)
        else:  # so that it can refute as soon as possible
            accusation = _pack(SUSPECT, peer.index, peer.incarnation, self.index)
            self._out.append((self._address(peer.index), ping + accusation))
        self._after(now + settings.probe_timeout_us, self._ask_helpers, probe)
        self._after(probe.end, self._probe_failed, probe)

    def _tick_after(self, now: int) -> int:
        interval = self.settings.probe_interval_us
        return now + interval - (now - self._probe_phase) % interval

    def _next_peer(self, now: int) -> _Peer | None:
        checked = 0
        while checked < len(self._nodes):
            if self._next_probe >= len(self._nodes):
                self._reap(now)
                self._next_probe = 0
                checked += 1
                continue
            peer = self._nodes[self._next_probe]
            self._next_probe += 1
            if peer is self._me or peer.state >= MemberState.DEAD:
                checked += 1
                continue
            return peer
        return None

    def _reap(self, now: int) -> None:
        """Forget the long dead and shuffle: only when everybody has been probed once."""
        for peer in [
            p
            for p in self._nodes
            if p.state >= MemberState.DEAD
            and now - p.changed_us > self.settings.gossip_to_the_dead_us
        ]:
            self._nodes.remove(peer)
            del self._peers[peer.index]
            self._event(MemberChange.FORGOTTEN, peer, now)
        self._dice.shuffle(self._nodes)

    def _ask_helpers(self, probe: SimpleNamespace, now: int) -> None:
        if probe.sequence not in self._probes:
            return
        target = probe.peer
        helpers = self._pick(
            self.settings.indirect_checks,
            lambda p: p is not self._me and p is not target and p.state is MemberState.ALIVE,
        )
        probe.helpers = len(helpers)
        for helper in helpers:
            record = _pack(INDIRECT, target.index, probe.sequence, self.index)
            self._send(self._address(helper.index), record, now, PING_BYTES)
        self._open(self._address(target.index), b"T", "ping", probe.sequence)

    def _ack(self, sequence: int, now: int) -> None:
        relay = self._relays.pop(sequence, None)
        if relay is not None:
            asker, theirs = relay
            self._send(self._address(asker), _pack(ACK, 0, theirs, 0), now)
            return
        probe = self._probes.pop(sequence, None)
        if probe is not None:
            self._adjust_health(-1)
            self._probe_ended(probe, now)

    def _probe_failed(self, probe: SimpleNamespace, now: int) -> None:
        if self._probes.pop(probe.sequence, None) is None:
            return
        if probe.contact:
            self._adjust_health(-1)
        else:
            if probe.helpers:
                self._adjust_health(max(0, probe.helpers - probe.nacks))
            else:
                self._adjust_health(1)
            self._suspect(probe.peer.index, probe.incarnation, self.index, now)
        self._probe_ended(probe, now)

    def _probe_ended(self, probe: SimpleNamespace, now: int) -> None:
        # One tick is kept for a prober that was late; further ones are lost.
        missed = self._tick_after(probe.start) <= now
        self._after(now if missed else self._tick_after(now), self._probe, None)

    def _help(self, target: int, sequence: int, source: bytes, now: int) -> None:
        self._sequence += 1
        own = self._sequence
        asker = _index(source)
        self._relays[own] = (asker, sequence)
        self._send(self._address(target), _pack(PING, target, own, 0), now, PING_BYTES)
        self._after(now + self.settings.probe_timeout_us, self._nack, own)

    def _nack(self, own: int, now: int) -> None:
        relay = self._relays.pop(own, None)
        if relay is not None:
            asker, theirs = relay
            self._send(self._address(asker), _pack(NACK, 0, theirs, 0), now)

    def _adjust_health(self, change: int) -> None:
        self._health = min(max(0, self._health + change), self.settings.awareness_max - 1)

    # states

    def _alive(self, index: int, incarnation: int, now: int) -> None:
        peer = self._peers.get(index)
        if peer is None:
            peer = _Peer(index, now)
            self._peers[index] = peer
            self._nodes.insert(self._draw(len(self._nodes) + 1), peer)
        elif peer is self._me:
            if incarnation > peer.incarnation:  # nobody else raises it: an echo of an earlier life
                self._refute(incarnation)
            return
        elif incarnation <= peer.incarnation:
            return
        peer.suspicion = None
        known = peer.incarnation > 0
        before = peer.state
        peer.incarnation = incarnation
        self._tell_alive(peer)
        if before is not MemberState.ALIVE:
            peer.state = MemberState.ALIVE
            peer.changed_us = now
            if before >= MemberState.DEAD:
                self._event(MemberChange.RETURNED if known else MemberChange.JOINED, peer, now)
            else:
                self._event(MemberChange.REFUTED, peer, now)

    def _suspect(self, index: int, incarnation: int, accuser: int, now: int) -> None:
        peer = self._peers.get(index)
        if peer is None or incarnation < peer.incarnation:
            return
        suspicion = peer.suspicion
        if suspicion is not None:
            if suspicion.confirm(accuser):
                self._broadcast(SUSPECT, index, incarnation, accuser)
                self._after(now + max(0, suspicion.remaining_us(now)), self._expire, peer)
            return
        if peer.state is not MemberState.ALIVE:
            return
        if peer is self._me:
            self._refute(incarnation)
            return
        self._broadcast(SUSPECT, index, incarnation, accuser)
        peer.incarnation = incarnation
        peer.state = MemberState.SUSPECT
        peer.changed_us = now
        self._event(MemberChange.SUSPECTED, peer, now)
        settings, members = self.settings, len(self._nodes)
        wanted = settings.suspicion_mult - 2
        if members - 2 < wanted:
            wanted = 0
        least = suspicion_timeout_us(settings.suspicion_mult, members, settings.probe_interval_us)
        peer.suspicion = Suspicion(accuser, wanted, least, settings.suspicion_max_mult * least, now)
        self._after(now + peer.suspicion.remaining_us(now), self._expire, peer)

    def _expire(self, peer: _Peer, now: int) -> None:
        suspicion = peer.suspicion
        if (
            suspicion is not None
            and peer.state is MemberState.SUSPECT
            and suspicion.remaining_us(now) <= 0
        ):
            self._dead(peer.index, peer.incarnation, self.index, now)

    def _dead(self, index: int, incarnation: int, accuser: int, now: int) -> None:
        peer = self._peers.get(index)
        if peer is None or incarnation < peer.incarnation:
            return
        peer.suspicion = None
        if peer.state >= MemberState.DEAD:
            return
        if peer is self._me:
            self._refute(incarnation)
            return
        self._broadcast(DEAD, index, incarnation, accuser)
        peer.incarnation = incarnation
        peer.state = MemberState.DEAD
        peer.changed_us = now
        self._event(MemberChange.DIED, peer, now)

    def _refute(self, incarnation: int) -> None:
        self._me.incarnation = max(self._me.incarnation, incarnation) + 1
        self._adjust_health(1)
        self._tell_alive(self._me)

    # gossip

    def _tell_alive(self, peer: _Peer) -> None:
        self._broadcast(ALIVE, peer.index, peer.incarnation, 0)

    def _broadcast(self, kind: int, index: int, number: int, other: int) -> None:
        self._queue.put(index, _pack(kind, index, number, other), SIZES[kind])

    def _rumor(self, number: int, now: int) -> None:
        self.rumor_copies += 1
        if number not in self.rumors_seen:
            self.rumors_seen[number] = now
            self._rumor_queue.put(number, _pack(RUMOR, 0, number, 0), SIZES[RUMOR])

    def _wake(self, now: int) -> None:
        """Arm the next gossip tick if there is anything to say."""
        if not self._gossip_due and (self._queue or self._rumor_queue):
            interval = self.settings.gossip_interval_us
            start = max(now, self._gossip_phase - interval)
            self._gossip_due = True
            self._after(
                start + interval - (start - self._gossip_phase) % interval, self._gossip, None
            )

    def _gossip(self, _: object, now: int) -> None:
        self._gossip_due = False
        window = self.settings.gossip_to_the_dead_us
        targets = self._pick(
            self.settings.gossip_nodes,
            lambda p: (
                p is not self._me
                and (
                    p.state < MemberState.DEAD
                    or (p.state is MemberState.DEAD and now - p.changed_us <= window)
                )
            ),
        )
        for peer in targets:  # each gets a batch of its own
            messages = self._take(PACKET_BYTES - COMPOUND_BYTES)
            if not messages:
                break
            self._out.append((self._address(peer.index), b"".join(messages)))

    def _take(self, space: int) -> list[bytes]:
        """Return what there is to say: the ring's news first, rumors in what it leaves."""
        if not self._queue and not self._rumor_queue:
            return []
        limit = retransmit_limit(self.settings.retransmit_mult, len(self._nodes))
        messages, space = self._queue.take(space, limit)
        if self._rumor_queue:
            messages += self._rumor_queue.take(space, limit)[0]
        return messages

    def _send(self, address: bytes, record: bytes, now: int, size: int = 20) -> None:
        if self._queue or self._rumor_queue:
            extra = self._take(PACKET_BYTES - size - COMPOUND_BYTES)
            record = record + b"".join(extra)
        self._out.append((address, record))

    # full exchanges

    def _push_pull_wait(self, _: object, now: int) -> None:
        wait = push_pull_interval_us(self.settings.push_pull_interval_us, len(self._nodes))
        self._after(now + wait, self._push_pull, None)

    def _push_pull(self, _: object, now: int) -> None:
        for peer in self._pick(1, lambda p: p is not self._me and p.state is MemberState.ALIVE):
            self._exchange(self._address(peer.index))
        self._push_pull_wait(None, now)

    def _exchange(self, address: bytes) -> None:
        self._open(address, self._full_state(), "state", 0)

    def _full_state(self) -> bytes:
        records = [_pack(p.state, p.index, p.incarnation, 0) for p in self._nodes]
        return b"S" + b"".join(records)

    def _merge(self, data: bytes, now: int) -> None:
        for state, index, incarnation, _ in _RECORD.iter_unpack(data):
            if state == MemberState.ALIVE:
                self._alive(index, incarnation, now)
            else:  # the dead too: better asked than believed
                self._suspect(index, incarnation, self.index, now)

    # small things

    def _open(self, address: bytes, data: bytes, kind: str, sequence: int) -> None:
        self._request += 1
        self._streams[self._request] = (kind, sequence)
        self._requests.append((self._request, address, data))

    def _pick(self, count: int, wanted: Any) -> list[_Peer]:
        """Draw different peers at random, with 3 n tries at most, as memberlist does."""
        nodes, n = self._nodes, len(self._nodes)
        draw = self._dice.random
        if n < 3 * count:
            mixed = list(nodes)
            self._dice.shuffle(mixed)
            return [peer for peer in mixed if wanted(peer)][:count]
        out: list[_Peer] = []
        for _ in range(3 * n):
            peer = nodes[int(draw() * n)]
            if wanted(peer) and peer not in out:
                out.append(peer)
                if len(out) == count:
                    break
        return out

    def _draw(self, bound: int) -> int:
        return int(self._dice.random() * bound)

    def _after(self, due: int, call: Any, argument: Any) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, call, argument))

    def _address(self, index: int) -> bytes:
        return self._directory.addresses[index]

    def _event(self, change: MemberChange, peer: _Peer, now: int) -> None:
        self._events.append(
            MemberEvent(
                change,
                Member(
                    id=self._directory.ids[peer.index],
                    name=f"m{peer.index}",
                    address=self._address(peer.index),
                    state=peer.state,
                    epoch=1,
                    incarnation=peer.incarnation,
                    since_us=now,
                ),
            )
        )


def _index(address: bytes) -> int:
    """Return the host's number: the last 24 bits of its simulated address."""
    return int.from_bytes(address[13:16], "big")
