"""The health check ``http``: one request, and what its answer must be.

By default as Consul has it: 2xx is ok, 429 (too many requests) a warning, everything else critical.
A redirect is an answer and is not followed, for the place that it leads to may be well while the
service is not. HTTP/1.1 is spoken with h11 over the loop's own streams: next to nothing in memory
where an HTTP client library takes megabytes (the figures are in the README). Nothing is kept
between checks but TLS contexts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11

from sup.plugin_api import CheckContext, CheckResult, Health
from sup_health_http.pattern import TooManySteps
from sup_health_http.settings import Settings, Tls

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
"""What is read of a body that is looked into; the rest is not."""
SHOWN_BYTES = 200
"""Of a body that is only shown."""
READ_BYTES = 16 * 1024
TLS_CONTEXTS_MAX = 16
PARSED_MAX = 512
"""Different settings that are kept parsed: one per check of a service."""


@dataclass(slots=True)
class _Answer:
    status: int = 0
    body: bytes = b""
    whole: bool = False
    """The body ended by itself; False: it was cut at its bound or by the time-out."""


class HttpCheck:
    """Asks once per check; connects anew each time, as a client that comes for the first time."""

    def __init__(self) -> None:
        self._tls: dict[Tls, ssl.SSLContext] = {}
        self._parsed: dict[str, Settings] = {}

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that can't be used. Raises ``ValueError``, one line."""
        Settings.parse(settings)

    async def check(self, context: CheckContext) -> CheckResult:
        """Check once, within ``context.timeout_s``."""
        if not context.process_up:
            return CheckResult(Health.CRITICAL, "the process is not up")
        try:
            settings = self._settings(context.settings)
        except ValueError as error:
            return CheckResult(Health.UNKNOWN, str(error))
        begun_s = time.monotonic()
        answer = _Answer()
        problem = f"no answer in {context.timeout_s:g} s"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(context.timeout_s):
                problem = await self._ask(settings, answer)
        health, output = _judge(settings, answer, problem)
        return CheckResult(health, output, round((time.monotonic() - begun_s) * 1000))

    def _settings(self, table: Mapping[str, Any]) -> Settings:
        key = repr(table)
        found = self._parsed.get(key)
        if found is None:
            if len(self._parsed) >= PARSED_MAX:
                self._parsed.clear()
            found = self._parsed[key] = Settings.parse(table)
        return found

    async def _ask(self, settings: Settings, answer: _Answer) -> str:
        """Fill ``answer``; returns what went wrong, or empty."""
        where = settings.host_header
        try:
            context = None
            if settings.tls is not None:
                context = await asyncio.to_thread(self._context, settings.tls)
            async with asyncio.timeout(settings.connect_timeout_s):
                reader, writer = await asyncio.open_connection(
                    settings.host,
                    settings.port,
                    ssl=context,
                    server_hostname=settings.server_name if context else None,
                )
        except TimeoutError:
            return f"{where}: not connected in {settings.connect_timeout_s:g} s"
        except ssl.SSLCertVerificationError as error:
            return f"{where}: certificate is not trusted: {error.verify_message}"
        except ssl.SSLError as error:
            return f"{where}: TLS failed: {error.reason or error}"
        except OSError as error:
            return f"{where}: {error.strerror or error}"
        try:
            await _exchange(settings, answer, reader, writer)
        except h11.RemoteProtocolError as error:
            return f"{where}: no HTTP: {error}"
        except OSError as error:
            return f"{where}: {error.strerror or error}"
        finally:
            writer.transport.abort()  # nothing more is said, and nothing waited for
        return ""

    def _context(self, tls: Tls) -> ssl.SSLContext:
        """Made once for equal options; reads the files, which may take a disk's time."""
        found = self._tls.get(tls)
        if found is None:
            found = ssl.create_default_context(cafile=tls.ca or None)
            if not tls.verify:
                found.check_hostname = False
                found.verify_mode = ssl.CERT_NONE
            if tls.certificate:
                found.load_cert_chain(tls.certificate, tls.key or None)
            if len(self._tls) >= TLS_CONTEXTS_MAX:
                self._tls.clear()
            self._tls[tls] = found
        return found


async def _exchange(
    settings: Settings,
    answer: _Answer,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    names = {name.lower() for name, _ in settings.headers}
    headers = [
        *settings.headers,
        *([("Host", settings.host_header)] if "host" not in names else []),
        *([("User-Agent", "sup-health-http")] if "user-agent" not in names else []),
        *([("Accept", "*/*")] if "accept" not in names else []),
        *([("Content-Length", "0")] if settings.method == "POST" else []),
        ("Connection", "close"),
    ]
    request = h11.Request(method=settings.method, target=settings.target, headers=headers)
    writer.write(connection.send(request) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    wanted = BODY_BYTES_MAX if settings.wants_body else SHOWN_BYTES
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if answer.status and not settings.wants_body:
                return  # the head decides; nobody waits for a body that is only shown
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            answer.status = event.status_code
        elif isinstance(event, h11.Data):
            answer.body += bytes(event.data)[: wanted - len(answer.body)]
            if len(answer.body) >= wanted:
                return
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            answer.whole = True
            return


def _judge(settings: Settings, answer: _Answer, problem: str) -> tuple[Health, str]:
    if not answer.status:
        return Health.CRITICAL, problem
    shown = f"HTTP {answer.status}{_phrase(answer.status)}"
    text = answer.body[:SHOWN_BYTES].decode("utf-8", "replace").split("\n", 1)[0].strip()
    if text:
        shown += f": {text}"
    if settings.status is not None:
        good = answer.status in settings.status
    else:
        good = 200 <= answer.status <= 299
    if not good:
        busy = answer.status == HTTPStatus.TOO_MANY_REQUESTS and settings.status is None
        return (Health.WARNING if busy else Health.CRITICAL), shown
    cut = "" if answer.whole else f" in the first {len(answer.body)} bytes of the body"
    if settings.contains and settings.contains not in answer.body:
        expected = settings.contains.decode()[:80]
        return Health.CRITICAL, f"{shown}; without {expected!r}{cut}" + _late(problem)
    if settings.matches is not None:
        try:
            found = settings.matches.search(answer.body.decode("utf-8", "replace"))
        except TooManySteps:
            return Health.UNKNOWN, f"{shown}; the body is too long for body_matches"
        if not found:
            return (
                Health.CRITICAL,
                f"{shown}; no match of {settings.matches.source!r:.80}{cut}" + _late(problem),
            )
    return Health.OK, shown


def _late(problem: str) -> str:
    return f" ({problem})" if problem else ""


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
