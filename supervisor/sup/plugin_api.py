"""Everything that a plugin may import from ``sup``: this module is the whole public surface.

A plugin is a distribution with an entry point in the group ``sup`` that names a module (or object)
with functions marked ``@hookimpl``. Start from ``plugins/_template`` and test with ``sup.testing``.
"""

from sup.hookspecs import hookimpl
from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.health import CheckResult, Health
from sup.policies import (
    Change,
    CheckContext,
    HealthCheck,
    Rendered,
    Renderer,
    StrategyDecision,
    Template,
    TemplateError,
    Topology,
    TopologyDecision,
    UpdateStrategy,
)

__all__ = [
    "Census",
    "CensusGroup",
    "CensusMember",
    "Change",
    "CheckContext",
    "CheckResult",
    "Health",
    "HealthCheck",
    "Rendered",
    "Renderer",
    "StrategyDecision",
    "Template",
    "TemplateError",
    "Topology",
    "TopologyDecision",
    "UpdateStrategy",
    "hookimpl",
]
