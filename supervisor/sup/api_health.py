"""The part of the REST interface that is about health and maintenance (floor 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sup.errors import ConflictError, OperatorError
from sup.model.health import Health
from sup.model.health_plan import PROBES
from sup.model.maintenance import ALL
from sup.service_health import HealthWatch

if TYPE_CHECKING:
    from sup.services import Loaded
    from sup.supervisor import Supervisor

SETTABLE = (Health.OK, Health.WARNING, Health.CRITICAL)


class HealthApi:
    """Mixed into ``api.Api``."""

    _supervisor: Supervisor

    def service_health(self, name: str) -> dict[str, Any]:
        """``GET /v1/services/{name}/health``: verdicts, and the last results of each check."""
        loaded = self._loaded(name)
        if loaded.service is None:
            return {
                "service": name,
                "health": Health.UNKNOWN.word,
                "ready": False,
                "output": loaded.problem,
                "checks": {},
            }
        watch, status = loaded.service.health, loaded.service.status()
        return {
            "service": name,
            "group": loaded.spec.group,
            "process": status.process,
            "health": status.health.word,
            "since_s": status.health_since_s,
            "ready": status.ready,
            "output": status.output,
            "maintenance": status.maintenance,
            "restart": status.restart,
            "withheld": status.withheld,
            "checks": {probe: _check_answer(watch, probe) for probe in watch.plans},
        }

    def report_health(self, name: str, report: Mapping[str, Any]) -> dict[str, Any]:
        """``PUT /v1/services/{name}/health/ttl``.

        Raises:
            OperatorError: not ``{"status", "output", "check"}``, or the service has no ttl check.
        """
        loaded = self._loaded(name)
        unknown = sorted(set(report) - {"status", "output", "check"})
        if unknown:
            raise OperatorError(f"unknown key {unknown[0]!r:.60}; known: status, output, check")
        words = [health.word for health in SETTABLE]
        status, output, check = (report.get(key) for key in ("status", "output", "check"))
        if status not in words:
            raise OperatorError(f"status is {status!r:.60}; it is one of {', '.join(words)}")
        if output is not None and not isinstance(output, str):
            raise OperatorError(f"output is {output!r:.60}; it is a text")
        if check is not None and check not in PROBES:
            raise OperatorError(f"check is {check!r:.60}; it is one of {', '.join(PROBES)}")
        if loaded.service is None:
            raise ConflictError(f'service "{name}" can\'t run: {loaded.problem}')
        loaded.service.health.report(Health[status.upper()], output or "", check)
        return {"service": name, "status": status, "result": "reported"}

    def maintenances(self) -> dict[str, Any]:
        """``GET /v1/maintenance``; the service ``*`` is all of them."""
        return {
            "maintenance": [
                {
                    "service": one.name,
                    "reason": one.reason,
                    "since_s": int(one.since_wall_s),
                    "left_s": None if left_s is None else max(0, int(left_s)),
                }
                for one, left_s in self._supervisor.services.maintenance.entries()
            ]
        }

    async def begin_maintenance(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """``PUT /v1/services/{name}/maintenance``, and ``/v1/maintenance`` for all."""
        unknown = sorted(set(request) - {"reason", "for_s"})
        if unknown:
            raise OperatorError(f"unknown key {unknown[0]!r:.60}; known: reason, for_s")
        reason, for_s = request.get("reason", ""), request.get("for_s")
        if not isinstance(reason, str):
            raise OperatorError(f"reason is {reason!r:.60}; it is a text")
        if isinstance(for_s, bool) or not isinstance(for_s, (int, float, type(None))):
            raise OperatorError(f"for_s is {for_s!r:.60}; it is a number of seconds")
        if name != ALL:
            self._loaded(name)
        await self._supervisor.services.begin_maintenance(name, reason, for_s)
        return {"service": name, "result": "in maintenance", "reason": reason.strip()}

    async def end_maintenance(self, name: str) -> dict[str, Any]:
        """``DELETE`` of the same; of all: every one there is, however it was begun."""
        ended = await self._supervisor.services.end_maintenance(name)
        if not ended and name != ALL:
            self._loaded(name)
        reason = self._supervisor.services.maintenance.reason(name)
        if reason:
            raise ConflictError(
                f'"{name}" is still in maintenance with all services ({reason});'
                " end that with: sup maintenance off --all"
            )
        return {"service": name, "result": "ended", "ended": ended}

    def _loaded(self, name: str) -> Loaded:
        """The loaded service; raises ``NotFoundError``."""
        services = self._supervisor.services
        services.spec(name)
        return services.loaded[name]


def _check_answer(watch: HealthWatch, probe: str) -> dict[str, Any]:
    plan, machine = watch.plans[probe], watch.machine(probe)
    return {
        "kind": plan.kind,
        "active": watch.active(probe),
        "health": machine.verdict.word,
        "interval_s": machine.times.interval_s,
        "timeout_s": machine.times.timeout_s,
        "failures": machine.tally.failures,
        "successes": machine.tally.passes,
        "failures_before_critical": plan.failures_before_critical,
        "successes_before_passing": plan.successes_before_passing,
        "results": [
            {
                "at_s": round(result.at_s, 3),
                "health": result.health.word,
                "elapsed_ms": result.elapsed_ms,
                "output": result.output,
                "counted": result.counted,
            }
            for result in watch.results(probe)
        ],
    }
