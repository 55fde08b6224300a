"""The health part of a plan: ``[service.health]``, ``[service.startup]``, ``[service.liveness]``
(pure).

The three are the same question asked for different ends, as Kubernetes has it. *Readiness*
(``health``) says whether others may use the service, *startup* whether it has come up at all, and
*liveness* whether it must be restarted. Times are seconds.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sup.errors import OperatorError
from sup.model.service_group import check_name

TABLES = {
    "startup": "service.startup",
    "readiness": "service.health",
    "liveness": "service.liveness",
}
"""The three verdicts, in the order in which they matter in a life, and their tables in a plan."""
PROBES = tuple(TABLES)
TTL_KIND = "ttl"
"""The kind of check that is reported instead of made."""
PROBE_HOOKS = {
    "startup": ("startup-check", "health-check"),
    "readiness": ("health-check",),
    "liveness": ("liveness-check",),
}
"""The hooks that a check of kind ``exec`` runs, the first that there is. Liveness never falls back
on the hook of readiness: a service that is busy is not to be restarted for it."""

PositiveSeconds = Annotated[float, Meta(gt=0.0, le=86400.0)]
Count = Annotated[int, Meta(ge=1, le=1000)]
Share = Annotated[float, Meta(gt=0.0, le=1.0)]


class HealthPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service.health]``: which kind of check, how often (seconds), and how many results make a
    change.

    ``interval`` counts from the beginning of one check to the beginning of the next.
    ``retry_interval`` is the same while the last result was not ok; it is never longer than
    ``interval``. ``failures_before_warning`` (0: never) shows a warning before the verdict is
    critical. ``settings`` is free: it belongs to the kind of check (``[service.health.settings]``).
    """

    kind: str = "exec"
    interval: PositiveSeconds = 30.0
    timeout: PositiveSeconds = 10.0
    retry_interval: PositiveSeconds = 5.0
    failures_before_warning: Annotated[int, Meta(ge=0, le=1000)] = 0
    failures_before_critical: Count = 1
    successes_before_passing: Count = 1
    settings: dict[str, Any] = {}


class StartupPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service.startup]``: until it passes, the other two are not asked.

    The fields are those of ``HealthPlan``. By default a service has 150 s to come up (30 failures,
    5 s apart); then it is restarted, as far as ``restart_share`` allows.
    """

    kind: str = "exec"
    interval: PositiveSeconds = 5.0
    timeout: PositiveSeconds = 10.0
    retry_interval: PositiveSeconds = 5.0
    failures_before_warning: Annotated[int, Meta(ge=0, le=1000)] = 0
    failures_before_critical: Count = 30
    successes_before_passing: Count = 1
    settings: dict[str, Any] = {}
    restart_share: Share = 0.34


class LivenessPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service.liveness]``: critical means that the service is restarted.

    The fields are those of ``HealthPlan``. ``restart_share`` is the part of the group that may be
    in a restart for a failed check at once, rounded down, at least one member.
    """

    kind: str = "exec"
    interval: PositiveSeconds = 10.0
    timeout: PositiveSeconds = 10.0
    retry_interval: PositiveSeconds = 10.0
    failures_before_warning: Annotated[int, Meta(ge=0, le=1000)] = 0
    failures_before_critical: Count = 3
    successes_before_passing: Count = 1
    settings: dict[str, Any] = {}
    restart_share: Share = 0.34


ProbePlan = HealthPlan | StartupPlan | LivenessPlan


def check_probe(probe: ProbePlan, where: str) -> None:
    """Refuse what the types can't; ``where`` begins the error line.

    Raises:
        OperatorError: as said.
    """
    check_name(probe.kind, f"{where}.kind")
    if 0 < probe.failures_before_warning >= probe.failures_before_critical:
        raise OperatorError(
            f"{where}.failures_before_warning is {probe.failures_before_warning}, it must be less"
            f" than failures_before_critical, which is {probe.failures_before_critical}"
        )
