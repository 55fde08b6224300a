"""A member that was away for longer than the tombstone floor brings nothing back."""

from __future__ import annotations

from rings import SECOND, Ring, member_id

from sup_core.config import Config
from sup_core.node import Node

OWNER, WRITER, UNION = 1, 64, 128
KEY = b"key"
FLOOR_S = 100
WALL = 1_700_000_000 * SECOND
CONFIG = Config(tombstone_floor_us=FLOOR_S * SECOND)


def formed(size: int) -> Ring:
    """A ring whose members know the time, and each other."""
    ring = Ring(config=CONFIG)
    for index in range(size):
        start(ring, index, [0] if index else [])
    ring.run_until(
        lambda: (
            all(len(node.members()) == size for node in ring.nodes.values()) and ring.converged()
        )
    )
    return ring


def start(ring: Ring, index: int, seeds: list[int], epoch: int = 1) -> Node:
    """Start a member that knows the time."""
    return ring.start(index, seeds=seeds, epoch=epoch, wall_us=WALL + ring.now)


def write(ring: Ring, index: int, kind: int, value: bytes = b"\x01") -> None:
    """Publish at a member."""
    ring.nodes[index].publish(kind, KEY, value, ring.now)
    ring.drain(index)


def holders(ring: Ring, kind: int, origin: int = 0) -> set[int]:
    """The members that hold a rumor."""
    return {
        index
        for index, node in ring.nodes.items()
        if node.rumor(kind, KEY, member_id(origin)) is not None
    }


def restart(ring: Ring, index: int, kept: bytes, seeds: list[int]) -> None:
    """Start a member again from a snapshot."""
    start(ring, index, seeds, 2).load(kept, ring.now)
    ring.drain(index)


def test_load_older_than_the_floor_brings_back_nothing_that_was_retracted() -> None:
    """The key was retracted and forgotten meanwhile; own and growing rumors come back."""
    ring = formed(5)
    for kind in (OWNER, UNION):
        write(ring, 3, kind)
    write(ring, 0, WRITER)
    ring.run(5)
    kept = ring.nodes[3].snapshot()
    ring.stop(3)
    ring.nodes[0].retract(WRITER, KEY, ring.now)
    ring.drain(0)
    ring.run(2.5 * FLOOR_S)
    assert ring.nodes[0].counters()["rumors_stored"] == 1, "the tombstone is forgotten"
    restart(ring, 3, kept, [1])
    ring.run(90)
    assert holders(ring, WRITER) == set()
    assert holders(ring, OWNER, 3) == set(ring.nodes)
    assert holders(ring, UNION) == set(ring.nodes)
    assert ring.converged()
    assert ring.nodes[3].snapshot() != kept


def test_load_younger_than_the_floor_restores_everything() -> None:
    """A member that was away for less holds what it held at once, and nobody forgot anything."""
    ring = formed(3)
    write(ring, 0, WRITER)
    ring.run(3)
    kept = ring.nodes[2].snapshot()
    ring.stop(2)
    ring.run(FLOOR_S / 2)
    node = start(ring, 2, [], 2)
    node.load(kept, ring.now)
    assert node.rumor(WRITER, KEY) is not None


def test_load_without_a_clock_restores_everything() -> None:
    """A snapshot without wall clock, or a node without one, has no age."""
    node = Ring(1).nodes[0]
    node.publish(WRITER, KEY, b"x", 0)
    ring = Ring(config=CONFIG)
    late = start(ring, 7, [])
    late.load(node.snapshot(), 0)
    assert late.rumor(WRITER, KEY) is not None
    blind = Ring(config=CONFIG).start(8, seeds=[])
    blind.load(late.snapshot(), 10**12)
    assert blind.rumor(WRITER, KEY) is not None


def test_load_of_a_whole_ring_that_was_down_loses_nothing() -> None:
    """Nobody who comes back has been running, so after a minute the old rumors count again."""
    ring = formed(3)
    write(ring, 0, WRITER)
    ring.run(3)
    kept = {index: node.snapshot() for index, node in ring.nodes.items()}
    ring.nodes.clear()
    ring.run(3 * FLOOR_S)
    for index in kept:
        restart(ring, index, kept[index], [0, 1, 2])
    ring.run(30)
    assert ring.nodes[1].snapshot() == kept[1], "still open, so nothing is lost by another crash"
    ring.run(40)
    assert holders(ring, WRITER) == {0, 1, 2}
    ring.run(5)
    assert ring.converged()


def test_load_takes_the_time_away_off_a_life() -> None:
    """A rumor with a life goes on aging while the snapshot lies on the disk."""
    ring = formed(2)
    ring.nodes[0].publish(WRITER, KEY, b"x", ring.now, 40 * SECOND)
    ring.drain(0)
    ring.run(5)
    kept = ring.nodes[1].snapshot()
    for away_s, left in ((30, True), (40, False)):
        later = Ring(config=CONFIG)
        later.now = ring.now + away_s * SECOND
        node = start(later, 1, [], 2)
        node.load(kept, later.now)
        assert (node.rumor(WRITER, KEY) is not None) is left
    later = Ring(config=CONFIG)
    later.now = ring.now + 30 * SECOND
    start(later, 1, [], 2).load(kept, later.now)
    later.run(4.5)
    assert later.nodes[1].rumor(WRITER, KEY) is not None
    later.run(1.5)
    assert later.nodes[1].rumor(WRITER, KEY) is None
