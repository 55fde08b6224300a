"""HTTP on TCP, with aiohttp: who may ask, and how much a client may cost.

It decides that only loopback peers may change anything, and only when no foreign web page steered
them; what is answered is decided by ``sup.gateway_table``. Bounds on connections, seconds and
bytes hold for every client.

Only ``sup.gateway`` imports this module, and late: see there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sup import gateway_table as table
from sup.gateway import SupervisorApi
from sup.gateway_table import Reply, Request, problem

log = logging.getLogger("sup.gateway")

HEADER_BYTES_MAX = 8190
"""One header line; the number of them is bounded by ``HEADERS_MAX``."""

HEADERS_MAX = 64


@dataclass(slots=True)
class Serving:
    """A gateway that answers: close it to stop."""

    manager: web.Server
    server: asyncio.Server

    async def close(self, timeout_s: float) -> None:
        """Refuse new connections, give requests in progress ``timeout_s``, close the rest."""
        self.server.close()
        self.manager.pre_shutdown()
        await self.manager.shutdown(timeout_s)


async def serve(api: SupervisorApi, sock: socket.socket, hosts: frozenset[str]) -> Serving:
    """Answer HTTP on a TCP socket that listens already.

    ``hosts`` are names allowed in ``Host`` besides localhost, in lower case.
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, _Connection):
            request.protocol.answering = True
        refusal = _refusal(request, hosts)
        if refusal is not None:
            return _response(problem(403, refusal))

        async def read() -> bytes:
            return await _read(request)

        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.raw_path, headers, read)
        return _response(await table.answer(api, asked))

    manager = web.Server(handle, access_log=None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(manager, loop), sock=sock)
    return Serving(manager, server)


class _Connection(RequestHandler):
    """aiohttp's connection with our bounds, and problem details for what the parser refuses."""

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=table.KEEPALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # what turns it off
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=2.0,
        )
        self._manager_of_all = manager
        self._first: asyncio.TimerHandle | None = None
        self.answering = False
        """Whether one request's headers have been read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        crowded = len(self._manager_of_all.connections) >= table.CONNECTIONS_MAX
        super().connection_made(transport)
        if crowded:
            self.force_close()
            return
        loop = asyncio.get_running_loop()
        self._first = loop.call_later(table.HEADER_SECONDS, self._headers_late)

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
        response = _response(problem(status, " ".join(text.split())[:200]))
        response.force_close()
        return response


def _response(reply: Reply) -> web.Response:
    return web.Response(body=reply.body, status=reply.status, headers=reply.all_headers())


async def _read(request: web.BaseRequest) -> bytes:
    """The body, bounded in bytes and in time, however it was sent."""
    if (request.content_length or 0) > table.BODY_BYTES_MAX:
        raise table.too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(table.BODY_SECONDS):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > table.BODY_BYTES_MAX:
                    raise table.too_large()
    except TimeoutError:
        raise table.too_slow() from None
    return bytes(body)


def _refusal(request: web.BaseRequest, hosts: frozenset[str]) -> str | None:
    """Why this client may not ask this, or None."""
    transport = request.transport
    if transport is None:
        return "connection lost"
    # A page whose site's DNS name was rebound to our address still sends its own name as Host.
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
