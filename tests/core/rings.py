"""A small ring in virtual time for unit tests: every packet goes through the node's Python surface.

The simulator of the package does this fast and with faults of every kind; this one is short enough
to read, so that a unit test does not depend on what it tests.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from sup_core.config import Config
from sup_core.events import Event, MemberState
from sup_core.node import Node

SECOND = 1_000_000


def address(index: int) -> bytes:
    """The address of member ``index``: 10.0.x.y:9638."""
    ip = bytes(10) + b"\xff\xff" + bytes([10, 0, index >> 8, index & 255])
    return ip + (9638).to_bytes(2, "big")


def member_id(index: int) -> bytes:
    """A full id whose short form differs for every index."""
    return random.Random(index).randbytes(16)


class Ring:
    """Nodes, packets in flight and a clock."""

    def __init__(self, size: int = 0, *, seed: int = 1, config: Config | None = None) -> None:
        self.now = 0
        self.seed = seed
        self.config = config or Config()
        self.random = random.Random(seed)
        self.nodes: dict[int, Node] = {}
        self.events: dict[int, list[Event]] = {}
        self.queue: list[tuple[int, int, int, bytes, bytes]] = []
        self.order = 0
        self.packets = 0
        self.bytes = 0
        self.deaf: set[int] = set()
        self.lag: dict[int, int] = {}  # µs by which all timers of a member fire late
        self.drop: Callable[[int, int], bool] = lambda source, target: False
        for index in range(size):
            self.start(index, seeds=[0] if index else [])

    def start(self, index: int, *, seeds: list[int], epoch: int = 1, **options: object) -> Node:
        """Start or restart a member."""
        node = Node(
            self.config,
            member_id=member_id(index),
            name=f"m{index}",
            ring="test",
            address=address(index),
            epoch=epoch,
            seed=self.seed * 1000 + index,
            now=self.now,
            **options,  # type: ignore[arg-type]
        )
        self.nodes[index] = node
        self.events.setdefault(index, [])
        node.join([address(seed) for seed in seeds], self.now)
        self.drain(index)
        return node

    def stop(self, index: int) -> None:
        """Crash a member."""
        del self.nodes[index]

    def index_of(self, target: bytes) -> int:
        """The member at an address."""
        return target[14] << 8 | target[15]

    def drain(self, index: int) -> None:
        """Move what a node wants sent onto the wire, and its events into the list."""
        node = self.nodes[index]
        while (parcel := node.poll_transmit()) is not None:
            self.packets += 1
            self.bytes += len(parcel[1])
            target = self.index_of(parcel[0])
            if self.drop(index, target):
                continue
            self.order += 1
            delay = 300 + self.random.randrange(400)
            item = (self.now + delay, self.order, target, address(index), parcel[1])
            heapq.heappush(self.queue, item)
        while (request := node.poll_request()) is not None:
            number, target_address, data = request
            target = self.index_of(target_address)
            answer = None
            if target in self.nodes and not self.drop(index, target):
                answer = self.nodes[target].handle_request(data, address(index), self.now)
                self.drain(target)
            node.handle_response(number, answer, self.now)
        while (event := node.poll_event()) is not None:
            self.events[index].append(event)

    def fires_at(self, index: int) -> int:
        """When the next timer of a member fires."""
        return self.nodes[index].next_timeout() + self.lag.get(index, 0)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + int(seconds * SECOND)
        while True:
            due = min((self.fires_at(index) for index in self.nodes), default=end + 1)
            packet = self.queue[0][0] if self.queue else end + 1
            moment = max(self.now, min(due, packet))
            if moment > end:
                break
            self.now = moment
            if packet <= due:
                _, _, target, source, data = heapq.heappop(self.queue)
                if target in self.nodes and target not in self.deaf:
                    self.nodes[target].handle_datagram(data, source, self.now)
                    self.drain(target)
                continue
            for index, node in list(self.nodes.items()):
                if self.fires_at(index) <= self.now:
                    node.handle_timeout(self.now)
                    self.drain(index)
        self.now = end

    def run_until(
        self, condition: Callable[[], bool], seconds: float = 60, step: float = 0.05
    ) -> float:
        """Let time pass until something holds; the seconds it took. Fails after ``seconds``."""
        start = self.now
        while not condition():
            assert self.now - start < seconds * SECOND, f"not within {seconds} s"
            self.run(step)
        return (self.now - start) / SECOND

    def states(self, observer: int) -> dict[int, MemberState]:
        """What one member holds of all others, by index."""
        names = {member.name: member.state for member in self.nodes[observer].members()}
        return {int(name[1:]): state for name, state in names.items()}

    def converged(self) -> bool:
        """Whether all digests are equal."""
        return len({node.digest() for node in self.nodes.values()}) == 1

    def sees(self, state: MemberState, index: int) -> bool:
        """Whether everybody but the member itself holds it in ``state``."""
        return all(self.states(o).get(index) == state for o in self.nodes if o != index)
