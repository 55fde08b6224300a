"""No Python on the hot path: neither an object per packet, nor a call of its API in the C code.

Both are looked at from outside: the interpreter's count of allocated blocks over 10^5 packets, and
the C that Cython makes of the hot modules.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path

import pytest
from tests.core.hot_code import api_calls

from sup_core.bench_hooks import CASES, PacketBench
from sup_core.config import Config
from sup_core.node import Node

PACKETS = 20_000
WITH_INPUT = ("quiet", "known", "raised", "cards", "new_cards")

HOT = """
    anti_entropy blobs codec cursor dissemination doubts effects event_queue failure_detector
    hash_index identity local_health member_table membership notices outbox packets prng protocol
    pulls rumor_store rumors seeds stamps suspicion timers
"""
"""Modules whose C functions run per packet, per timer or per item of news."""

COLD = {
    "identity": {"address_bytes", "address_text"},  # for the Python surface
    "rumors": {"Rumors.publish"},  # for the Python surface
    "membership": {"Membership.why", "_why_text"},  # for who asks
    "protocol": {
        "Protocol._assemble",  # once per node
        "Protocol._away",  # a snapshot from disk, once at the start
        "Protocol._compared",  # the body of a stream, which is a Python value
        "Protocol._restore",  # the same
        "Protocol._take_aside",  # the same
        "Protocol.has_news",  # the length of the queue of stream requests, which are Python values
    },
}
"""Functions of those modules that may use Python's API."""


def new_bench() -> PacketBench:
    """A node that knows a hundred members."""
    node = Node(
        Config(),
        member_id=bytes(16),
        name="hot",
        ring="hot-path",
        address=bytes(10) + b"\xff\xff\x0a\xff\x00\x01\x25\xa6",
        epoch=1,
        seed=1,
        now=0,
    )
    return PacketBench(node, 100)


def blocks_more(bench: PacketBench, case: str, packets: int) -> int:
    """By how much the interpreter's count of allocated blocks grows over a replay."""
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        bench.replay(case, packets)
        return sys.getallocatedblocks() - before
    finally:
        gc.enable()


@pytest.mark.parametrize("case", WITH_INPUT)
def test_node_packets_leave_the_interpreters_blocks_as_they_are(case: str) -> None:
    """20,000 packets of each of five kinds, with timers and events, take no more than none."""
    bench = new_bench()
    bench.replay(case, 1000)
    assert blocks_more(bench, case, PACKETS) <= blocks_more(bench, case, 0)


def test_node_packets_make_no_python_objects_in_between() -> None:
    """Nothing is made and freed again either: the traced peak does not move with the packets."""
    bench = new_bench()
    bench.replay("known", 1000)
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        bench.replay("known", 5000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - start < 256


def test_packet_bench_answers_carry_what_their_case_says() -> None:
    """The figures of the benches are of real answers: an ack, six statuses, six cards."""
    bench = new_bench()
    sizes = {}
    for case in CASES:
        assert len(bench.measure(case, 100)) == 100
        sizes[case] = bench.bytes_out
    assert sizes["quiet"] < 50 < 100 < sizes["known"] < 200 < 600 < sizes["cards"] <= 1392
    assert abs(sizes["raised"] - sizes["known"]) < 20
    assert sizes["build"] > 100
    assert sizes["clock"] == 0


@pytest.mark.parametrize("module", HOT.split())
def test_hot_functions_do_not_call_python(module: str, tmp_path: Path) -> None:
    """The C of every function that runs per packet has no call of Python's API in it."""
    calls = api_calls("core", f"sup_core.{module}", tmp_path)
    cold = COLD.get(module, set())
    assert calls
    assert cold <= set(calls), "a function is listed as cold and is not there"
    assert {name: found for name, found in calls.items() if found and name not in cold} == {}


def test_hot_code_finds_a_call_of_python(tmp_path: Path) -> None:
    """The search is not blind: functions that make Python values are found with their calls."""
    calls = api_calls("core", "sup_core.membership", tmp_path)
    assert "PyList_New" in calls["Membership.why"]
    assert "Membership.evidence" in calls
