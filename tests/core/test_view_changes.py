"""Batches of member events: order, exactly once, the two waits, and what cancels out."""

from __future__ import annotations

import random

import pytest
from tests.core.rings import Ring

from sup_core.events import Member, MemberChange, MemberEvent, MemberState
from sup_core.view_changes import BOUND_US, QUIET_US, ViewChange, ViewChanges

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def event(
    index: int,
    change: MemberChange,
    state: MemberState = ALIVE,
    *,
    epoch: int = 1,
    version: int = 1,
) -> MemberEvent:
    """An event about member ``index``."""
    ident = index.to_bytes(16, "big")
    return MemberEvent(change, Member(ident, f"m{index}", b"", state, epoch, 0, 0, {}, version))


def names(members: tuple[Member, ...]) -> list[str]:
    """The names, in order."""
    return [member.name for member in members]


def settle(changes: ViewChanges, now: int) -> ViewChange | None:
    """What comes after the quiet time."""
    return changes.poll(now + QUIET_US)


def test_view_changes_loss_of_a_rack_is_one_change_in_order() -> None:
    """Forty deaths within a second and a half: one change says all."""
    changes = ViewChanges()
    for index in range(100):
        changes.take(event(index, MemberChange.JOINED), 0)
    joined = settle(changes, 0)
    assert joined is not None
    assert (joined.number, joined.live, len(joined.joined)) == (1, 100, 100)
    now = 10_000_000
    for index in range(40):
        changes.take(event(index, MemberChange.SUSPECTED, SUSPECT), now)
        assert changes.poll(now) is None
        changes.take(event(index, MemberChange.DIED, DEAD), now)
        now += 35_000
    change = settle(changes, now)
    assert change is not None
    assert names(change.died) == [f"m{index}" for index in range(40)]
    assert (change.number, change.live) == (2, 60)
    assert changes.due() is None


def test_view_changes_in_constant_motion_come_at_the_bound() -> None:
    """An event every 100 ms never lets it be quiet: a change still comes every bound."""
    changes = ViewChanges()
    seen = []
    for step in range(100):
        changes.take(event(step, MemberChange.JOINED), step * 100_000)
        change = changes.poll(step * 100_000)
        if change is not None:
            seen.append((step * 100_000, len(change.joined)))
    assert [t for t, _ in seen] == [BOUND_US + k * (BOUND_US + 100_000) for k in range(len(seen))]
    assert len(seen) == 3


def test_view_changes_member_that_went_and_came_back_has_not_gone() -> None:
    """The net of a wait counts, and what comes to nothing is no change."""
    changes = ViewChanges()
    changes.take(event(1, MemberChange.JOINED), 0)
    assert settle(changes, 0) is not None
    changes.take(event(1, MemberChange.DIED, DEAD), 1_000_000)
    changes.take(event(1, MemberChange.RETURNED), 1_100_000)
    changes.take(event(2, MemberChange.JOINED), 1_100_000)
    changes.take(event(2, MemberChange.DIED, DEAD), 1_200_000)
    changes.take(event(2, MemberChange.FORGOTTEN, DEAD), 1_200_000)
    assert settle(changes, 1_200_000) is None
    changes.take(event(1, MemberChange.UPDATED, epoch=2, version=9), 5_000_000)
    change = settle(changes, 5_000_000)
    assert change is not None
    assert names(change.returned) == ["m1"]  # it started again: that is more than an update


def test_view_changes_suspicions_are_no_change() -> None:
    """A suspect still counts."""
    changes = ViewChanges()
    changes.take(event(1, MemberChange.SUSPECTED, SUSPECT), 0)
    changes.take(event(1, MemberChange.REFUTED), 10)
    assert changes.due() is None


def test_view_changes_resync_tells_only_what_differs() -> None:
    """After dropped events the whole view is compared; the reader sees each transition once."""
    changes = ViewChanges()
    for index in range(3):
        changes.take(event(index, MemberChange.JOINED), 0)
    assert settle(changes, 0) is not None
    shown = [event(0, MemberChange.UPDATED).member, event(1, MemberChange.DIED, DEAD).member]
    changes.resync([*shown, event(7, MemberChange.JOINED).member], 1_000_000)
    change = settle(changes, 1_000_000)
    assert change is not None
    assert (names(change.joined), names(change.died), len(change.forgotten)) == (["m7"], ["m1"], 1)
    assert change.live == 2


@pytest.mark.parametrize("seed", range(20))
def test_view_changes_applied_in_order_give_the_view_of_all_events(seed: int) -> None:
    """Whatever happens, whenever it is polled: no transition is lost, told twice or reordered."""
    dice = random.Random(seed)
    changes = ViewChanges()
    truth: dict[str, MemberState] = {}
    view: dict[str, MemberState] = {}
    now = 0

    def apply(change: ViewChange | None) -> None:
        if change is None:
            return
        for name in names(change.joined) + names(change.returned) + names(change.updated):
            view[name] = ALIVE
        for name in names(change.died):
            assert view.get(name) is not DEAD
            view[name] = DEAD
        for name in names(change.left):
            assert view.get(name) is not LEFT
            view[name] = LEFT
        for name in names(change.forgotten):
            del view[name]
        assert change.live == sum(state is ALIVE for state in view.values())

    for _ in range(400):
        now += dice.randrange(400_000)
        apply(changes.poll(now))
        index = dice.randrange(8)
        name = f"m{index}"
        held = truth.get(name)
        if held is None:
            changes.take(event(index, MemberChange.JOINED), now)
            truth[name] = ALIVE
        elif held is ALIVE:
            gone = dice.choice((DEAD, LEFT))
            what = MemberChange.DIED if gone is DEAD else MemberChange.LEFT
            changes.take(event(index, what, gone), now)
            truth[name] = gone
        elif dice.random() < 0.3:
            changes.take(event(index, MemberChange.FORGOTTEN, held), now)
            del truth[name]
        else:
            changes.take(event(index, MemberChange.RETURNED), now)
            truth[name] = ALIVE
    apply(changes.poll(now + BOUND_US))
    assert view == truth


def test_view_changes_of_a_ring_tell_a_mass_crash_in_few_changes() -> None:
    """Six of twenty-four crash at once: a follower is told all of it in two changes at most."""
    ring = Ring(24)
    ring.run(5)
    changes = ViewChanges()
    for found in ring.events[0]:
        if isinstance(found, MemberEvent):
            changes.take(found, 0)
    assert changes.poll(BOUND_US) is not None
    ring.events[0].clear()
    for index in range(18, 24):
        ring.stop(index)
    seen: list[ViewChange] = []
    for _ in range(150):
        ring.run(0.1)
        for found in ring.events[0]:
            if isinstance(found, MemberEvent):
                changes.take(found, ring.now)
        ring.events[0].clear()
        change = changes.poll(ring.now)
        if change is not None:
            seen.append(change)
    assert sorted(name for change in seen for name in names(change.died)) == [
        f"m{index}" for index in range(18, 24)
    ]
    assert len(seen) <= 2


@pytest.mark.parametrize(("quiet", "bound"), [(-1, 5), (10, 5)])
def test_view_changes_waits_out_of_order_are_refused(quiet: int, bound: int) -> None:
    """Quiet within the bound, else a batch would never be quiet."""
    with pytest.raises(ValueError, match="quiet_us"):
        ViewChanges(quiet_us=quiet, bound_us=bound)
