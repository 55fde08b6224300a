"""Remote bytes never crash, raise out, hang or bloat. The long run is bench/fuzz_codec.py."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rings import SECOND, Ring, address

from sup_core.fuzzing import fuzz
from sup_core.node import Node


def corpus_and_node(seed: int) -> tuple[list[bytes], Node, int]:
    """Packets of a busy little ring, and one of its members."""
    ring = Ring(0, seed=seed)
    packets: dict[bytes, None] = {}
    for index in range(6):
        ring.start(index, seeds=[0] if index else [])
    for step in range(60):
        ring.run(0.1)
        for entry in ring.queue:
            packets[entry[4]] = None
        node = ring.nodes[step % 5]
        node.publish(1 + step % 3, b"key%d" % step, bytes(step * 10), ring.now)
        node.publish(64, b"shared", bytes(step), ring.now)
        node.publish(128, b"set", bytes([step]), ring.now)
        ring.drain(step % 5)
        if step == 30:
            ring.stop(5)
    return list(packets)[:500], ring.nodes[0], ring.now


def rss() -> int:
    """Resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_mutated_datagrams_raise_nothing_and_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """300,000 mutated packets: nothing raised, every packet counted, memory flat in the second
    half."""
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    corpus, node, now = corpus_and_node(3)
    before = node.counters()["packets_in"]
    now = fuzz(node, corpus, 150_000, 1, now)
    halfway = rss()
    now = fuzz(node, corpus, 150_000, 2, now)
    assert node.counters()["packets_in"] == before + 300_000
    assert node.counters()["dropped_malformed"] > 0
    assert rss() - halfway < 64e6
    assert raised == []
    assert node.local().state == 0


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=1500))
def test_random_bytes_are_dropped_everywhere(data: bytes) -> None:
    """Datagram, request, response and snapshot: any bytes."""
    ring = Ring(2)
    node = ring.nodes[0]
    node.handle_datagram(data, address(3), 1)
    assert isinstance(node.handle_request(data, address(3), 1), bytes)
    node.handle_response(1, data, 1)
    with contextlib.suppress(ValueError):
        node.load(data, 1)
    node.handle_timeout(SECOND)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_stream_bodies_are_survived(data: st.DataObject) -> None:
    """Requests, responses and snapshots with flipped, cut and repeated parts."""
    ring = Ring(3)
    ring.run(2)
    node = ring.nodes[0]
    node.publish(1, b"key", b"value", ring.now)
    raw = bytearray(node.snapshot())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    body = bytes(raw[:cut]) + bytes(raw[cut // 2 :])
    node.handle_request(body, address(1), ring.now)
    node.handle_response(1, body, ring.now)
    with contextlib.suppress(ValueError):
        ring.nodes[1].load(body, ring.now)
    ring.run(0.5)
    assert len(node.members()) >= 1
