"""Shared by the tests of the edges: loops of both kinds, and bounded waits instead of sleeps."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Both event loops that the edges support."""
    return uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop


@pytest.fixture
def ipv6_loopback() -> str:
    """``::1``; the test is skipped where the host has none."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"no ::1 on this host: {error.strerror}")
    return "::1"
