"""Gateways that are open, and gateways to open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from tests.gateway.fake_supervisor import FakeApi
from tests.gateway.harness import Harness

from sup.gateway import Gateway


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """These tests run on the loop that the supervisor runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["tcp", "unix"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """A gateway that is open, asked over TCP and, in a second run of the test, over the socket."""
    async with opened(tmp_path) as harness:
        harness.unix = request.param == "unix"
        yield harness


@pytest.fixture
async def tcp(tmp_path: Path) -> AsyncIterator[Harness]:
    """A gateway that is asked over TCP."""
    async with opened(tmp_path) as harness:
        yield harness


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Harness]:
    """A gateway that is asked over the control socket."""
    async with opened(tmp_path) as harness:
        harness.unix = True
        yield harness


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Harness]:
    """A gateway on a free port and on a socket in ``directory``."""
    api = FakeApi()
    path = directory / "control.sock"
    gateway = Gateway(api, http=("127.0.0.1", 0), unix_path=path)
    await gateway.open()
    try:
        yield Harness(api, gateway, path)
    finally:
        await gateway.close()


@pytest.fixture
def free_gateway(tmp_path: Path) -> Callable[..., Gateway]:
    """Make gateways that are not open yet."""

    def make(http: tuple[str, int] | None = None, unix_path: Path | None = None) -> Gateway:
        return Gateway(FakeApi(), http=http, unix_path=unix_path)

    return make
