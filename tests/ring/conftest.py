"""Shared by the tests of whole rings: both event loops, and keys without the child process."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from sup.edge.state_files import seal, write_durable


@pytest.fixture(autouse=True)
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without the child process, which has its own tests."""

    def make(directory: Path) -> None:
        write_durable(directory / "identity.key", seal(os.urandom(64), "identity.key"))

    monkeypatch.setattr("sup.edge.identity._make_key_in_child", make)


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Both event loops that a ring runs on."""
    return uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
