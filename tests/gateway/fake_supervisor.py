"""A supervisor that exists only as answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sup.errors import ConflictError, ExitCode, NotFoundError, OperatorError
from sup.log_streams import LogStreams
from sup.model.log_lines import LogQuery


@dataclass
class FakeApi:
    """A ``SupervisorApi`` that records what it is asked."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    health_word: str = "ok"
    versions: dict[str, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    logs_of: dict[str, Path] = field(default_factory=dict)
    """Service to directory of its log; one that is taken out is unloaded."""
    streams: LogStreams = field(default_factory=LogStreams)

    async def fresh(self) -> None:
        pass

    def status(self) -> dict[str, Any]:
        return {"version": "0.1.0", "name": "anna"}

    def members(self) -> dict[str, Any]:
        return {"members": []}

    def why(self, member: str) -> dict[str, Any]:
        self.calls.append(("why", member))
        return {"name": member, "id": "00", "state": "alive", "why": []}

    def services(self) -> dict[str, Any]:
        return {"services": []}

    def census(self) -> dict[str, Any]:
        raise RuntimeError("a secret detail")

    def health(self) -> dict[str, Any]:
        return {"health": self.health_word, "services": {}}

    def service_health(self, name: str) -> dict[str, Any]:
        return {"service": name, "health": self.health_word}

    def report_health(self, name: str, report: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(("report", name, dict(report)))
        return {"result": "reported"}

    def maintenances(self) -> dict[str, Any]:
        return {"maintenance": []}

    async def begin_maintenance(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(("maintenance on", name, dict(request)))
        return {"result": "in maintenance"}

    async def end_maintenance(self, name: str) -> dict[str, Any]:
        self.calls.append(("maintenance off", name))
        return {"result": "ended", "ended": [name]}

    async def events(
        self, since: int, follow_s: float, kinds: Sequence[str], service: str
    ) -> dict[str, Any]:
        self.calls.append(("events", since, follow_s, list(kinds), service))
        rows = [{"seq": 1, "time_s": 1.0, "kind": "hook", "service": "web", "text": "x\x1b"}]
        return {"run": "r", "events": [] if since else rows, "next": 1, "lost": 0}

    def group_config(self, group: str) -> dict[str, Any]:
        return {"group": group, "version": self.versions.get(group, ""), "config": {}}

    async def apply_config(
        self, group: str, toml: bytes, *, replace: bool, if_version: str | None
    ) -> dict[str, Any]:
        self.calls.append(("apply", group, toml, replace, if_version))
        if toml.startswith(b"bad"):
            raise OperatorError("<config>:1:4: expected '='")
        previous = self.versions.get(group, "")
        if if_version is not None and if_version != previous:
            raise ConflictError(f"version is {previous}, not {if_version}")
        self.versions[group] = previous + "v"
        return {
            "group": group,
            "version": self.versions[group],
            "previous": previous,
            "result": "accepted",
        }

    def group_files(self, group: str) -> dict[str, Any]:
        row = {"name": "ca.pem", "bytes": 5, "sha256": "ab", "version": "v", "author": "anna"}
        return {"group": group, "files": [{**row, "stamp_s": 1}]}

    async def put_file(self, group: str, name: str, data: bytes) -> dict[str, Any]:
        self.calls.append(("put", group, name, data))
        return {"group": group, "name": name, "version": "v", "result": "accepted"}

    async def remove_file(self, group: str, name: str) -> dict[str, Any]:
        self.calls.append(("rm", group, name))
        if name == "none":
            raise NotFoundError(f"{group} has no file 'none'; known: ca.pem")
        return {"group": group, "name": name, "result": "removed"}

    async def start_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(("start", dict(request)))
        return {"service": request.get("name")}

    async def set_desired(self, name: str, desired: str) -> dict[str, Any]:
        self.calls.append(("desired", name, desired))
        if name == "none":
            raise NotFoundError(f"no service {name}; loaded: web")
        return {"service": name}

    async def stop_service(self, name: str) -> dict[str, Any]:
        self.calls.append(("stop", name))
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        return {"service": name}

    def service(self, name: str) -> dict[str, Any]:
        raise NotFoundError(f"no service {name}; loaded: none")

    async def upgrade(self) -> dict[str, Any]:
        self.calls.append(("upgrade",))
        return {"result": "upgrading", "from": "1", "to": "2", "launcher": None}

    def reset_failed(self, name: str) -> dict[str, Any]:
        self.calls.append(("reset_failed", name))
        return {"service": name, "result": "reset"}

    async def restart_service(self, name: str) -> dict[str, Any]:
        raise NotFoundError(f"no service {name}; loaded: none")

    async def suitability(self, name: str) -> dict[str, Any]:
        return {"service": name, "suitability": 7}

    async def unload_service(self, name: str) -> dict[str, Any]:
        raise OperatorError("too slow", ExitCode.TIMED_OUT)

    async def depart(self, member: str) -> dict[str, Any]:
        self.calls.append(("depart", member))
        return {"member": member}

    def logs(self, name: str, query: LogQuery) -> AsyncGenerator[bytes]:
        if name not in self.logs_of:
            raise NotFoundError(f"no service {name}; loaded: {', '.join(self.logs_of)}")
        return self.streams.stream(self.logs_of[name], name, query, lambda: name in self.logs_of)

    def shutdown(self) -> None:
        self.calls.append(("shutdown",))
