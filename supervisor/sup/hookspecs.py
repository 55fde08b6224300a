"""The hooks of the ``sup`` plugin system (pluggy), typed, one sentence of contract each.

Every hook is called once, when the supervisor starts, and returns what the plugin adds by name. Two
plugins that add the same name are an error at start. The built-in policies go through these hooks
too.
"""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

from sup.policies import HealthCheck, Renderer, Topology, UpdateStrategy

GROUP = "sup"
"""Entry-point group and pluggy project name."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def sup_topologies() -> Mapping[str, Topology]:  # type: ignore[empty-body]
    """Return the topologies this plugin adds, by the name used in ``--topology NAME``."""


@hookspec
def sup_update_strategies() -> Mapping[str, UpdateStrategy]:  # type: ignore[empty-body]
    """Return the update strategies this plugin adds, by the name used in ``--strategy NAME``."""


@hookspec
def sup_health_checks() -> Mapping[str, HealthCheck]:  # type: ignore[empty-body]
    """Return the health checks this plugin adds, by the name used in ``[service.health] kind``."""


@hookspec
def sup_renderers() -> Mapping[str, Renderer]:  # type: ignore[empty-body]
    """Return the renderers this plugin adds, by file suffix such as ``.j2``, which is removed."""
