"""The update strategy ``cautious``: no change reaches a member while another member is unwell.

It slows a bad change down, it does not stop one: two members that hear of the change at the same
moment both go. A promise of "one at a time" needs agreement, which a view can't give.
"""

from sup.plugin_api import CensusGroup, Change, Health, StrategyDecision


class Cautious:
    """Holds a change while an alive member other than this one is critical."""

    def decide(self, group: CensusGroup, me: str, change: Change, now_us: int) -> StrategyDecision:
        """Decide from the health of the others; dead members hold nothing up."""
        unwell = [
            member.name
            for member in group.members
            if member.member_id != me and member.alive and member.health is Health.CRITICAL
        ]
        if unwell:
            return StrategyDecision(go=False, reason=f"waits for {', '.join(unwell)} to recover")
        return StrategyDecision(go=True)
