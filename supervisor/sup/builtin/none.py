"""The update strategy ``none``: a running service gets new configuration, never a new package.

The default of every service: what an operator sends with ``sup config apply`` is meant for now,
while a package that changes under a running service is used only when the service is next started.
"""

from collections.abc import Mapping

from sup.hookspecs import hookimpl
from sup.model.census import CensusGroup
from sup.policies import Change, StrategyDecision, UpdateStrategy

_HELD = StrategyDecision(go=False, reason="strategy none keeps the package until the next start")


class NoUpdates:
    """Lets configuration through and holds every change of package."""

    def decide(self, group: CensusGroup, me: str, change: Change, now_us: int) -> StrategyDecision:
        """Decide by the kind of change alone; the view is never read."""
        return StrategyDecision(go=True) if change is Change.CONFIG else _HELD


@hookimpl
def sup_update_strategies() -> Mapping[str, UpdateStrategy]:
    return {"none": NoUpdates()}
