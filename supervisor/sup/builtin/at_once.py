"""The update strategy ``at-once``: every change reaches every member as soon as it is heard.

For groups that may all go down together. It never looks at the health of the others: a change that
breaks the service breaks the whole group.
"""

from collections.abc import Mapping

from sup.hookspecs import hookimpl
from sup.model.census import CensusGroup
from sup.policies import Change, StrategyDecision, UpdateStrategy


class AtOnce:
    """Holds nothing."""

    def decide(self, group: CensusGroup, me: str, change: Change, now_us: int) -> StrategyDecision:
        """Decide to go, always."""
        return StrategyDecision(go=True)


@hookimpl
def sup_update_strategies() -> Mapping[str, UpdateStrategy]:
    return {"at-once": AtOnce()}
