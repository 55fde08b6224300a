"""The routes of the gateway: one table from HTTP to ``SupervisorApi``, on aiohttp.

It decides who may write (the control socket, or a loopback peer whose request no web page made),
how errors look (RFC 9457 problem details, always, also for what never reached a route) and how
much a client may cost (bytes, connections, seconds). It holds no state and knows no rule of the
supervisor.

Only ``sup.gateway`` imports this module, and late: see there.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler

from sup.errors import ConflictError, ExitCode, NotFoundError, OperatorError
from sup.gateway import SupervisorApi

log = logging.getLogger("sup.gateway")

BODY_BYTES_MAX = 64 * 1024
"""Largest request body; also the bound of one group configuration."""

CONNECTIONS_MAX = 128
"""Open connections; one more is closed at once. Each costs some 20 KB."""

HEADER_SECONDS = 10.0
"""From accept to the end of the first request's headers."""

BODY_SECONDS = 10.0
"""For the whole body of one request, once its headers are read."""

KEEPALIVE_SECONDS = 30.0
"""An idle connection is kept this long for the next request."""

ANSWER_SECONDS = 300.0
"""For one operation of the supervisor. Stopping a service takes its ``stop_timeout`` and its
hooks.
"""

HEADER_BYTES_MAX = 8190
"""One header line; the number of them is bounded by ``HEADERS_MAX``."""

HEADERS_MAX = 64

