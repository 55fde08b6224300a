"""This supervisor's place in the ring: one gossip node, driven by real sockets, a clock and a
disk.

The node decides; this module only carries. Datagrams pass between socket and node in the hub,
exchanges in the streams, seeds come from the resolver, and what the node knows goes to the state
directory: every ten seconds when it changed, within a second after a last-writer rumor
(configuration), and at once on ``flush``, which a supervisor awaits before it tells an operator
"accepted". Disk writes run in a thread of their own, so a slow disk delays no ack.

Events reach one reader in order. A reader that falls behind gets one ``Resync`` in the place of
what was dropped, and must read ``members`` and ``rumors`` again.
"""

import asyncio
import contextlib
import logging
import os
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from sup.edge.addresses import HostPort, pack_address, parse_host_port, primary_ip
from sup.edge.datagram_ports import NodePort, clock_us
from sup.edge.datagrams import Hub
from sup.edge.identity import open_identity
from sup.edge.resolver import Resolver, parse_peers
from sup.edge.sockets import bind_pair
from sup.edge.state_files import StateDir
from sup.edge.streams import StreamClient, StreamCounters, StreamServer
from sup.errors import ExitCode, OperatorError
from sup_core.config import Config
from sup_core.events import (
    Event,
    Member,
    MemberEvent,
    MemberState,
    Rumor,
    RumorEvent,
    SelfEvent,
    Version,
)
from sup_core.identity import ring_hash
from sup_core.limits import SEEDS_MAX
from sup_core.node import Node

EVENTS_MAX: Final = 8192
"""Events that wait for the reader: a join burst of 2,000 members with a few events each."""
SAVE_INTERVAL_S: Final = 10.0
"""Rumors and cards that a crash may lose; the ring has them too."""
SAVE_SOON_S: Final = 0.25
"""Delay after a last-writer rumor, so that a burst of them is one write."""
SAVE_RETRY_S: Final = 5.0
SAVE_AT_LEAST_S: Final = 3600.0
"""A snapshot says when it was written, and one that is older than the tombstone floor (a day) is
only believed in part: so a ring in which nothing changes is saved too."""
CLOCK_BYTES: Final = 12
"""What a snapshot ends with is its time; two that differ in nothing else are the same."""
WALL_INTERVAL_S: Final = 10.0
"""How often the node hears the wall clock, which may be set or jump in a suspend."""
LAST_WRITER_KINDS: Final = range(64, 128)
LOOKUP_TIMEOUT_S: Final = 5.0
RING_HASH_OFFSET: Final = 4
"""Where a packet carries the ring's hash: after the array head (3 bytes) and the version (1)."""
log = logging.getLogger("sup.ring")


@dataclass(frozen=True, slots=True, kw_only=True)
class RingOptions:
    """What an operator may say about this member; addresses are ``host:port`` or ``[v6]:port``."""

    state_dir: Path
    name: str
    ring: str = "default"
    listen: str = "0.0.0.0:9638"
    """An address of this host; ``0.0.0.0`` and ``[::]`` mean all, port 0 any that is free."""
    advertise: str | None = None
    """Where others reach this member; found from the routes if it is not given."""
    peers: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    owner_pid: int = 0
    """Who must be ended to end this member, if it is not this process: its launcher."""
    config: Config = field(default_factory=Config)


@dataclass(frozen=True, slots=True)
class Resync:
    """``lost`` events were dropped here: read members and rumors again."""

    lost: int


