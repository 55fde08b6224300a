"""Reconcile: from any state to the wanted one, in one pass, in one order."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sup.model.reconcile import Action, Load, Reload, Start, Stop, Unload, reconcile
from sup.model.spec import Spec

_worlds = st.dictionaries(
    st.sampled_from("abcde"),
    st.tuples(st.sampled_from(["up", "down"]), st.sampled_from(["x", "y"]), st.sampled_from("gh")),
).map(
    lambda rows: {
        name: Spec(name, command=command, desired=desired, group=group)  # type: ignore[arg-type]
        for name, (desired, command, group) in rows.items()
    }
)
_ORDER = [Unload, Stop, Reload, Load, Start]


def _apply(actions: list[Action], running: Mapping[str, Spec]) -> dict[str, Spec]:
    """What a host does with the actions; each must be possible when its turn comes."""
    world = dict(running)
    for action in actions:
        match action:
            case Unload(name):
                del world[name]
            case Load(name, spec):
                assert name not in world
                world[name] = spec
            case Reload(name, spec):
                assert name in world
                world[name] = spec
            case Start(name):
                assert world[name].desired == "down"
                world[name] = msgspec.structs.replace(world[name], desired="up")
            case Stop(name):
                assert world[name].desired == "up"
                world[name] = msgspec.structs.replace(world[name], desired="down")
    return world


@given(_worlds, _worlds)
def test_actions_reach_desired_from_any_state_and_then_rest(
    desired: dict[str, Spec], running: dict[str, Spec]
) -> None:
    """One pass is enough, and a second one has nothing to do."""
    after = _apply(reconcile(desired, running), running)
    assert after == desired
    assert reconcile(desired, after) == []


@given(_worlds, _worlds)
def test_actions_are_totally_ordered_and_one_per_service(
    desired: dict[str, Spec], running: dict[str, Spec]
) -> None:
    """The order depends on the values alone, not on the order of the mappings."""
    actions = reconcile(desired, running)
    keys = [(_ORDER.index(type(action)), action.name) for action in actions]
    assert keys == sorted(keys)
    assert len({action.name for action in actions}) == len(actions)
    shuffled = dict(reversed(desired.items())), dict(reversed(running.items()))
    assert reconcile(*shuffled) == actions


@given(_worlds, _worlds, st.integers(0, 5))
def test_actions_cut_short_are_finished_by_the_next_call(
    desired: dict[str, Spec], running: dict[str, Spec], done: int
) -> None:
    """Level-triggered: a supervisor that dies half-way continues from what it finds."""
    halfway = _apply(reconcile(desired, running)[:done], running)
    assert _apply(reconcile(desired, halfway), halfway) == desired


def test_change_of_desired_alone_is_no_reload() -> None:
    """Up and down don't unload the service; anything else does, whatever ``desired`` says."""
    up = Spec("a", command="x")
    down = msgspec.structs.replace(up, desired="down")
    other = msgspec.structs.replace(down, group="blue")
    assert reconcile({"a": down}, {"a": up}) == [Stop("a")]
    assert reconcile({"a": up}, {"a": down}) == [Start("a")]
    assert reconcile({"a": other}, {"a": up}) == [Reload("a", other)]
