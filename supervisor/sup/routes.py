"""The routes of ``/v1``: one table from method and path to ``SupervisorApi``, free of any server.

It decides how a request becomes a call, how errors look (RFC 9457 problem details) and which HTTP
status says what. Two servers use it: ``sup.gateway_http`` (TCP, aiohttp) and ``sup.control`` (the
unix socket of the command line). It holds no state and knows no rule of the supervisor.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from sup.errors import ConflictError, ExitCode, NotFoundError, OperatorError
from sup.log_streams import own_line
from sup.model.log_lines import LINES_DEFAULT, LINES_MAX, LogQuery, parse_when
from sup.model.maintenance import ALL

log = logging.getLogger("sup.gateway")

BODY_BYTES_MAX = 64 * 1024
"""Largest request body; also the bound of one group configuration."""

PATH_BYTES_MAX = 4096

ANSWER_SECONDS = 300.0
"""For one operation of the supervisor. Stopping a service takes its ``stop_timeout`` and its hooks.
"""

FOLLOW_SECONDS_MAX = 60
"""A question for events that have not happened yet is held this long at most, then asked again."""
STREAM_SECONDS = 30.0
"""A reader that takes nothing of a stream for so long is left."""

STATUS_OF = {
    ExitCode.BAD_INPUT: 400,
    ExitCode.CONFLICT: 409,
    ExitCode.FAILED: 500,
    ExitCode.UNREACHABLE: 503,
    ExitCode.TIMED_OUT: 504,
}


class SupervisorApi(Protocol):
    """What the routes ask of the supervisor. All results can be written as JSON.

    Any method may raise ``OperatorError``; its exit code chooses the HTTP status.
    """

    async def fresh(self) -> None:
        """Come before ``status`` and ``services``: fetch what they show of others. Bounded."""
        ...

    def status(self) -> dict[str, Any]:
        """This supervisor: version, ring, address, counts of members, services, warnings."""
        ...

    def members(self) -> dict[str, Any]:
        """``{"members": [...]}``: everybody this supervisor has heard of."""
        ...

    def why(self, member: str) -> dict[str, Any]:
        """``{"name", "id", "state", "why": [...]}``: what was said against it."""
        ...

    def services(self) -> dict[str, Any]:
        """``{"services": [...]}``: the services loaded on this host."""
        ...

    def service(self, name: str) -> dict[str, Any]:
        """One service loaded on this host, with its deaths."""
        ...

    def census(self) -> dict[str, Any]:
        """``{"groups": {...}}``: every service group with its members."""
        ...

    def health(self) -> dict[str, Any]:
        """``{"health": word, "services": {...}}``: the worst health of the local services."""
        ...

    def service_health(self, name: str) -> dict[str, Any]:
        """The verdicts on one service here and the last results of each of its checks."""
        ...

    def report_health(self, name: str, report: Mapping[str, Any]) -> dict[str, Any]:
        """Take the state that a service reports of itself: ``{"status", "output", "check"}``."""
        ...

    def maintenances(self) -> dict[str, Any]:
        """``{"maintenance": [...]}``: what is out of use here, why, and for how long."""
        ...

    async def begin_maintenance(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take a service (``*``: all) out of use: ``{"reason", "for_s"}``."""
        ...

    async def end_maintenance(self, name: str) -> dict[str, Any]:
        """Take it back into use."""
        ...

    async def events(
        self, since: int, follow_s: float, kinds: Sequence[str], service: str
    ) -> dict[str, Any]:
        """``{"run", "events": [...], "next", "lost"}``: what happened after number ``since``."""
        ...

    def group_config(self, group: str) -> dict[str, Any]:
        """The gossiped configuration of a group; ``version`` is empty when there is none."""
        ...

    async def apply_config(
        self, group: str, toml: bytes, *, replace: bool, if_version: str | None
    ) -> dict[str, Any]:
        """Merge (or replace by) a TOML document; ``ConflictError`` when ``if_version`` is old."""
        ...

    def group_files(self, group: str) -> dict[str, Any]:
        """``{"group", "files": [...]}``: the gossiped files of a group, without their bytes."""
        ...

    async def put_file(self, group: str, name: str, data: bytes) -> dict[str, Any]:
        """Gossip a file to every member of a group."""
        ...

    async def remove_file(self, group: str, name: str) -> dict[str, Any]:
        """Take a gossiped file back; ``NotFoundError`` when there is none."""
        ...

    async def start_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Load and start a service."""
        ...

    async def set_desired(self, name: str, desired: str) -> dict[str, Any]:
        """Want a loaded service ``up`` or ``down``."""
        ...

    async def stop_service(self, name: str) -> dict[str, Any]:
        """Stop the process and keep the service loaded."""
        ...

    async def restart_service(self, name: str) -> dict[str, Any]:
        """Stop the process and start it again."""
        ...

    def reset_failed(self, name: str) -> dict[str, Any]:
        """Forget the deaths of a service, and try again if it had failed."""
        ...

    async def suitability(self, name: str) -> dict[str, Any]:
        """``{"service", "suitability"}``: how fit this member is to lead, or null."""
        ...

    async def unload_service(self, name: str) -> dict[str, Any]:
        """Stop the process and forget the service."""
        ...

    async def upgrade(self) -> dict[str, Any]:
        """Have the code on disk take over: new supervisor and launcher, same services."""
        ...

    async def depart(self, member: str) -> dict[str, Any]:
        """Declare a dead member (id or name) to have left for good."""
        ...

    def logs(self, name: str, query: LogQuery) -> AsyncGenerator[bytes]:
        """Lines of a service's log as they are; ``b""`` when it is time to see who listens."""
        ...

    def shutdown(self) -> None:
        """Begin a clean end of this supervisor."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body read. ``headers`` has lower-case names."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    captured: Mapping[str, str] = field(default_factory=dict)
    """What the braces of the route stand for, unquoted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a status, JSON bytes, and headers beside the usual ones.

    With a ``stream`` the body is what that gives, until it ends. Who takes nothing of it for
    ``STREAM_SECONDS`` is left, with ``too_slow`` as the last words.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes] | None = None
    too_slow: bytes = b""


