"""Gateways that are open, and gateways to open."""

from __future__ import annotations

import asyncio
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
