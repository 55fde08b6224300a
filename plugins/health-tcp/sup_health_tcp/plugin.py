"""The hooks of ``sup-health-tcp``: the check of kind ``tcp``."""

from collections.abc import Mapping

from sup.plugin_api import HealthCheck, hookimpl
from sup_health_tcp.check import TcpCheck


@hookimpl
def sup_health_checks() -> Mapping[str, HealthCheck]:
    """Used as ``kind = "tcp"`` in ``[service.health]``, ``.startup`` or ``.liveness``."""
    return {"tcp": TcpCheck()}