class Ring:
    """One member of the ring on the running loop; make it with ``open``, end it with ``close``."""

    member_id: str
    name: str
    advertised: tuple[str, int]
    node: Node
    _hub: Hub
    _owns_hub: bool
    _handle: int

    def __init__(self, options: RingOptions, state: StateDir, disk: ThreadPoolExecutor) -> None:
        """Internal: use ``open``."""
        self.name = options.name
        self.counters = StreamCounters()
        self._options = options
        self._state = state
        self._disk = disk
        self._loop = asyncio.get_running_loop()
        self._hub: Hub
        self._owns_hub = True
        self._handle = 0
        self._where: HostPort
        self._resolver: Resolver
        self._warnings: list[str] = []
        self._events: deque[Event | Resync] = deque()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._left = asyncio.Event()
        self._leaving = False
        self._closed = False
        self._saved = b""
        self._saved_s = 0.0
        self._unsaved = ""
        self._alive: dict[bytes, bytes] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._client = StreamClient(self.counters)
        self._server = StreamServer(self._handle_request, self.counters)

    @classmethod
    async def open(
        cls,
        options: RingOptions,
        hub: Hub | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> "Ring":
        """Take the state directory and the port, count the start, and begin to speak.

        ``hub`` is shared if one is given; otherwise the ring has its own. ``ready`` is awaited when
        directory and port are taken and nobody has been spoken to: what it raises ends the start.

        Raises:
            OperatorError: exit 2 for a bad address or name, exit 4 for a port, a state directory or
                a ring that is taken. Nothing stays open then.
        """
        listen = parse_host_port(options.listen, "listen address", port_min=0)
        if listen.ip is None:
            raise OperatorError(
                f"listen address {options.listen!r}: give an IP address, not a name"
            )
        peers = parse_peers(options.peers)
        for what, text in (("ring", options.ring), ("supervisor name", options.name)):
            if not text.isprintable():
                raise OperatorError(f"{what} {text!r} has characters that can't be shown")
        if options.advertise is not None:
            there = parse_host_port(options.advertise, "advertised address").ip
            if there is not None and (there.is_unspecified or there.is_multicast):
                raise OperatorError(
                    f"advertised address {options.advertise!r} reaches no single host; give one of"
                    " this host's"
                )
        loop = asyncio.get_running_loop()
        disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sup-state")
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(disk.shutdown, wait=False)
            state = await loop.run_in_executor(
                disk, StateDir.open, options.state_dir, options.ring, options.owner_pid
            )
            undo.callback(state.close)
            datagrams, listening = bind_pair(listen)
            undo.callback(datagrams.close)
            undo.callback(listening.close)
            if ready is not None:
                await ready()
            member_id, epoch = await loop.run_in_executor(disk, open_identity, state)
            ring = cls(options, state, disk)
            where = HostPort(listen.host, datagrams.getsockname()[1])
            ring.advertised = await ring._choose_address(where, peers)
            ring._make_node(member_id, epoch)
            ring._hub, ring._owns_hub = hub or Hub(loop), hub is None
            if hub is None:
                undo.callback(ring._hub.close)
            await ring._server.open(listening)
            undo.push_async_callback(ring._server.close)
            ring._handle = ring._hub.add(
                NodePort(ring.node, ring_hash(options.ring)),
                datagrams,
                ring._on_activity,
                ring_magic(options.ring),
                RING_HASH_OFFSET,
            )
            ring._start(where, peers)
            undo.pop_all()
        return ring

    # --- commands ---------------------------------------------------------------------------

    def publish(self, kind: int, key: bytes, value: bytes) -> Version:
        """Tell the ring. Raises ValueError over a limit of the core (what, value, bound)."""
        now = self._tell_time()
        try:
            return self.node.publish(kind, key, value, now)
        finally:
            self._after_input(kind)

    def retract(self, kind: int, key: bytes) -> Version:
        """Take an own rumor (owner kinds) or the key (last-writer kinds) back."""
        now = self._tell_time()
        try:
            return self.node.retract(kind, key, now)
        finally:
            self._after_input(kind)

    async def flush(self) -> None:
        """Return when everything the node knows now is on the disk. Raises OSError if it is not."""
        await self._save()

    async def leave(self, timeout_s: float = 3.0) -> None:
        """Tell the ring that this member goes; return when enough heard it or time is up."""
        self._leaving = True
        self.node.leave(clock_us())
        self._hub.pump(self._handle)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._left.wait()

    async def close(self) -> None:
        """Fall silent, persist, give port and state directory back. Idempotent; never raises."""
        if self._closed:
            return
        self._closed = True
        self._arrived.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resolver.close()
        await self._client.close()
        await self._server.close()
        self._hub.remove(self._handle)
        if self._owns_hub:
            self._hub.close()
        try:
            await self._save()
        except OSError as error:
            log.error("state not saved error=%r", str(error))
        await self._loop.run_in_executor(self._disk, self._state.close)
        self._disk.shutdown(wait=False)

    # --- questions --------------------------------------------------------------------------

    async def next_events(self) -> list[Event | Resync]:
        """Wait for at least one event and return all that wait; an empty list after ``close``."""
        while not self._events and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        taken = list(self._events)
        self._events.clear()
        return taken

    def members(self) -> list[Member]:
        """All members that are known, this one and the dead ones too."""
        return self.node.members()

    def rumors(self, kind: int | None = None) -> list[Rumor]:
        """Live rumors, of one kind or of all."""
        return self.node.rumors(kind)

    def status(self) -> dict[str, Any]:
        """For operators: who and where this member is, its peers, its counters, its warnings."""
        return {
            "ring": self._options.ring,
            "member_id": self.member_id,
            "name": self.name,
            "address": str(HostPort(*self.advertised)),
            "listen": str(self._where),
            "peers": self._resolver.status(),
            "local_health": self.node.local_health(),
            "counters": {
                "node": self.node.counters(),
                "datagrams": self._hub.counters(self._handle),
                "streams": asdict(self.counters),
            },
            "warnings": [
                *self._warnings,
                *self._state.warnings,
                *([self._unsaved] if self._unsaved else ()),
            ],
        }

    # --- opening ----------------------------------------------------------------------------

    async def _choose_address(
        self, where: HostPort, peers: tuple[HostPort, ...]
    ) -> tuple[str, int]:
        """Explicit; else the bound address; else the one that the routes towards peers name."""
        if self._options.advertise is not None:
            wanted = parse_host_port(
                self._options.advertise, "advertised address", default_port=where.port
            )
            ip = str(wanted.ip) if wanted.ip is not None else await self._look_up(wanted)
            if ip is not None:
                return ip, wanted.port
        bound = where.ip
        if bound is not None and not bound.is_unspecified:
            return str(bound), where.port
        targets = tuple(str(peer.ip) for peer in peers if peer.ip is not None)
        found = primary_ip(is_v6="::" in where.host, targets=targets)
        if found is None:
            self._warn(
                f"no address to advertise found; using 127.0.0.1:{where.port}, which only this host"
                " reaches; give one with --advertise"
            )
        return found or "127.0.0.1", where.port

    async def _look_up(self, wanted: HostPort) -> str | None:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                found = await self._loop.getaddrinfo(wanted.host, wanted.port)
            return str(found[0][4][0])
        except (OSError, UnicodeError, IndexError) as error:
            self._warn(f"advertised address {wanted} does not resolve ({error}); using the route's")
            return None

    def _make_node(self, member_id: bytes, epoch: int) -> None:
        now = clock_us()
        self.member_id = member_id.hex()
        try:
            self.node = Node(
                self._options.config,
                member_id=member_id,
                name=self._options.name,
                ring=self._options.ring,
                address=pack_address(*self.advertised),
                epoch=epoch,
                seed=int.from_bytes(os.urandom(8), "big"),
                now=now,
                wall_us=_wall_us(),
                tags=self._options.tags,
            )
        except ValueError as error:
            raise OperatorError(str(error), ExitCode.BAD_INPUT) from error
        for name, snapshot in self._state.load_rumors():
            try:
                self.node.load(snapshot, now)
            except ValueError as error:
                self._state.set_aside(name, str(error))
            else:
                break
        for warning in self._state.warnings:
            log.warning("state damaged what=%r", warning)

    def _start(self, where: HostPort, peers: tuple[HostPort, ...]) -> None:
        self._where = where
        self._resolver = Resolver(
            peers,
            on_change=self._join,
            is_alive=self._is_alive,
            rng=random.Random(os.urandom(8)),
        )
        self._resolver.start()
        self._tasks = [
            self._loop.create_task(self._keep_saving()),
            self._loop.create_task(self._keep_time()),
        ]
        for task in self._tasks:
            task.add_done_callback(_report)

    # --- inputs -----------------------------------------------------------------------------

    def _join(self, addresses: tuple[bytes, ...]) -> None:
        self.node.join(addresses[:SEEDS_MAX], clock_us())
        self._hub.pump(self._handle)

    def _is_alive(self, address: bytes) -> bool:
        return address in self._alive.values() or address == pack_address(*self.advertised)

    def _handle_request(self, request: bytes, source: bytes) -> bytes:
        try:
            return self.node.handle_request(request, source, clock_us())
        finally:
            self._hub.pump(self._handle)

    def _handle_response(self, request_id: int, response: bytes | None) -> None:
        self.node.handle_response(request_id, response, clock_us())
        self._hub.pump(self._handle)

    def _after_input(self, kind: int) -> None:
        """An own rumor is a change too, whether or not the node makes an event of it."""
        self._changed.set()
        if kind in LAST_WRITER_KINDS:
            self._urgent.set()
        self._hub.pump(self._handle)

    def _tell_time(self) -> int:
        now = clock_us()
        self.node.set_wall(_wall_us(), now)
        return now

    # --- outputs ----------------------------------------------------------------------------

    def _on_activity(self) -> None:
        """After the node had inputs: open the exchanges it asks for, pass its events on."""
        while (request := self.node.poll_request()) is not None:
            request_id, address, data = request
            self._client.ask(address, data, partial(self._handle_response, request_id))
        while (event := self.node.poll_event()) is not None:
            self._take(event)
        if self._leaving and self.node.has_left():
            self._left.set()

    def _take(self, event: Event) -> None:
        lost = 0
        if isinstance(event, RumorEvent):
            self._changed.set()
            if event.rumor.kind in LAST_WRITER_KINDS:
                self._urgent.set()
        elif isinstance(event, MemberEvent):
            self._changed.set()
            self._note_alive(event.member)
        elif isinstance(event, SelfEvent):
            log.warning("ring %s detail=%r", event.what, event.detail)
            lost = event.what == "events_dropped"
        if len(self._events) >= EVENTS_MAX:
            lost = len(self._events) + 1
            self._events.clear()
        self._events.append(Resync(lost) if lost else event)
        self._arrived.set()

    def _note_alive(self, member: Member) -> None:
        if member.state in (MemberState.ALIVE, MemberState.SUSPECT) and not member.local:
            self._alive[member.id] = member.address
        else:
            self._alive.pop(member.id, None)

    # --- keeping ----------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(WALL_INTERVAL_S)
            self._tell_time()

    async def _keep_saving(self) -> None:
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_AT_LEAST_S):
                    await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_INTERVAL_S):
                    await self._urgent.wait()
                await asyncio.sleep(SAVE_SOON_S)
            try:
                await self._save()
                if failing:
                    log.info("state saved again")
                failing = False
            except OSError as error:
                if not failing:
                    log.error("state not saved error=%r retrying=yes", str(error))
                failing = True
                await asyncio.sleep(SAVE_RETRY_S)

    async def _save(self) -> None:
        """Write a snapshot of now. One disk thread, so snapshots reach the disk in their order."""
        urgent = self._urgent.is_set()
        self._changed.clear()
        self._urgent.clear()
        self._tell_time()
        snapshot = self.node.snapshot()
        fingerprint = blake2b(snapshot[:-CLOCK_BYTES], digest_size=16).digest()
        now_s = self._loop.time()
        if fingerprint == self._saved and now_s - self._saved_s < SAVE_AT_LEAST_S:
            return
        try:
            await self._loop.run_in_executor(self._disk, self._state.save_rumors, snapshot)
        except OSError as error:
            self._unsaved = f"state is not saved: {error.strerror or error}; tried again"
            self._changed.set()
            if urgent:
                self._urgent.set()
            raise
        self._unsaved = ""
        self._saved, self._saved_s = fingerprint, now_s

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        log.warning("%s", text)


def ring_magic(ring: str) -> bytes:
    """The bytes at ``RING_HASH_OFFSET`` of every packet of ``ring`` (msgpack's 64-bit integer).

    Empty for the one name in four thousand million whose hash has a shorter form: no filter then.
    """
    number = ring_hash(ring)
    return b"\xcf" + number.to_bytes(8, "big") if number >> 32 else b""


def _report(task: asyncio.Task[None]) -> None:
    """A loop that ends by a mistake of ours must not end unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("ring fault error=%r", error, exc_info=error)


def _wall_us() -> int:
    return time.time_ns() // 1000
