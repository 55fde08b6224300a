"""The hooks of ``sup-health-http``: the check of kind ``http``."""

from collections.abc import Mapping

from sup.plugin_api import HealthCheck, hookimpl
from sup_health_http.check import HttpCheck


@hookimpl
def sup_health_checks() -> Mapping[str, HealthCheck]:
    """Used as ``kind = "http"`` in ``[service.health]``, ``.startup`` or ``.liveness``."""
    return {"http": HttpCheck()}
