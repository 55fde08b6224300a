"""``sup-health-tcp``: the contract of a health check, then what it promises itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

import sup_health_tcp.plugin
from sup.plugin_api import CheckContext, CheckResult, Health
from sup.testing import HealthCheckContract, check_plugin
from sup_health_tcp.check import REPLY_BYTES_MAX, TcpCheck

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def context(timeout_s: float = 5.0, **settings: Any) -> CheckContext:
    return CheckContext("app", "/", None, True, timeout_s, settings=settings)


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class TestTcpContract(HealthCheckContract):
    """Answers in time, can be cancelled, may overlap."""

    def make(self) -> TcpCheck:
        return TcpCheck()

    def contexts(self) -> Sequence[CheckContext]:
        return [context(1.0, port=closed_port()), context(1.0, host="127.0.0.1")]


def test_plugin_loads_and_provides_the_kind() -> None:
    """One check, and only the public API imported."""
    assert check_plugin(sup_health_tcp.plugin).provides() == ("health check tcp",)


def check_against(serve: Serve, timeout_s: float = 5.0, **settings: Any) -> CheckResult:
    """The result of one check of a server that does ``serve`` with each connection."""

    async def run() -> CheckResult:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await TcpCheck().check(context(timeout_s, port=port, **settings))

    return asyncio.run(run())


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert await reader.readline() == b"PING\r\n"
    writer.write(b"+PO")
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.write(b"NG\r\n")
    await reader.read()
    writer.close()


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
    except OSError:
        writer.close()


def test_check_connection_alone_is_ok() -> None:
    """Without anything to expect."""
    assert check_against(silent).health is Health.OK


def test_check_expected_answer_in_two_parts_is_ok() -> None:
    """A stream has no messages."""
    result = check_against(pong, send="PING\r\n", expect="+PONG")
    assert (result.health, "+PONG" in result.output) == (Health.OK, True)


def test_check_other_answer_is_critical_and_shown() -> None:
    """What came instead is the first question of whoever looks."""
    result = check_against(flood, expect="+PONG")
    assert result.health is Health.CRITICAL
    assert "without '+PONG'" in result.output
    assert len(result.output) < REPLY_BYTES_MAX


def test_check_silence_is_critical_in_time() -> None:
    """A server that accepts and says nothing."""
    result = check_against(silent, timeout_s=0.2, expect="+PONG")
    assert (result.health, "no answer in 0.2 s" in result.output) == (Health.CRITICAL, True)


def test_check_refused_is_critical() -> None:
    """Nobody listens."""
    result = asyncio.run(TcpCheck().check(context(port=closed_port())))
    assert result.health is Health.CRITICAL
    assert "refused" in result.output.lower() or "connect" in result.output.lower()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "port is None"),
        ({"port": 0}, "port is 0"),
        ({"port": "{{x"}, "port is"),
        ({"port": True}, "port is True"),
        ({"port": 1, "prot": 2}, "unknown key 'prot'"),
        ({"port": 1, "expect": "x" * 5000}, "expect must be a text of at most 4096 bytes"),
        ({"port": 1, "connect_timeout": 0}, "connect_timeout is 0"),
        ({"port": 1, "host": ""}, "host is ''"),
    ],
)
def test_settings_out_of_bounds_are_one_line(settings: dict[str, Any], words: str) -> None:
    """At the load of the package; of a running service the health is unknown."""
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        TcpCheck().check_settings(settings)
    assert words in str(caught.value)
    result = asyncio.run(TcpCheck().check(context(**settings)))
    assert result.health is Health.UNKNOWN


def test_settings_port_as_text_is_taken() -> None:
    """A value of the configuration may be either."""
    TcpCheck().check_settings({"port": "6379"})
