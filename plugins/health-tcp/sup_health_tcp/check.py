"""The health check ``tcp``: can a client connect, and does it hear what it expects.

Settings::

    [service.health]
    kind = "tcp"
    [service.health.settings]
    port = 6379
    send = "PING\\r\\n"
    expect = "+PONG"

Nothing is kept between checks, nothing is imported that the supervisor has not imported anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sup.plugin_api import CheckContext, CheckResult, Health

REPLY_BYTES_MAX = 4096
"""What is read of the answer; ``expect`` must be within it."""
SEND_BYTES_MAX = 4096
OUTPUT_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """``[service.health.settings]`` of a check of kind ``tcp``, checked."""

    port: int
    host: str = "127.0.0.1"
    send: bytes = b""
    expect: bytes = b""
    connect_timeout_s: float = 5.0

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Settings:
        """Check the table of the plan.

        Raises:
            ValueError: one line: the key, its value and what it should be.
        """
        known = {"host", "port", "send", "expect", "connect_timeout"}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"unknown key {unknown[0]!r:.60}; known: {', '.join(sorted(known))}")
        port = settings.get("port")
        if isinstance(port, str) and port.isascii() and port.isdigit():
            port = int(port)
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            raise ValueError(f"port is {port!r:.60}; it must be a number from 1 to 65535")
        host = settings.get("host", "127.0.0.1")
        if not isinstance(host, str) or not host:
            raise ValueError(f"host is {host!r:.60}; it must be a name or an address")
        texts = {}
        for key in ("send", "expect"):
            text = settings.get(key, "")
            if not isinstance(text, str) or len(text.encode()) > SEND_BYTES_MAX:
                raise ValueError(f"{key} must be a text of at most {SEND_BYTES_MAX} bytes")
            texts[key] = text.encode()
        limit = settings.get("connect_timeout", 5.0)
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit <= 3600:
            raise ValueError(f"connect_timeout is {limit!r:.60}; it must be seconds, up to 3600")
        return cls(port, host, texts["send"], texts["expect"], float(limit))


class TcpCheck:
    """Connects once per check; ok when the connection, and the expected answer, came in time."""

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that can't be used. Raises ``ValueError``, one line."""
        Settings.parse(settings)

    async def check(self, context: CheckContext) -> CheckResult:
        """Check once, within ``context.timeout_s``."""
        if not context.process_up:
            return CheckResult(Health.CRITICAL, "the process is not up")
        try:
            settings = Settings.parse(context.settings)
        except ValueError as error:
            return CheckResult(Health.UNKNOWN, str(error))
        begun_s = time.monotonic()
        where = f"{settings.host}:{settings.port}"
        health, output = Health.CRITICAL, f"{where}: no answer in {context.timeout_s:g} s"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(context.timeout_s):
                health, output = await _ask(settings, where)
        return CheckResult(health, output, round((time.monotonic() - begun_s) * 1000))


async def _ask(settings: Settings, where: str) -> tuple[Health, str]:
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            reader, writer = await asyncio.open_connection(settings.host, settings.port)
    except TimeoutError:
        return Health.CRITICAL, f"{where}: not connected in {settings.connect_timeout_s:g} s"
    except OSError as error:
        return Health.CRITICAL, f"{where}: {error.strerror or error}"
    try:
        if not settings.send and not settings.expect:
            return Health.OK, f"{where}: connected"
        writer.write(settings.send)
        await writer.drain()
        reply = await _reply(reader, settings.expect)
    except OSError as error:
        return Health.CRITICAL, f"{where}: {error.strerror or error}"
    finally:
        writer.transport.abort()  # nothing more is said, and nothing waited for
    shown = reply.decode("utf-8", "replace")[:OUTPUT_CHARS_MAX]
    if settings.expect and settings.expect not in reply:
        expected = settings.expect.decode()[:80]
        return Health.CRITICAL, f"{where}: answered {shown!r} without {expected!r}"
    return Health.OK, f"{where}: {shown!r}" if settings.expect else f"{where}: sent"


async def _reply(reader: asyncio.StreamReader, expect: bytes) -> bytes:
    """What comes until ``expect`` is in it, the end of the stream, or the bound."""
    reply = b""
    while expect and expect not in reply and len(reply) < REPLY_BYTES_MAX:
        data = await reader.read(REPLY_BYTES_MAX - len(reply))
        if not data:
            break
        reply += data
    return reply
