"""A plain HTTP client on the real sockets of a gateway."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gateway.fake_supervisor import FakeApi

from sup.gateway import Gateway


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
