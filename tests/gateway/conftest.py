"""A supervisor that exists only as answers, and a plain HTTP client on real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sup.errors import ConflictError, ExitCode, NotFoundError, OperatorError
from sup.gateway import Gateway


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """These tests run on the loop that the supervisor runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class FakeApi:
    """A ``SupervisorApi`` that records what it is asked."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    health_word: str = "ok"
    versions: dict[str, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def status(self) -> dict[str, Any]:
        return {"version": "0.1.0", "name": "anna"}

    def members(self) -> dict[str, Any]:
        return {"members": []}

    def services(self) -> dict[str, Any]:
        return {"services": []}

    def census(self) -> dict[str, Any]:
        raise RuntimeError("a secret detail")

    def health(self) -> dict[str, Any]:
        return {"health": self.health_word, "services": {}}

    def group_config(self, group: str) -> dict[str, Any]:
        return {"group": group, "version": self.versions.get(group, ""), "config": {}}

    def apply_config(
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

    def start_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(("start", dict(request)))
        return {"service": request.get("name")}

    async def stop_service(self, name: str) -> dict[str, Any]:
        self.calls.append(("stop", name))
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        return {"service": name}

    async def restart_service(self, name: str) -> dict[str, Any]:
        raise NotFoundError(f"no service {name}; loaded: none")

    async def unload_service(self, name: str) -> dict[str, Any]:
        raise OperatorError("too slow", ExitCode.TIMED_OUT)

    def depart(self, member: str) -> dict[str, Any]:
        self.calls.append(("depart", member))
        return {"member": member}

    def shutdown(self) -> None:
        self.calls.append(("shutdown",))


@dataclass
class Answer:
    """One response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


@dataclass
class Harness:
    """A gateway on a free port and a socket file, with its fake supervisor."""

    api: FakeApi
    gateway: Gateway
    path: Path

    @property
    def port(self) -> int:
        address = self.gateway.http_address
        assert address is not None
        return address[1]

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        unix: bool = False,
    ) -> Answer:
        """Ask from a thread, as a client in another process would."""

        def blocking() -> Answer:
            connection = (
                _UnixConnection(self.path)
                if unix
                else http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            )
            try:
                connection.request(method, target, body=body, headers=dict(headers or {}))
                response = connection.getresponse()
                found = {key.lower(): value for key, value in response.getheaders()}
                return Answer(response.status, found, response.read())
            finally:
                connection.close()

        return await asyncio.to_thread(blocking)

    async def raw(self, data: bytes, *, until_close_s: float = 5.0) -> bytes:
        """Send bytes and read until the gateway closes (or the time is up)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            async with asyncio.timeout(until_close_s):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    """A gateway that is open, on TCP and on a unix socket."""
    api = FakeApi()
    path = tmp_path / "control.sock"
    gateway = Gateway(api, http=("127.0.0.1", 0), unix_path=path)
    await gateway.open()
    yield Harness(api, gateway, path)
    await gateway.close()


@pytest.fixture
def free_gateway(tmp_path: Path) -> Callable[..., Gateway]:
    """Make gateways that are not open yet."""

    def make(http: tuple[str, int] | None = None, unix_path: Path | None = None) -> Gateway:
        return Gateway(FakeApi(), http=http, unix_path=unix_path)

    return make
