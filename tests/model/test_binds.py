"""Binds: who may be used, what holds a start, and one line for every mistake."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.binds import Bound, check_binds, held, look, parse_binds
from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.health import Health
from sup.model.plan import for_command, parse_plan

PLAN = parse_plan(
    b"""
[package]
name = "web"
[binds]
db = ["port", "host"]
[binds_optional]
cache = ["port"]
""",
    "plan.toml",
)
STATES = ("alive", "suspect", "dead", "left")
PROCESSES = ("down", "starting", "up", "stopping", "backoff", "failed", "adopted", "later-word")


def member(number: int = 1, **changes: Any) -> CensusMember:
    """A member of ``db.default`` that is all a bind could want."""
    fields: dict[str, Any] = {
        "member_id": f"{number:02x}" * 16,
        "name": f"host-{number}",
        "service": "db",
        "group": "default",
        "state": "alive",
        "health": Health.OK,
        "health_since_s": 1,
        "output": "",
        "process": "up",
        "package": "local/db/1",
        "topology": "standalone",
        "strategy": "none",
        "exports": {"port": 5432, "host": "x"},
        "sys": {},
    }
    return CensusMember(**{**fields, **changes})


def census(*members: CensusMember) -> Census:
    return Census({"db.default": CensusGroup("db", "default", members)} if members else {})


def db(*members: CensusMember, ready: bool = False) -> Bound:
    """The bind ``db`` with these members in its group."""
    (bound,) = look(PLAN, {"db": "db.default"}, census(*members), ready=ready)
    return bound


@pytest.mark.parametrize(
    ("changes", "usable", "reason"),
    [
        ({}, True, ""),
        ({"state": "suspect", "health": Health.UNKNOWN}, True, ""),
        ({"state": "dead"}, False, "no member of db.default is alive (host-1 is dead)"),
        ({"state": "left"}, False, "no member of db.default is alive (host-1 is left)"),
        ({"process": "down"}, False, "no member of db.default is alive (host-1 is down)"),
        ({"process": "failed"}, False, "no member of db.default is alive (host-1 is failed)"),
        (
            {"maintenance": "new disk"},
            False,
            "no member of db.default is alive (host-1 is in maintenance)",
        ),
        ({"process": "adopted"}, True, ""),
        ({"process": "starting"}, True, "no member of db.default is up (host-1 is starting)"),
        ({"process": "backoff"}, True, "no member of db.default is up (host-1 is backoff)"),
        ({"process": "stopping"}, True, "no member of db.default is up (host-1 is stopping)"),
        ({"exports": {"port": 1}}, False, "db.default does not export host"),
        ({"exports": {}}, False, "db.default does not export port, host"),
        ({"health": Health.CRITICAL}, True, ""),
    ],
)
def test_bound_member_counts_while_its_supervisor_promises_it(
    changes: dict[str, Any], usable: bool, reason: str
) -> None:
    """Each row: whether templates have the member, and what the start would wait for."""
    bound = db(member(**changes))
    assert bool(bound.members) == usable
    assert bound.problem == (reason and f"bind db: {reason}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"health": Health.WARNING}, ""),
        ({"health": Health.CRITICAL}, "no member of db.default is ready (host-1 is critical)"),
        ({"health": Health.UNKNOWN}, "no member of db.default is ready (host-1 is unknown)"),
        ({"process": "starting"}, "no member of db.default is ready (host-1 is starting)"),
    ],
)
def test_bound_ready_takes_only_passing_members(changes: dict[str, Any], reason: str) -> None:
    """With ``ready`` a member that is not passing is neither shown nor waited past."""
    bound = db(member(**changes), ready=True)
    assert bool(bound.members) == (not reason)
    assert bound.problem == (reason and f"bind db: {reason}")


def test_bound_group_of_nobody_says_so() -> None:
    """A group that nobody has heard of is named, as the typing mistake it may be."""
    assert db().problem == "bind db: nobody is in db.default"
    assert db().members == ()


def test_bound_export_of_one_member_is_enough_and_others_are_left_out() -> None:
    """In the middle of a roll-out only those that export what is asked are shown."""
    bound = db(member(1, exports={"port": 1}), member(2))
    assert [m.name for m in bound.members] == ["host-2"]
    assert bound.problem == ""


def test_bound_reason_names_a_few_members_and_counts_the_rest() -> None:
    """A reason is one line, however large the group is."""
    bound = db(*(member(n, state="dead") for n in range(1, 50)))
    assert bound.problem.endswith(
        "(host-1 is dead, host-2 is dead, host-3 is dead, and 46 more members)"
    )


def test_held_strict_waits_for_every_given_bind_and_relaxed_for_none() -> None:
    """An optional bind that is given holds as a required one does; relaxed never waits."""
    bound = look(PLAN, {"db": "db.default", "cache": "no.where"}, census(member()))
    assert held(bound, "strict") == "bind cache: nobody is in no.where"
    assert held(bound, "relaxed") == ""
    assert held((), "strict") == ""


def test_check_binds_unknown_name_is_near_a_known_one() -> None:
    """A typing mistake is an error at once, with the word that was meant."""
    with pytest.raises(OperatorError, match="has no bind 'dbb'; did you mean 'db'"):
        check_binds(PLAN, {"dbb": "db.default"})
    with pytest.raises(OperatorError, match="known: cache, db"):
        check_binds(PLAN, {"other": "db.default"})


def test_check_binds_required_bind_must_be_given() -> None:
    """Whatever the mode is: without it no template could be rendered, ever."""
    with pytest.raises(OperatorError, match=r"needs bind db; add --bind db:SERVICE\.GROUP"):
        check_binds(PLAN, {"cache": "c.default"})
    check_binds(PLAN, {"db": "db.default"})


def test_check_binds_command_has_none() -> None:
    """A wrapped command has no plan that could ask for anything."""
    check_binds(for_command("nap", "sleep 1"), {})
    with pytest.raises(OperatorError, match="a command has no binds"):
        check_binds(for_command("nap", "sleep 1"), {"db": "db.default"})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["db"], "bind 'db' is not NAME:SERVICE.GROUP"),
        (["db:pg"], "bind db: service group 'pg' has no group; write it as in 'pg.default'"),
        ([":pg.default"], "name '' is not a name"),
        (["db:a.b", "db:c.d"], "bind db is given twice; keep one"),
        (["db:a.b.c"], "group name"),
    ],
)
def test_parse_binds_mistake_is_one_line(words: list[str], line: str) -> None:
    """What, the value, and what to do."""
    with pytest.raises(OperatorError) as caught:
        parse_binds(words)
    assert line in caught.value.message
    assert "\n" not in caught.value.message


def test_parse_binds_reads_name_and_group() -> None:
    """The usual form."""
    assert parse_binds(["db:pg.blue", "c:x.y"]) == {"db": "pg.blue", "c": "x.y"}


_members = st.lists(
    st.builds(
        member,
        st.integers(1, 9),
        state=st.sampled_from(STATES),
        process=st.sampled_from(PROCESSES),
        health=st.sampled_from(Health),
        maintenance=st.sampled_from(["", "new disk"]),
        exports=st.dictionaries(st.sampled_from(["port", "host", "x"]), st.integers()),
    ),
    max_size=6,
)


@given(_members, st.booleans())
def test_look_never_shows_who_is_not_live(members: list[CensusMember], ready: bool) -> None:
    """Dead, gone, stopped or failed members, and those without the exports, are in no list; a bind
    without problem has a member that is up; ``ready`` only ever takes members away.
    """
    bound = db(*members, ready=ready)
    for one in bound.members:
        assert one.state in ("alive", "suspect")
        assert one.process not in ("down", "failed")
        assert not one.maintenance
        assert {"port", "host"} <= set(one.exports)
    if not bound.problem:
        assert any(m.process in ("up", "adopted") for m in bound.members)
    shown = [m.member_id for m in db(*members).members]
    assert all(m.member_id in shown for m in db(*members, ready=True).members)


@given(_members)
def test_held_is_one_bounded_line(members: list[CensusMember]) -> None:
    """Whatever others gossip: a line that fits a terminal's scroll, and no line break."""
    text = held([db(*members)], "strict")
    assert "\n" not in text
    assert len(text) < 600
