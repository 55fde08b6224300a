"""Rumors with a life: gone everywhere in time, told once, and not brought back by anybody."""

from __future__ import annotations

import pytest
from rings import SECOND, Ring, member_id

from sup_core.config import Config
from sup_core.errors import LimitError
from sup_core.events import RumorEvent
from sup_core.node import Node

OWNER, WRITER, UNION = 1, 64, 128
KEY = b"lease"
LARGE = bytes(5000)


def holders(ring: Ring, kind: int = WRITER, origin: int = 0) -> set[int]:
    """The members that hold the rumor."""
    return {
        index
        for index, node in ring.nodes.items()
        if node.rumor(kind, KEY, member_id(origin)) is not None
    }


def endings(ring: Ring, index: int) -> int:
    """How often a member was told that the rumor is gone."""
    return sum(
        isinstance(event, RumorEvent) and event.rumor.value is None for event in ring.events[index]
    )


def told(ring: Ring, index: int) -> list[bytes | None]:
    """The values that a member was told, in order."""
    return [event.rumor.value for event in ring.events[index] if isinstance(event, RumorEvent)]


def formed(size: int, *, seed: int = 1, config: Config | None = None) -> Ring:
    """A ring in which everybody knows everybody."""
    ring = Ring(size, seed=seed, config=config)
    ring.run_until(
        lambda: (
            all(len(node.members()) == size for node in ring.nodes.values()) and ring.converged()
        )
    )
    return ring


def publish(
    ring: Ring, index: int, ttl_s: float, *, kind: int = WRITER, value: bytes = b"x"
) -> None:
    """Publish the rumor at a member."""
    ring.nodes[index].publish(kind, KEY, value, ring.now, int(ttl_s * SECOND))
    ring.drain(index)


@pytest.mark.parametrize("kind", [OWNER, WRITER])
@pytest.mark.parametrize("value", [b"x", LARGE])
def test_ttl_over_expires_everywhere_once_in_time(kind: int, value: bytes) -> None:
    """Owner and last-writer rumors, small and pulled, go everywhere from TTL to TTL + 1 s."""
    ring = formed(12)
    publish(ring, 3, 8, kind=kind, value=value)
    ring.run(7.9)
    assert holders(ring, kind, 3) == set(ring.nodes)
    ring.run(1.1)
    assert holders(ring, kind, 3) == set()
    assert ring.converged()
    ring.run(70)
    assert {index: told(ring, index) for index in ring.nodes} == {
        index: [value, None] for index in ring.nodes
    }
    assert ring.converged()


def test_ttl_with_loss_expires_everywhere_and_stays_gone() -> None:
    """With a fifth of all packets lost the rumor still reaches all, and is gone in time."""
    ring = formed(16, seed=5)
    ring.drop = lambda source, target: ring.random.random() < 0.2
    publish(ring, 0, 12)
    end = ring.now + 13 * SECOND
    ring.run_until(lambda: holders(ring) == set(ring.nodes), 11)
    ring.run((end - ring.now) / SECOND)
    assert holders(ring) == set()
    ring.run(40)
    assert [endings(ring, index) for index in ring.nodes] == [1] * 16
    ring.drop = lambda source, target: False
    ring.run_until(ring.converged, 20)


def test_ttl_late_joiner_gets_what_is_left() -> None:
    """Who joins half way learns the rumor by its snapshot and drops it with the others."""
    ring = formed(5)
    publish(ring, 0, 10)
    ring.run(6)
    ring.start(9, seeds=[1])
    ring.run_until(lambda: 9 in holders(ring), 3)
    ring.run(2.5)
    ring.run_until(lambda: holders(ring) == set(), 2)
    assert told(ring, 9) == [b"x", None]
    ring.run(5)
    assert ring.converged()


def test_ttl_partition_longer_than_it_does_not_bring_it_back() -> None:
    """Both halves drop the rumor apart, the half that missed its end too; healed, nobody has it."""
    ring = formed(8)
    publish(ring, 0, 6)
    ring.run(3)
    ring.drop = lambda source, target: (source < 4) != (target < 4)
    ring.run(4)
    assert holders(ring) == set()
    ring.run(30)
    ring.drop = lambda source, target: False
    ring.run(60)
    assert holders(ring) == set()
    assert [endings(ring, index) for index in ring.nodes] == [1] * 8
    assert ring.converged()


