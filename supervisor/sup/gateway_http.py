"""HTTP over TCP, on aiohttp: the bounds and the guard around ``sup.routes``.

It decides who may ask (a Host that is ours; for writes a loopback peer whose request no web page
made) and how much a client may cost (bytes, connections, seconds). What a request means is in
``sup.routes``; the unix socket of the command line is served by ``sup.control``.

Only ``sup.gateway`` imports this module, and late: see there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler

from sup.routes import (
    BODY_BYTES_MAX,
    STREAM_SECONDS,
    Answer,
    Request,
    SupervisorApi,
    answer,
    problem,
    too_large,
)

log = logging.getLogger("sup.gateway")

CONNECTIONS_MAX = 128
"""Open connections; one more is closed at once. Each costs some 20 KB."""

HEADER_SECONDS = 10.0
"""From accept to the end of the first request's headers."""

BODY_SECONDS = 10.0
"""For the whole body of one request, once its headers are read."""

LINGER_SECONDS = 1.0
"""For the last words to a reader that took nothing."""

KEEPALIVE_SECONDS = 30.0
"""An idle connection is kept this long for the next request."""

HEADER_BYTES_MAX = 8190
"""One header line; the number of them is bounded by ``HEADERS_MAX``."""

HEADERS_MAX = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Serving:
    """A gateway that answers: close it to stop."""

    runner: web.AppRunner
    server: asyncio.Server
    streaming: set[asyncio.Task[None]]

    async def close(self, timeout_s: float) -> None:
        """Refuse new connections, give requests in progress ``timeout_s``, close the rest."""
        self.server.close()
        for task in self.streaming:
            task.cancel()  # it would go on for ever
        manager = self.runner.server
        if manager is not None:
            manager.pre_shutdown()
            await manager.shutdown(timeout_s)
        await self.runner.cleanup()


async def serve(api: SupervisorApi, sock: socket.socket, host: str) -> Serving:
    """Answer HTTP on a socket that listens. ``host`` is allowed in ``Host`` besides localhost."""
    app = web.Application(middlewares=[_guard(host)], client_max_size=BODY_BYTES_MAX)
    streaming: set[asyncio.Task[None]] = set()
    app.router.add_route("*", "/{path:.*}", _adapt(api, streaming))
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    manager = runner.server
    assert manager is not None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(manager, loop), sock=sock)
    return Serving(runner, server, streaming)


class _Connection(RequestHandler):
    """aiohttp's connection with our bounds, and problem details for what the parser refuses."""

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=KEEPALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # what turns it off
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=2.0,
        )
        self._manager_of_all = manager
        self._first: asyncio.TimerHandle | None = None
        self.answering = False
        """Whether one request's headers have been read; set by the guard."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        crowded = len(self._manager_of_all.connections) >= CONNECTIONS_MAX
        super().connection_made(transport)
        if crowded:
            self.force_close()
            return
        self._first = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._headers_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._first is not None:
            self._first.cancel()
        super().connection_lost(exc)

    def _headers_late(self) -> None:
        if not self.answering:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the HTTP parser refused. Not logged as an error: any stranger can cause it."""
        self.answering = True
        log.debug("gateway request refused status=%s reason=%s", status, exc)
        text = message or HTTPStatus(status).phrase
        response = _problem(status, " ".join(text.split())[:200])
        response.force_close()
        return response


def _guard(own_host: str) -> Middleware:
    """The middleware: who may ask what, and every error as problem details."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, _Connection):
            request.protocol.answering = True
        refusal = _refusal(request, own_host)
        if refusal is not None:
            return _problem(403, refusal)
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return _response(too_large())
        except web.HTTPException as error:
            return _problem(error.status, error.reason)

    return guard


def _refusal(request: web.Request, own_host: str) -> str | None:
    """Why this client may not ask this, or None."""
    transport = request.transport
    if transport is None:
        return "connection lost"
    # A page of some site whose DNS name was rebound to our address still sends its own name as
    # Host.
    # Not request.host: without the header that is a look-up of names, and the loop waits for it.
    asked = request.headers.get("Host", "")
    host = _host_of(f"//{asked}")
    if not (host in (own_host, "localhost") or _is_address(host)):
        return f"Host {asked[:100]!r} is not a name of this gateway"
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    peer = str(transport.get_extra_info("peername")[0]).partition("%")[0]
    if not _is_loopback(peer):
        return "only this host may change anything; use the control socket or the loopback address"
    origin = request.headers.get("Origin")
    if origin is not None and _place_of(origin) != asked:
        return "a page of another site may not change anything"
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return "a page of another site may not change anything"
    return None


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _place_of(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(peer: str) -> bool:
    address = ipaddress.ip_address(peer)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _adapt(api: SupervisorApi, streaming: set[asyncio.Task[None]]) -> Handler:
    """One handler for everything: the routes know methods and paths themselves."""

    async def handler(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path, _, query = request.raw_path.partition("?")
        body = await _body(request)
        found = await answer(api, Request(request.method, path, query, headers, body))
        if found.stream is None or request.method == "HEAD":
            return _response(found)
        task = asyncio.current_task()
        assert task is not None
        streaming.add(task)
        try:
            return await _stream(request, found, found.stream)
        finally:
            streaming.discard(task)

    return handler


async def _stream(
    request: web.Request, answer: Answer, stream: AsyncGenerator[bytes]
) -> web.StreamResponse:
    """Write what comes until it ends or the reader has gone or takes nothing."""
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.content_type = answer.content_type
    await response.prepare(request)
    try:
        async with contextlib.aclosing(stream) as reading:
            async for data in reading:
                if request.transport is None or request.transport.is_closing():
                    return response
                async with asyncio.timeout(STREAM_SECONDS):
                    await response.write(data)
        await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await response.write(answer.too_slow)
            request.transport.abort()
    except OSError:
        pass  # the reader has gone
    return response


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"body not received in {BODY_SECONDS:.0f} s") from None


def _response(answer: Answer) -> web.Response:
    return web.Response(
        body=answer.body,
        status=answer.status,
        content_type=answer.content_type,
        headers=_headers(answer),
    )


def _headers(answer: Answer) -> dict[str, str]:
    return {"Cache-Control": "no-store", **answer.headers}


def _problem(status: int, detail: str) -> web.Response:
    return _response(problem(status, detail))