STATUS_OF = {
    ExitCode.BAD_INPUT: 400,
    ExitCode.CONFLICT: 409,
    ExitCode.FAILED: 500,
    ExitCode.UNREACHABLE: 503,
    ExitCode.TIMED_OUT: 504,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Serving:
    """A gateway that answers: close it to stop."""

    runner: web.AppRunner
    servers: list[asyncio.Server]

    async def close(self, timeout_s: float) -> None:
        """Refuse new connections, give requests in progress ``timeout_s``, close the rest."""
        for server in self.servers:
            server.close()
        manager = self.runner.server
        if manager is not None:
            manager.pre_shutdown()
            await manager.shutdown(timeout_s)
        await self.runner.cleanup()


async def serve(
    api: SupervisorApi, sockets: Sequence[socket.socket], hosts: frozenset[str]
) -> Serving:
    """Answer HTTP on sockets that listen already. ``hosts`` are names allowed in ``Host`` besides
    localhost.
    """
    app = web.Application(middlewares=[_guard(hosts)], client_max_size=BODY_BYTES_MAX)
    app.add_routes(_routes(api))
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    manager = runner.server
    assert manager is not None
    loop = asyncio.get_running_loop()
    servers = []
    for sock in sockets:
        servers.append(await loop.create_server(lambda: _Connection(manager, loop), sock=sock))
    return Serving(runner, servers)


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


def _guard(hosts: frozenset[str]) -> Middleware:
    """The middleware: who may ask what, and every error as problem details."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, _Connection):
            request.protocol.answering = True
        refusal = _refusal(request, hosts)
        if refusal is not None:
            return _problem(403, refusal)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await handler(request)
        except OperatorError as error:
            return _problem_of(error)
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, f"body is larger than the limit of {BODY_BYTES_MAX} bytes")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            response = _problem(405, f"{error.method} is not allowed here; allowed: {allowed}")
            response.headers["Allow"] = allowed
            return response
        except web.HTTPNotFound:
            return _problem(404, f"no such resource: {request.path[:200]}")
        except web.HTTPException as error:
            return _problem(error.status, error.reason)
        except TimeoutError:
            return _problem(504, f"no result within {ANSWER_SECONDS:.0f} s", ExitCode.TIMED_OUT)
        except Exception:
            log.exception("gateway request failed method=%s path=%s", request.method, request.path)
            return _problem(500, "internal error; the supervisor's log has the details")

    return guard


def _refusal(request: web.Request, hosts: frozenset[str]) -> str | None:
    """Why this client may not ask this, or None. The control socket may ask anything: its mode is
    0600.
    """
    transport = request.transport
    if transport is None:
        return "connection lost"
    if transport.get_extra_info("socket").family == socket.AF_UNIX:
        return None
    # A page of some site whose DNS name was rebound to our address still sends its own name as
    # Host.
    host = _host_of(f"//{request.host}")
    if not (host in hosts or host == "localhost" or _is_address(host)):
        return f"Host {request.host[:100]!r} is not a name of this gateway"
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    peer = str(transport.get_extra_info("peername")[0]).partition("%")[0]
    if not _is_loopback(peer):
        return "only this host may change anything; use the control socket or the loopback address"
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return "a page of another site may not change anything"
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return "a page of another site may not change anything"
    return None


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
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


def _routes(api: SupervisorApi) -> list[web.RouteDef]:
    """The table. A coroutine and a plain method of the API are called alike."""

    def answer(method: Callable[..., Any], *keys: str, status: int = 200) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            _query(request, ())
            result = method(*(request.match_info[key] for key in keys))
            return _json(await result if inspect.isawaitable(result) else result, status)

        return handler

    async def health(request: web.Request) -> web.StreamResponse:
        _query(request, ())
        result = api.health()
        return _json(result, 200 if result.get("health") in ("ok", "warning") else 503)

    async def config(request: web.Request) -> web.StreamResponse:
        _query(request, ())
        group = request.match_info["group"]
        result = api.group_config(group)
        if not result.get("version"):
            return _problem(404, f"no configuration has been applied to {group}", **result)
        return _json(result, headers={"ETag": f'"{result["version"]}"'})

    async def apply(request: web.Request) -> web.StreamResponse:
        query = _query(request, ("replace", "if_version"))
        group = request.match_info["group"]
        if_version = query.get("if_version")
        if if_version is None and "If-Match" in request.headers:
            if_version = request.headers["If-Match"].strip().strip('"')
        body = await _body(request)
        try:
            result = await api.apply_config(
                group, body, replace=_flag(query, "replace"), if_version=if_version
            )
        except ConflictError as error:
            return _problem_of(error, version=api.group_config(group).get("version", ""))
        return _json(result, headers={"ETag": f'"{result["version"]}"'})

    async def start(request: web.Request) -> web.StreamResponse:
        _query(request, ())
        try:
            asked = msgspec.json.decode(await _body(request))
        except msgspec.DecodeError as error:
            raise OperatorError(f"request is not JSON: {error}") from None
        if not isinstance(asked, dict):
            raise OperatorError("request is not a JSON object")
        return _json(await api.start_service(asked), 201)

    async def start_again(request: web.Request) -> web.StreamResponse:
        _query(request, ())
        return _json(await api.set_desired(request.match_info["name"], "up"))

    async def shutdown(request: web.Request) -> web.StreamResponse:
        _query(request, ())
        api.shutdown()
        return _json({"result": "stopping"}, 202)

    return [
        web.get("/v1/status", answer(api.status)),
        web.get("/v1/members", answer(api.members)),
        web.get("/v1/services", answer(api.services)),
        web.get("/v1/census", answer(api.census)),
        web.get("/v1/health", health),
        web.get("/v1/groups/{group}/config", config),
        web.put("/v1/groups/{group}/config", apply),
        web.post("/v1/services", start),
        web.post("/v1/services/{name}/start", start_again),
        web.post("/v1/services/{name}/stop", answer(api.stop_service, "name")),
        web.post("/v1/services/{name}/restart", answer(api.restart_service, "name")),
        web.delete("/v1/services/{name}", answer(api.unload_service, "name")),
        web.post("/v1/members/{member}/depart", answer(api.depart, "member")),
        web.post("/v1/shutdown", shutdown),
    ]


def _query(request: web.Request, known: tuple[str, ...]) -> dict[str, str]:
    """The query as a dict; an unknown or repeated key is an error, not silence."""
    found: dict[str, str] = {}
    for key, value in request.query.items():
        if key not in known:
            allowed = f"; known: {', '.join(known)}" if known else ""
            raise OperatorError(f"unknown query parameter {key[:50]!r}{allowed}")
        if key in found:
            raise OperatorError(f"query parameter {key!r} is given twice")
        found[key] = value
    return found


def _flag(query: dict[str, str], key: str) -> bool:
    word = query.get(key, "0")
    if word not in ("0", "1", "false", "true"):
        raise OperatorError(f"query parameter {key} is {word[:50]!r}; it is 1 or 0")
    return word in ("1", "true")


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"body not received in {BODY_SECONDS:.0f} s") from None


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _problem(
    status: int, detail: str, exit_code: ExitCode | None = None, **members: Any
) -> web.Response:
    """RFC 9457 problem details; ``exit_code`` is what the command line ends with."""
    if exit_code is None:
        exit_code = ExitCode.BAD_INPUT if status in (400, 413) else ExitCode.FAILED
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "exit_code": int(exit_code),
        **members,
    }
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store"},
    )


def _problem_of(error: OperatorError, **members: Any) -> web.Response:
    status = 404 if isinstance(error, NotFoundError) else STATUS_OF.get(error.exit_code, 500)
    return _problem(status, error.message, error.exit_code, **members)