Handler = Callable[[SupervisorApi, Request], Awaitable[Answer]]


async def answer(api: SupervisorApi, request: Request) -> Answer:
    """Answer one request; never raises but for cancellation, never waits beyond its bound."""
    try:
        handler, request = _find(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await handler(api, request)
    except _NoRoute as error:
        return error.answer
    except OperatorError as error:
        return problem_of(error)
    except TimeoutError:
        return problem(504, f"no result within {ANSWER_SECONDS:.0f} s", ExitCode.TIMED_OUT)
    except Exception:
        log.exception("gateway request failed method=%s path=%s", request.method, request.path)
        return problem(500, "internal error; the supervisor's log has the details")


def problem(
    status: int,
    detail: str,
    exit_code: ExitCode | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Answer:
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
    return Answer(status, msgspec.json.encode(body), "application/problem+json", headers or {})


def problem_of(error: OperatorError, **members: Any) -> Answer:
    """The problem that an operator's error is."""
    status = 404 if isinstance(error, NotFoundError) else STATUS_OF.get(error.exit_code, 500)
    return problem(status, error.message, error.exit_code, **members)


def too_large() -> Answer:
    """The refusal of a body over the bound."""
    return problem(413, f"body is larger than the limit of {BODY_BYTES_MAX} bytes")


class _NoRoute(Exception):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def _find(request: Request) -> tuple[Handler, Request]:
    """The handler and the request with what its path captured. Raises ``_NoRoute``."""
    if len(request.path) > PATH_BYTES_MAX:
        raise _NoRoute(problem(414, f"path is longer than {PATH_BYTES_MAX} bytes"))
    allowed: set[str] = set()
    for method, pattern, handler in _ROUTES:
        match = pattern.fullmatch(request.path)
        if match is None:
            continue
        allowed.add(method)
        if request.method == method or (request.method == "HEAD" and method == "GET"):
            captured = {key: unquote(value) for key, value in match.groupdict().items()}
            return handler, Request(
                method, request.path, request.query, request.headers, request.body, captured
            )
    if allowed:
        if "GET" in allowed:
            allowed.add("HEAD")
        text = ", ".join(sorted(allowed))
        detail = f"{request.method[:20]} is not allowed here; allowed: {text}"
        raise _NoRoute(problem(405, detail, headers={"Allow": text}))
    raise _NoRoute(problem(404, f"no such resource: {request.path[:200]}"))


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, msgspec.json.encode(value), headers=headers or {})


def _query(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """The query as a dict; an unknown or repeated key is an error, not silence."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise OperatorError("more than 16 query parameters") from None
    for key, value in pairs:
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


def _number(query: dict[str, str], key: str, most: int) -> int:
    text = query.get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= most):
        raise OperatorError(f"query parameter {key} is {text[:50]!r}; it is 0 to {most}")
    return int(text)


def _call(name: str, *keys: str) -> Handler:
    """Call the API's method ``name`` with what the path captured; plain or coroutine alike."""

    async def handler(api: SupervisorApi, request: Request) -> Answer:
        _query(request, ())
        result = getattr(api, name)(*(request.captured[key] for key in keys))
        return _json(await result if inspect.isawaitable(result) else result)

    return handler


def _call_fresh(name: str) -> Handler:
    """The same for what also shows what the launcher knows."""
    call = _call(name)

    async def handler(api: SupervisorApi, request: Request) -> Answer:
        await api.fresh()
        return await call(api, request)

    return handler


async def _health(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    result = api.health()
    return _json(result, 200 if result.get("health") in ("ok", "warning") else 503)


async def _events(api: SupervisorApi, request: Request) -> Answer:
    query = _query(request, ("since", "follow", "kind", "service"))
    since = _number(query, "since", 1 << 62)
    follow_s = _number(query, "follow", FOLLOW_SECONDS_MAX)
    kinds = [word for word in query.get("kind", "").split(",") if word]
    return _json(await api.events(since, follow_s, kinds, query.get("service", "")))


async def _config(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    group = request.captured["group"]
    result = api.group_config(group)
    if not result.get("version"):
        return problem(404, f"no configuration has been applied to {group}", **result)
    return _json(result, headers={"ETag": f'"{result["version"]}"'})


async def _apply(api: SupervisorApi, request: Request) -> Answer:
    query = _query(request, ("replace", "if_version"))
    group = request.captured["group"]
    if_version = query.get("if_version")
    if if_version is None and "if-match" in request.headers:
        if_version = request.headers["if-match"].strip().strip('"')
    try:
        result = await api.apply_config(
            group, request.body, replace=_flag(query, "replace"), if_version=if_version
        )
    except ConflictError as error:
        return problem_of(error, version=api.group_config(group).get("version", ""))
    return _json(result, headers={"ETag": f'"{result["version"]}"'})


async def _service_health(api: SupervisorApi, request: Request) -> Answer:
    """503 for a service that others should not use, as load balancers ask it."""
    _query(request, ())
    result = api.service_health(request.captured["name"])
    return _json(result, 200 if result.get("ready") else 503)


async def _put_file(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    group, name = request.captured["group"], request.captured["name"]
    return _json(await api.put_file(group, name, request.body))


def _object(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    try:
        asked = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OperatorError(f"request is not JSON: {error}") from None
    except RecursionError:
        raise OperatorError("request is nested too deeply") from None
    if not isinstance(asked, dict):
        raise OperatorError("request is not a JSON object")
    return asked


async def _start(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    return _json(await api.start_service(_object(request)), 201)


async def _report(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    return _json(api.report_health(request.captured["name"], _object(request)))


async def _begin_maintenance(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    name = request.captured.get("name", ALL)
    return _json(await api.begin_maintenance(name, _object(request)))


async def _end_maintenance(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    return _json(await api.end_maintenance(request.captured.get("name", ALL)))


async def _start_again(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    return _json(await api.set_desired(request.captured["name"], "up"))


async def _logs(api: SupervisorApi, request: Request) -> Answer:
    query = _query(request, ("lines", "since", "until", "follow", "format"))
    form = query.get("format", "json" if _prefers_json(request.headers) else "text")
    if form not in ("text", "json"):
        raise OperatorError(f"query parameter format is {form[:50]!r}; it is text or json")
    now_us = time.time_ns() // 1000
    since, until = (
        parse_when(query[key], f"query parameter {key}", now_us) if key in query else b""
        for key in ("since", "until")
    )
    lines = _lines(query["lines"]) if "lines" in query else None if since else LINES_DEFAULT
    asked = LogQuery(lines, since, until, _flag(query, "follow"), form == "json")
    name = request.captured["name"]
    return Answer(
        200,
        b"",
        "application/x-ndjson" if asked.as_json else "text/plain",
        {"X-Content-Type-Options": "nosniff"},
        api.logs(name, asked),
        own_line(f"nothing was read for {STREAM_SECONDS:.0f} s; ended", name, asked),
    )


def _lines(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= LINES_MAX):
        raise OperatorError(
            f"query parameter lines is {text[:50]!r}; it is 0 to {LINES_MAX}, or all"
        )
    return int(text)


def _prefers_json(headers: Mapping[str, str]) -> bool:
    """Whether Accept names JSON before plain text or anything."""
    kinds = [part.split(";")[0].strip() for part in headers.get("accept", "").split(",")]
    first = next((kind for kind in kinds if kind in _JSON_KINDS or kind in _TEXT_KINDS), "")
    return first in _JSON_KINDS


async def _shutdown(api: SupervisorApi, request: Request) -> Answer:
    _query(request, ())
    api.shutdown()
    return _json({"result": "stopping"}, 202)


_JSON_KINDS = ("application/json", "application/x-ndjson")
_TEXT_KINDS = ("text/plain", "text/*", "*/*")


def _route(method: str, path: str, handler: Handler) -> tuple[str, re.Pattern[str], Handler]:
    return method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), handler


_ROUTES = (
    _route("GET", "/v1/status", _call_fresh("status")),
    _route("GET", "/v1/members", _call("members")),
    _route("GET", "/v1/members/{member}/why", _call("why", "member")),
    _route("GET", "/v1/services", _call_fresh("services")),
    _route("GET", "/v1/services/{name}", _call("service", "name")),
    _route("GET", "/v1/census", _call("census")),
    _route("GET", "/v1/health", _health),
    _route("GET", "/v1/services/{name}/health", _service_health),
    _route("PUT", "/v1/services/{name}/health/ttl", _report),
    _route("GET", "/v1/maintenance", _call("maintenances")),
    _route("PUT", "/v1/maintenance", _begin_maintenance),
    _route("DELETE", "/v1/maintenance", _end_maintenance),
    _route("PUT", "/v1/services/{name}/maintenance", _begin_maintenance),
    _route("DELETE", "/v1/services/{name}/maintenance", _end_maintenance),
    _route("GET", "/v1/events", _events),
    _route("GET", "/v1/groups/{group}/config", _config),
    _route("PUT", "/v1/groups/{group}/config", _apply),
    _route("GET", "/v1/groups/{group}/files", _call("group_files", "group")),
    _route("PUT", "/v1/groups/{group}/files/{name}", _put_file),
    _route("DELETE", "/v1/groups/{group}/files/{name}", _call("remove_file", "group", "name")),
    _route("POST", "/v1/services", _start),
    _route("GET", "/v1/services/{name}/logs", _logs),
    _route("POST", "/v1/services/{name}/start", _start_again),
    _route("POST", "/v1/services/{name}/stop", _call("stop_service", "name")),
    _route("POST", "/v1/services/{name}/restart", _call("restart_service", "name")),
    _route("POST", "/v1/services/{name}/reset-failed", _call("reset_failed", "name")),
    _route("GET", "/v1/services/{name}/suitability", _call("suitability", "name")),
    _route("DELETE", "/v1/services/{name}", _call("unload_service", "name")),
    _route("POST", "/v1/members/{member}/depart", _call("depart", "member")),
    _route("POST", "/v1/upgrade", _call("upgrade")),
    _route("POST", "/v1/shutdown", _shutdown),
)