def test_ttl_restart_from_snapshot_keeps_what_is_left() -> None:
    """A snapshot holds the remaining life; a restart does not lengthen it."""
    ring = formed(5)
    publish(ring, 0, 10)
    ring.run(4)
    kept = ring.nodes[2].snapshot()
    ring.stop(2)
    ring.run(1)
    ring.start(2, seeds=[0], epoch=2).load(kept, ring.now)
    ring.drain(2)
    assert 2 in holders(ring)
    ring.run(4.9)
    assert 2 in holders(ring)
    ring.run(2.2)
    assert holders(ring) == set()
    ring.stop(2)
    ring.run(20)
    ring.start(2, seeds=[0], epoch=3).load(kept, ring.now)
    ring.drain(2)
    ring.run(3)
    assert holders(ring) <= {2}, "the others have seen its end"
    ring.run(10)
    assert holders(ring) == set()
    assert ring.converged()


def test_ttl_peer_that_is_behind_cannot_bring_it_back() -> None:
    """A member that was deaf and whose packets come late offers the version in vain."""
    ring = formed(4)
    publish(ring, 0, 5)
    ring.run(4)
    node = ring.nodes[1]
    late = node.snapshot()
    ring.run(2)
    assert holders(ring) == set()
    node.load(late, ring.now)
    ring.drain(1)
    assert holders(ring) == set(), "the mark refuses the same version"
    assert told(ring, 1) == [b"x", None]
    stranger = Ring().start(7, seeds=[])
    stranger.load(late, 0)
    assert stranger.rumor(WRITER, KEY) is not None, "the snapshot did hold it"


def test_ttl_newer_version_revives_the_key() -> None:
    """After its end a key may be published again, for a time or for ever."""
    ring = formed(4)
    publish(ring, 0, 2)
    ring.run(4)
    publish(ring, 1, 3, value=b"y")
    ring.run(2)
    assert holders(ring) == set(ring.nodes)
    ring.run(2)
    assert holders(ring) == set()
    publish(ring, 2, 0, value=b"z")
    ring.run(100)
    assert holders(ring) == set(ring.nodes)
    assert told(ring, 3) == [b"x", None, b"y", None, b"z"]
    assert ring.converged()


def test_ttl_renewed_in_time_never_ends() -> None:
    """A lease that is published again before its end is never told as gone."""
    ring = formed(4)
    for _ in range(6):
        publish(ring, 0, 3)
        ring.run(2)
    assert all(endings(ring, index) == 0 for index in ring.nodes)
    ring.run(2)
    assert [endings(ring, index) for index in ring.nodes] == [1] * 4


def test_ttl_retracted_rumor_is_gone_once() -> None:
    """A retraction ends the life: its tombstone does not expire as well."""
    ring = formed(3)
    publish(ring, 0, 5)
    ring.run(1)
    ring.nodes[0].retract(WRITER, KEY, ring.now)
    ring.drain(0)
    ring.run(20)
    assert [endings(ring, index) for index in ring.nodes] == [1] * 3
    assert all(node.counters()["rumors_expired"] == 0 for node in ring.nodes.values())


def test_ttl_mark_is_dropped_after_its_grace() -> None:
    """What refuses an old version is kept for a minute, not for ever, and holds no value."""
    ring = formed(2)
    publish(ring, 0, 2, value=bytes(800))
    ring.run(4)
    counters = ring.nodes[1].counters()
    assert (counters["rumors_stored"], counters["rumors_expired"]) == (1, 1)
    assert counters["rumor_bytes"] < 200
    ring.run(130)
    counters = ring.nodes[1].counters()
    assert (counters["rumors_stored"], counters["rumor_bytes"]) == (0, 0)


@pytest.mark.parametrize("ttl_us", [-1, 1, SECOND - 1, 12 * 3600 * SECOND + 1])
def test_ttl_out_of_bounds_is_refused(ttl_us: int) -> None:
    """Below a second, or above half the tombstone floor, a life is an error of the caller."""
    node = Ring(1).nodes[0]
    with pytest.raises(LimitError, match=str(ttl_us)):
        node.publish(OWNER, KEY, b"x", 0, ttl_us)
    assert node.rumors() == []


def test_ttl_of_a_kind_that_only_grows_is_refused() -> None:
    """A join has no versions of its own, so no end of one either."""
    node: Node = Ring(1).nodes[0]
    with pytest.raises(LimitError, match="only grows"):
        node.publish(UNION, KEY, b"\x01", 0, 5 * SECOND)
    node.publish(UNION, KEY, b"\x01", 0)
