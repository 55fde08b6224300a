"""Does any datagram crash a node, raise out of it, hang it or make it grow without bound?

Feeds random and mutated packets into one node, starting from packets that a ring of real nodes
exchanged (joins, probes, gossip, rumors, anti-entropy), and prints what the node counted. Exits 1
when anything was raised or when memory grew over its bound. ``python bench/fuzz_codec.py --count
10000000``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from pathlib import Path

from sup_core.config import Config
from sup_core.fuzzing import fuzz
from sup_core.node import Node

SECOND = 1_000_000
RSS_GROWTH_MAX_MB = 400
"""64 MiB of rumors, 65,536 members, as many events and the allocator's slack: the sum of the
bounds."""


def rss_mb() -> float:
    """Resident memory of this process."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def address(index: int) -> bytes:
    """10.0.0.index:9638."""
    return bytes(10) + b"\xff\xff" + bytes([10, 0, 0, index]) + (9638).to_bytes(2, "big")


def make(index: int, now: int, seed: int) -> Node:
    """One node of the fuzzed ring."""
    member_id = (index + 1).to_bytes(1, "big") * 16
    config = Config(tombstone_floor_us=60 * SECOND)
    return Node(
        config,
        member_id=member_id,
        name=f"m{index}",
        ring="fuzz",
        address=address(index),
        epoch=1,
        seed=seed + index,
        now=now,
        wall_us=1_700_000_000 * SECOND,
    )


def record(seed: int) -> tuple[Node, list[bytes], int]:
    """Run a ring of eight for ten seconds; give one node, the packets it was sent, and the time."""
    nodes = [make(index, 0, seed) for index in range(8)]
    corpus: dict[bytes, None] = {}
    wire: deque[tuple[int, int, bytes]] = deque()

    def drain(index: int, now: int) -> None:
        node = nodes[index]
        while (parcel := node.poll_transmit()) is not None:
            wire.append((parcel[0][15], index, parcel[1]))
        while (request := node.poll_request()) is not None:
            number, target, data = request
            answer = nodes[target[15]].handle_request(data, address(index), now)
            node.handle_response(number, answer, now)

    now = 0
    for index, node in enumerate(nodes):
        node.join([address(0)] if index else [], now)
        drain(index, now)
    for step in range(2000):
        now += 5_000
        for index, node in enumerate(nodes):
            if step == 300 + index:
                node.publish(1, b"service/%d" % index, bytes(200), now)
                node.publish(64, b"config", bytes(300 + index), now)
                node.publish(130, b"set", bytes([1 << index]), now)
            if step == 600 + index:
                node.publish(65, b"large", bytes([index]) * 20_000, now)
                node.retract(1, b"service/%d" % index, now)
            if step == 1500 and index == 7:
                node.leave(now)
            node.handle_timeout(now)
            drain(index, now)
        while wire:
            target, source, data = wire.popleft()
            # Member 5 falls silent, so that suspicions and verdicts are in the corpus too.
            if 5 in (target, source) and step > 700:
                continue
            if target < len(nodes):
                nodes[target].handle_datagram(data, address(source), now)
                drain(target, now)
            if target == 0:
                corpus[data] = None
    packets = sorted(corpus, key=lambda data: (len(data), data))
    stride = max(1, len(packets) // 500)
    return nodes[0], packets[::stride], now


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000_000, help="datagrams to feed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    raised: list[str] = []
    sys.unraisablehook = lambda unraisable: raised.append(repr(unraisable.exc_value))
    node, corpus, now = record(options.seed)
    print(f"corpus: {len(corpus)} packets, {min(map(len, corpus))}..{max(map(len, corpus))} bytes")
    before = rss_mb()
    started = time.monotonic()
    slices = 10
    sizes = []
    for part in range(slices):
        now = fuzz(node, corpus, options.count // slices, options.seed * 1000 + part, now)
        sizes.append(rss_mb())
        done = (part + 1) * (options.count // slices)
        rate = done / (time.monotonic() - started)
        print(f"{done:>12,} datagrams  {rate:>9,.0f}/s  rss {sizes[-1]:.0f} MB", flush=True)
    seconds = time.monotonic() - started
    for name, value in node.counters().items():
        if value:
            print(f"  {name:24} {value:>14,}")
    print(f"datagrams {options.count:,} in {seconds:.0f} s; exceptions {len(raised)}")
    print(
        f"rss before {before:.0f} MB, halfway {sizes[slices // 2 - 1]:.0f} MB, "
        f"after {sizes[-1]:.0f} MB"
    )
    for text in raised[:5]:
        print(f"raised: {text}")
    grown = sizes[-1] - before
    if grown > RSS_GROWTH_MAX_MB:
        print(f"memory grew by {grown:.0f} MB, bound is {RSS_GROWTH_MAX_MB} MB")
    return 1 if raised or grown > RSS_GROWTH_MAX_MB else 0


if __name__ == "__main__":
    sys.exit(main())
