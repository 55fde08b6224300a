"""Whom an operator means who says that a member is gone for good."""

from __future__ import annotations

from sup.model.departure import members_meant
from sup_core.events import Member, MemberState


def member(name: str, number: int) -> Member:
    return Member(
        id=bytes([number] * 16),
        name=name,
        address=bytes(18),
        state=MemberState.DEAD,
        epoch=1,
        incarnation=0,
        since_us=0,
        tags={},
        version=1,
        local=False,
    )


B, OTHER = member("b", 0x11), member("other", 0xBB)
FACE, FACED = member("bbbbbbbb", 0x22), member("twin", 0xCC)


def test_members_meant_name_wins_over_the_beginning_of_an_id() -> None:
    """``depart b`` is about b, also where another member's id begins with b."""
    assert members_meant([B, OTHER], "b") == [B]
    assert members_meant([OTHER, FACE], "bbbbbbbb") == [FACE]


def test_members_meant_beginning_of_an_id_needs_eight_digits() -> None:
    """What can't be taken back is not done on two digits that happen to fit."""
    assert members_meant([B, OTHER], "bbbbbbbbb") == [OTHER]
    assert members_meant([B, OTHER], "bb") == []


def test_members_meant_same_name_twice_gives_both() -> None:
    """The caller asks back; an id is always exact."""
    twin = member("twin", 0xDD)
    assert members_meant([FACED, twin], "twin") == [FACED, twin]
    assert members_meant([FACED, twin], "dd" * 16) == [twin]
