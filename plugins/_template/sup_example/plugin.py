"""The hooks of this plugin: what it gives to ``sup``, by the name an operator uses."""

from collections.abc import Mapping

from sup.plugin_api import HealthCheck, UpdateStrategy, hookimpl
from sup_example.cautious import Cautious
from sup_example.marker import MarkerFile


@hookimpl
def sup_update_strategies() -> Mapping[str, UpdateStrategy]:
    """Used as ``--strategy cautious``."""
    return {"cautious": Cautious()}


@hookimpl
def sup_health_checks() -> Mapping[str, HealthCheck]:
    """Used as ``kind = "marker"`` in ``[service.health]`` of a ``plan.toml``."""
    return {"marker": MarkerFile()}
