"""The built-in health check ``ttl``: the service, or who watches it, says how it does.

The state is put through the REST interface (``PUT /v1/services/NAME/health/ttl``) or with ``sup
health NAME --set ok``, and turns critical when it is not renewed within the ``interval`` of the
plan. Nothing is asked here: ``service_health`` waits for the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sup.hookspecs import hookimpl
from sup.model.health import CheckResult, Health
from sup.policies import CheckContext, HealthCheck


class TtlCheck:
    """Stands for the kind; asked by itself it knows nothing."""

    async def check(self, context: CheckContext) -> CheckResult:
        """Say that this is not the way."""
        return CheckResult(Health.UNKNOWN, "a check of kind ttl is reported, not made")

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """It has none. Raises ``ValueError`` when there are some."""
        if settings:
            raise ValueError(
                f"unknown key {min(settings)!r:.60}; a check of kind ttl has no settings,"
                " its time is the interval"
            )


@hookimpl
def sup_health_checks() -> Mapping[str, HealthCheck]:
    return {"ttl": TtlCheck()}
