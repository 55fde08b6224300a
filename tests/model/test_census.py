"""The census: members joined with their rumors, whatever their order and whoever sent rubbish."""

from __future__ import annotations

import random

from sup.model.census import CensusMaker, build_census
from sup.model.health import Health
from sup.model.service_rumor import SERVICE_KIND, ServiceRumor, encode
from sup_core.events import Member, MemberState, Rumor, Version


def _member(number: int, state: MemberState = MemberState.ALIVE) -> Member:
    return Member(
        id=bytes([number]) * 16,
        name=f"host-{number}",
        address=bytes(18),
        state=state,
        epoch=1,
        incarnation=0,
        since_us=0,
    )


def _rumor(
    number: int,
    *,
    service: str = "redis",
    kind: int = SERVICE_KIND,
    value: bytes | None = b"",
    output: str = "",
) -> Rumor:
    if value == b"":
        said = ServiceRumor(
            service, "default", health=Health.OK, process="up", output=output, exports={"port": 1}
        )
        value = encode(said)
    key = f"{service}.default".encode()
    return Rumor(kind, key, bytes([number]) * 16, Version(1, 1), value)


def test_build_census_joins_member_and_rumor() -> None:
    """Name and state come from the member, the rest from its rumor."""
    census = build_census([_member(1)], [_rumor(1)])
    (member,) = census.group("redis", "default").members
    assert (member.member_id, member.name, member.state) == ("01" * 16, "host-1", "alive")
    assert (member.health, member.process, member.exports) == (Health.OK, "up", {"port": 1})
    assert census.group("nobody", "here").members == ()


def test_build_census_of_not_alive_member_has_unknown_health() -> None:
    """What a silent member last said of its health is not believed; it stays listed with its
    state."""
    states = [MemberState.ALIVE, MemberState.SUSPECT, MemberState.DEAD, MemberState.LEFT]
    members = [_member(i + 1, state) for i, state in enumerate(states)]
    group = build_census(members, [_rumor(i) for i in range(1, 5)]).group("redis", "default")
    assert [m.state for m in group.members] == ["alive", "suspect", "dead", "left"]
    assert [m.health.word for m in group.members] == ["ok", "unknown", "unknown", "unknown"]
    assert [m.present for m in group.members] == [True, True, False, False]


def test_build_census_skips_what_it_cannot_use() -> None:
    """An unknown origin, another kind, a retracted or an unreadable value hide nobody else."""
    rumors = [
        _rumor(9),
        _rumor(1, kind=2),
        _rumor(2, value=None),
        _rumor(3, value=b"\xc1rubbish"),
        _rumor(4),
    ]
    census = build_census([_member(i) for i in range(1, 6)], rumors)
    assert [m.name for m in census.group("redis", "default").members] == ["host-4"]


def test_build_census_does_not_depend_on_order() -> None:
    """Members and groups are sorted; two rumors of one origin for one group are chosen alike."""
    members = [_member(i) for i in range(1, 7)]
    rumors = [_rumor(i, service=s) for i in range(1, 7) for s in ("redis", "app")]
    rumors += [_rumor(1, output="b"), _rumor(1, output="a")]
    expected = build_census(members, rumors)
    assert list(expected.groups) == ["app.default", "redis.default"]
    rng = random.Random(1)
    for _ in range(20):
        rng.shuffle(members)
        rng.shuffle(rumors)
        again = build_census(members, rumors)
        assert again == expected
        assert list(again.groups) == list(expected.groups)


def test_census_maker_is_build_census_and_holds_only_the_last() -> None:
    """What it remembers changes no census, and what has left the ring leaves its memory."""
    member = Member(b"\1" * 16, "anna", bytes(18), MemberState.ALIVE, 1, 0, 0)
    values = [encode(ServiceRumor("web", "default", output=str(n))) for n in range(2)] + [b"junk"]
    maker = CensusMaker()
    for value in [*values, *values]:
        rumors = [Rumor(1, b"k", member.id, Version(1, 1), value)]
        assert maker.make([member], rumors) == build_census([member], rumors)
        assert list(maker._said) == [value]
