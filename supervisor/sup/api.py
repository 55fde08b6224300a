"""What the REST interface can ask of a supervisor, and the answers (JSON-able dicts).

Reads answer from the present view and never wait. A write is checked completely before anything
changes, and answers only after what it promised is durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sup import __version__, attach, events
from sup.api_health import HealthApi
from sup.edge.datagram_ports import clock_us
from sup.edge.package_dir import load_package
from sup.errors import ConflictError, ExitCode, NotFoundError, OperatorError
from sup.group_configs import Held
from sup.log_counts import LogCounts
from sup.log_streams import LogStreams
from sup.model import departure
from sup.model.answers import (
    applied_answer,
    census_answer,
    member_answer,
    state_counts,
    worst_health,
)
from sup.model.config_layers import check_types, parse_toml
from sup.model.health import Health
from sup.model.log_lines import LogQuery
from sup.model.service_group import ServiceGroup, parse_service_group
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec, spec_from
from sup.service_status import NO_DEATHS
from sup.services import Loaded

if TYPE_CHECKING:
    from sup.supervisor import Supervisor
    from sup_core.events import Member

APPLY_TRIES_MAX = 8
"""How often a configuration is tried anew because another was applied to the group meanwhile."""
SETTLE_POLL_S = 0.02
SETTLE_POLLS = 50
"""A start is watched for a second before it is answered; an init hook may take far longer."""
UNSETTLED = ("down", "starting")


class Api(HealthApi):
    """The supervisor as the gateway sees it (``gateway.SupervisorApi``)."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._streams = LogStreams()
        self._counts = LogCounts(getattr(getattr(supervisor, "launcher", None), "log_tally", None))

    # Reads

    async def fresh(self) -> None:
        """Ask the launcher for what the next answer shows of it; bounded, never raises."""
        await self._counts.refresh()

    def status(self) -> dict[str, Any]:
        """``GET /v1/status``."""
        supervisor = self._supervisor
        ring = supervisor.ring.status()
        warnings = [
            *ring.get("warnings", ()),
            *supervisor.services.warnings,
            *supervisor.services.maintenance.warnings,
            *supervisor.problems.values(),
            *supervisor.teller.problems.values(),
        ]
        ip, port = supervisor.ring.advertised
        return {
            "version": __version__,
            "member_id": supervisor.ring.member_id,
            "name": supervisor.ring.name,
            "ring": supervisor.options.ring,
            "advertise": f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}",
            "state_dir": str(supervisor.options.state_dir),
            "launcher": attach.shown(supervisor.launcher),
            "uptime_s": int(time.monotonic() - supervisor.started),
            "members": state_counts(m.state.name.lower() for m in supervisor.members()),
            "services": self._services(),
            "plugins": [
                {"name": p.name, "distribution": p.distribution, "version": p.version}
                for p in supervisor.plugins.active
            ],
            "local_health": supervisor.ring.node.local_health(),
            "peers": ring.get("peers", []),
            "counters": ring.get("counters", {}),
            "warnings": warnings,
        }

    def members(self) -> dict[str, Any]:
        """``GET /v1/members``."""
        now_us, wall_s = clock_us(), time.time()
        rows = [
            member_answer(member, member.state.name.lower(), now_us, wall_s)
            for member in self._supervisor.members()
        ]
        return {"members": sorted(rows, key=lambda row: (row["name"], row["id"]))}

    def why(self, member: str) -> dict[str, Any]:
        """``GET /v1/members/{name-or-id}/why``: who accused it, on what evidence, and when."""
        found = self._meant(member)
        now_us, wall_s = clock_us(), time.time()
        names = {m.id.hex()[:16]: m.name for m in self._supervisor.members()}
        said = []
        for at_us, text in self._supervisor.ring.node.evidence_about(found.id):
            what, _, accuser = text.partition(", by ")
            row = {"at_s": wall_s - (now_us - at_us) / 1e6, "what": what, "by": accuser}
            said.append({**row, "by_name": names.get(accuser, "")})
        state = found.state.name.lower()
        return {"name": found.name, "id": found.id.hex(), "state": state, "why": said}

    def services(self) -> dict[str, Any]:
        """``GET /v1/services``: those of this host."""
        return {"services": self._services()}

    def service(self, name: str) -> dict[str, Any]:
        """``GET /v1/services/{name}``: the row of ``/v1/services``, and its deaths."""
        loaded = self._loaded(name)
        tally = loaded.service.status().tally if loaded.service is not None else NO_DEATHS
        return {
            **self._service(loaded),
            "deaths": [
                {"cause": d.cause.value, "how": d.how, "at_s": d.at_s, "up_s": d.up_s}
                for d in tally.deaths
            ],
            "deaths_total": tally.total,
        }

    def census(self) -> dict[str, Any]:
        """``GET /v1/census``."""
        supervisor = self._supervisor
        versions = supervisor.configs.versions()
        return census_answer(supervisor.census, versions, supervisor.ring.member_id)

    def health(self) -> dict[str, Any]:
        """``GET /v1/health``: the services here that shall be up, and the worst of them."""
        services = {
            row["service"]: {
                key: row[key]
                for key in (
                    *("health", "health_since_s", "output", "process"),
                    *("ready", "maintenance", "withheld"),
                )
            }
            for row in self._services()
            if row["desired"] == "up"
        }
        worst = worst_health(Health[row["health"].upper()] for row in services.values())
        return {"health": worst.word, "services": services}

    async def events(
        self, since: int, follow_s: float, kinds: Sequence[str], service: str
    ) -> dict[str, Any]:
        """``GET /v1/events``: what happened after number ``since``, waiting for it if asked to.

        ``next`` is where the next question begins; ``lost`` events after ``since`` are gone.
        """
        found, following, lost = await events.since(
            since, wait_s=follow_s, kinds=frozenset(kinds), service=service
        )
        rows = [msgspec.to_builtins(event) for event in found]
        return {"run": events.run, "events": rows, "next": following, "lost": lost}

    def group_config(self, group: str) -> dict[str, Any]:
        """``GET /v1/groups/{group}/config``. Raises ``OperatorError`` for what is no group's
        name.
        """
        name = parse_service_group(group)
        held = self._supervisor.configs.get(name)
        census_group = self._supervisor.census.group(name.service, name.group)
        return {
            "group": str(name),
            "version": held.version,
            "config": dict(held.table),
            "author": held.config.author if held.config else "",
            "stamp_s": held.config.stamp_s if held.config else 0,
            "applied": applied_answer(census_group, held.version),
        }

    def logs(self, name: str, query: LogQuery) -> AsyncGenerator[bytes]:
        """``GET /v1/services/{name}/logs``: lines of the log, on and on if it is followed."""
        services = self._supervisor.services
        services.spec(name)
        paths = ServicePaths.of(self._supervisor.options.state_dir, name)
        return self._streams.stream(paths.logs, name, query, lambda: name in services.loaded)

    # Writes

    async def apply_config(
        self, group: str, toml: bytes, *, replace: bool, if_version: str | None
    ) -> dict[str, Any]:
        """``PUT /v1/groups/{group}/config``.

        Raises:
            ConflictError: ``if_version`` is not the version held here.
            OperatorError: not TOML, over a bound, a type that the package's default does not have,
            or a template that can't be rendered with it. Nothing has changed.
        """
        supervisor = self._supervisor
        name = parse_service_group(group)
        patch = parse_toml(toml, "config")
        for _ in range(APPLY_TRIES_MAX):
            before = supervisor.configs.get(name)
            after = supervisor.configs.preview(name, patch, replace=replace, if_version=if_version)
            await self._check_config(name, patch, Held(after, before.version))
            if supervisor.configs.get(name).version == before.version:
                break  # else another was applied while this one was tried: merge into that one
        else:
            raise ConflictError(f"config of {name} changes all the time; try again")
        answer = {"group": str(name), "previous": before.version}
        if after is before.config:
            return {**answer, "version": before.version, "result": "unchanged"}
        version = await supervisor.configs.publish(name, after)
        supervisor.refresh()
        return {**answer, "version": version, "result": "accepted"}

    async def _check_config(
        self, name: ServiceGroup, patch: Mapping[str, Any], after: Held
    ) -> None:
        """Try ``after`` on the package, if this host has it in that group."""
        services = self._supervisor.services
        loaded = services.loaded.get(name.service)
        if loaded is not None and loaded.compiled is not None and loaded.spec.group == name.group:
            check_types(patch, loaded.compiled.default, file="config")
            await services.dry_render(loaded, after)

    def group_files(self, group: str) -> dict[str, Any]:
        """``GET /v1/groups/{group}/files``."""
        name = parse_service_group(group)
        return {"group": str(name), "files": self._supervisor.files.answer(name)}

    async def put_file(self, group: str, name: str, data: bytes) -> dict[str, Any]:
        """``PUT /v1/groups/{group}/files/{name}``."""
        answer = await self._supervisor.files.put(parse_service_group(group), name, data)
        self._supervisor.refresh()
        return answer

    async def remove_file(self, group: str, name: str) -> dict[str, Any]:
        """``DELETE /v1/groups/{group}/files/{name}``."""
        answer = await self._supervisor.files.remove(parse_service_group(group), name)
        self._supervisor.refresh()
        return answer

    async def start_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """``POST /v1/services``: load a service, or bring a loaded one to a new spec."""
        spec = spec_from(await self._named(dict(request)), "request")
        supervisor = self._supervisor
        await supervisor.services.check_start(spec)
        return await self._wish(spec)

    async def set_desired(self, name: str, desired: str) -> dict[str, Any]:
        """``POST /v1/services/{name}/start|stop``."""
        spec = self._supervisor.services.spec(name)
        return await self._wish(msgspec.structs.replace(spec, desired=desired))

    async def stop_service(self, name: str) -> dict[str, Any]:
        """Take the service down and keep it loaded; answers when its process has ended."""
        await self.set_desired(name, "down")
        loaded = self._supervisor.services.loaded.get(name)
        if loaded is None:
            raise ConflictError(f'service "{name}" was unloaded meanwhile')
        if loaded.service is not None:
            await loaded.service.settled()
        return self._service(loaded)

    async def restart_service(self, name: str) -> dict[str, Any]:
        """``POST /v1/services/{name}/restart``."""
        loaded = self._loaded(name)
        if loaded.service is None:
            raise ConflictError(f'service "{name}" can\'t run: {loaded.problem}')
        await loaded.service.restart()
        return self._service(loaded)

    def reset_failed(self, name: str) -> dict[str, Any]:
        """``POST /v1/services/{name}/reset-failed``."""
        loaded = self._loaded(name)
        if loaded.service is None:
            raise ConflictError(f'service "{name}" can\'t run: {loaded.problem}')
        loaded.service.reset_failed()
        return {"service": name, "result": "reset"}

    def _loaded(self, name: str) -> Loaded:
        services = self._supervisor.services
        services.spec(name)
        return services.loaded[name]

    async def suitability(self, name: str) -> dict[str, Any]:
        """``GET /v1/services/{name}/suitability``: asks the hook, or gives its fresh answer."""
        services = self._supervisor.services
        services.spec(name)
        service = services.loaded[name].service
        value = None if service is None else await service.suitability()
        return {"service": name, "suitability": value}

    async def unload_service(self, name: str) -> dict[str, Any]:
        """``DELETE /v1/services/{name}``: stop it and forget it."""
        supervisor = self._supervisor
        supervisor.services.spec(name)
        problem = await supervisor.services.unwish(name)
        return {"service": name, "result": "unloaded", "problem": problem}

    async def depart(self, member: str) -> dict[str, Any]:
        """``POST /v1/members/{name-or-id}/depart``: say for good that a member is gone."""
        supervisor = self._supervisor
        found = self._meant(member)
        told = departure.Departure(found.epoch, supervisor.ring.name)
        try:
            supervisor.ring.publish(departure.KIND, found.id, departure.encode_departure(told))
            await supervisor.ring.flush()
        except (OSError, ValueError) as error:
            raise OperatorError(f"departure can't be kept: {error}", ExitCode.FAILED) from None
        supervisor.refresh()
        return {"id": found.id.hex(), "name": found.name, "result": "departed"}

    def _meant(self, member: str) -> Member:
        found = departure.members_meant(self._supervisor.members(), member)
        if not found:
            raise NotFoundError(f'no member has the name or id "{member}"; see: sup members')
        if len(found) > 1:
            ids = ", ".join(m.id.hex() for m in found)
            raise ConflictError(f'"{member}" is {len(found)} members; use an id: {ids}')
        return found[0]

    async def upgrade(self) -> dict[str, Any]:
        """``POST /v1/upgrade``: answered when the new code has loaded, before it takes over."""
        supervisor = self._supervisor
        version = await attach.upgrade(supervisor.launcher)
        return {
            "result": "upgrading",
            "from": __version__,
            "to": version,
            "launcher": attach.shown(supervisor.launcher),
        }

    def shutdown(self) -> None:
        """``POST /v1/shutdown``: as SIGTERM."""
        self._supervisor.end()

    # Rows

    async def _wish(self, spec: Spec) -> dict[str, Any]:
        loaded = await self._supervisor.services.wish(spec)
        if spec.desired == "up" and loaded.service is not None:
            loaded.service.try_again()
        if spec.desired == "up" and loaded.service is not None:
            # What fails at once, such as a program that is not there, belongs in this answer.
            for _ in range(SETTLE_POLLS):
                if loaded.service.status().process not in UNSETTLED:
                    break
                await asyncio.sleep(SETTLE_POLL_S)
        return self._service(loaded)

    async def _named(self, request: dict[str, Any]) -> dict[str, Any]:
        """A package names its service itself unless the request does."""
        directory = request.get("package_dir")
        if "name" not in request and isinstance(directory, str):
            package = await asyncio.to_thread(
                load_package, Path(directory), cache_dir=self._supervisor.services.plans_dir
            )
            request["name"] = package.plan.package.name
        return request

    def _services(self) -> list[dict[str, Any]]:
        loaded = self._supervisor.services.loaded
        return [self._service(loaded[name]) for name in sorted(loaded)]

    def _service(self, loaded: Loaded) -> dict[str, Any]:
        spec = loaded.spec
        status = loaded.service.status() if loaded.service is not None else None
        plan = loaded.compiled.plan if loaded.compiled is not None else None
        reason = loaded.problem or (status.reason if status else "")
        return {
            "service": spec.name,
            "group": spec.group,
            "desired": spec.desired,
            "process": status.process if status else "failed",
            "pid": status.pid if status else None,
            "since_s": status.since_s if status else 0,
            "health": status.health.word if status else Health.UNKNOWN.word,
            "health_since_s": status.health_since_s if status else 0,
            "output": status.output if status else "",
            "restarts": status.restarts if status else 0,
            "last_exit": status.last_exit if status else "",
            "reason": reason,
            "package": plan.ident if plan is not None and spec.command is None else "-",
            "topology": spec.topology,
            "strategy": spec.strategy,
            "config_version": status.config_version if status else "",
            "pending": status.pending if status else "",
            "started": status.started if status else False,
            "ready": status.ready if status else False,
            "said": status.said if status else "",
            "cause": status.cause if status else "",
            "next_try_s": status.next_try_s if status else 0,
            "held": status.held if status else "",
            "hooks": loaded.service.hooks() if loaded.service is not None else {},
            "maintenance": self._supervisor.services.maintenance.reason(spec.name),
            "restart": status.restart if status else "",
            "withheld": status.withheld if status else "",
            "log": self._counts.of(spec.name),
        }
