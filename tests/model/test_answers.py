"""The shapes of ``/v1``."""

from __future__ import annotations

from sup.model.answers import member_answer
from sup_core.events import Member, MemberState


def test_member_answer_since_is_unix_time() -> None:
    """As ``since_s`` of a service: a moment, not an age; a clock that is behind gives now."""
    member = Member(b"\1" * 16, "anna", bytes(18), MemberState.ALIVE, 1, 0, since_us=5_000_000)
    assert member_answer(member, "alive", 65_000_000, 1_700_000_000.5)["since_s"] == 1_699_999_940
    assert member_answer(member, "alive", 0, 1_700_000_000.5)["since_s"] == 1_700_000_000
