"""The topology ``standalone``: every member works for itself, nobody leads, nobody waits.

The default of every service. It never reads the view, so a group of it needs no agreement of any
kind.
"""

from collections.abc import Mapping

from sup.hookspecs import hookimpl
from sup.model.census import CensusGroup
from sup.policies import Topology, TopologyDecision


class Standalone:
    """No leader; a service may start at once."""

    def decide(self, group: CensusGroup, me: str, now_us: int) -> TopologyDecision:
        """Decide the same for every view: no leader, free to start."""
        return TopologyDecision()


@hookimpl
def sup_topologies() -> Mapping[str, Topology]:
    return {"standalone": Standalone()}
