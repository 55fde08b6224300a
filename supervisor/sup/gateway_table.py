"""The resources of ``/v1``: one table from HTTP requests to ``SupervisorApi``, without any HTTP
server.

``answer`` turns a request into a reply and never fails: every error, also of a request that fits
no row, is a problem document (RFC 9457). It holds no state and knows no rule of the supervisor.
Both servers use it: ``sup.gateway_control`` on the control socket and ``sup.gateway_http`` on TCP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import msgspec

from sup.errors import ConflictError, ExitCode, NotFoundError, OperatorError

if TYPE_CHECKING:
    from sup.gateway import SupervisorApi

log = logging.getLogger("sup.gateway")

BODY_BYTES_MAX = 64 * 1024
"""Largest request body; also the bound of one group configuration."""

CONNECTIONS_MAX = 128
"""Open connections of one server; one more is closed at once. Each costs some 20 KB."""

HEADER_SECONDS = 10.0
"""From accept to the end of the first request's headers."""

BODY_SECONDS = 10.0
"""For the whole body of one request, once its headers are read."""

KEEPALIVE_SECONDS = 30.0
"""An idle connection is kept this long for the next request."""

ANSWER_SECONDS = 300.0
"""For one operation of the supervisor. Stopping a service takes its time-out and its hooks."""

QUERY_FIELDS_MAX = 16

STATUS_OF = {
    ExitCode.BAD_INPUT: 400,
    ExitCode.CONFLICT: 409,
    ExitCode.FAILED: 500,
    ExitCode.UNREACHABLE: 503,
    ExitCode.TIMED_OUT: 504,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whichever server read it."""

    method: str
    target: str
    """Path and query as they were sent, quoted."""
    headers: Mapping[str, str]
    """By lower-case name."""
    read: Callable[[], Awaitable[bytes]]
    """Reads the body, at most ``BODY_BYTES_MAX``; raises ``Refused`` for more, or for less."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back. For ``HEAD`` the server leaves the body out."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """Everything but the length."""
        return {
            "Content-Type": self.content_type,
            "Cache-Control": "no-store",
            **self.headers,
        }


class Refused(Exception):
    """The request can't be answered, for a reason of HTTP: the reply says which."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that fits a row of the table."""

    api: SupervisorApi
    name: str
    """What stands for ``*`` in the row's path, unquoted."""
    query: Mapping[str, str]
    request: Request


async def answer(api: SupervisorApi, request: Request) -> Reply:
    """Carry out one request. Raises nothing but ``CancelledError``."""
    try:
        handler, name, keys, query = _match(request.method, request.target)
        call = _Call(api, name, _checked(query, keys), request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await handler(call)
    except Refused as refused:
        return refused.reply
    except OperatorError as error:
        return problem_of(error)
    except TimeoutError:
        return problem(504, f"no result within {ANSWER_SECONDS:.0f} s", ExitCode.TIMED_OUT)
    except Exception:
        log.exception("gateway request failed %s %.200s", request.method, request.target)
        return problem(500, "internal error; the supervisor's log has the details")


def problem(status: int, detail: str, exit_code: ExitCode | None = None, **members: Any) -> Reply:
    """A problem document; ``exit_code`` is what the command line ends with."""
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
    return Reply(status, msgspec.json.encode(body), "application/problem+json")


def problem_of(error: OperatorError, **members: Any) -> Reply:
    """The problem document of an operator's error."""
    status = 404 if isinstance(error, NotFoundError) else STATUS_OF.get(error.exit_code, 500)
    return problem(status, error.message, error.exit_code, **members)


def too_large() -> Refused:
    """The body is over the bound."""
    return Refused(problem(413, f"body is larger than the limit of {BODY_BYTES_MAX} bytes"))


def too_slow() -> Refused:
    """The body did not come in time."""
    return Refused(problem(408, f"body not received in {BODY_SECONDS:.0f} s"))


# The handlers


async def _status(call: _Call) -> Reply:
    return _json(call.api.status())


async def _members(call: _Call) -> Reply:
    return _json(call.api.members())


async def _services(call: _Call) -> Reply:
    return _json(call.api.services())


async def _census(call: _Call) -> Reply:
    return _json(call.api.census())


async def _health(call: _Call) -> Reply:
    result = call.api.health()
    return _json(result, 200 if result.get("health") in ("ok", "warning") else 503)


async def _config(call: _Call) -> Reply:
    result = call.api.group_config(call.name)
    if not result.get("version"):
        return problem(404, f"no configuration has been applied to {call.name}", **result)
    return _json(result, headers={"ETag": f'"{result["version"]}"'})


async def _apply(call: _Call) -> Reply:
    word = call.query.get("replace", "0")
    if word not in ("0", "1", "false", "true"):
        raise OperatorError(f"query parameter replace is {word[:50]!r}; it is 1 or 0")
    if_version = call.query.get("if_version")
    if if_version is None and "if-match" in call.request.headers:
        if_version = call.request.headers["if-match"].strip().strip('"')
    body = await call.request.read()
    try:
        result = await call.api.apply_config(
            call.name, body, replace=word in ("1", "true"), if_version=if_version
        )
    except ConflictError as error:
        return problem_of(error, version=call.api.group_config(call.name).get("version", ""))
    return _json(result, headers={"ETag": f'"{result["version"]}"'})


async def _load(call: _Call) -> Reply:
    try:
        asked = msgspec.json.decode(await call.request.read())
    except msgspec.DecodeError as error:
        raise OperatorError(f"request is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise OperatorError("request is not a JSON object")
    return _json(await call.api.start_service(asked), 201)


async def _start(call: _Call) -> Reply:
    return _json(await call.api.set_desired(call.name, "up"))


async def _stop(call: _Call) -> Reply:
    return _json(await call.api.stop_service(call.name))


async def _restart(call: _Call) -> Reply:
    return _json(await call.api.restart_service(call.name))


async def _unload(call: _Call) -> Reply:
    return _json(await call.api.unload_service(call.name))


async def _depart(call: _Call) -> Reply:
    return _json(await call.api.depart(call.name))


async def _shutdown(call: _Call) -> Reply:
    call.api.shutdown()
    return _json({"result": "stopping"}, 202)


_Handler = Callable[[_Call], Awaitable[Reply]]

TABLE: dict[str, dict[str, tuple[_Handler, tuple[str, ...]]]] = {
    "/v1/status": {"GET": (_status, ())},
    "/v1/members": {"GET": (_members, ())},
    "/v1/members/*/depart": {"POST": (_depart, ())},
    "/v1/services": {"GET": (_services, ()), "POST": (_load, ())},
    "/v1/services/*": {"DELETE": (_unload, ())},
    "/v1/services/*/start": {"POST": (_start, ())},
    "/v1/services/*/stop": {"POST": (_stop, ())},
    "/v1/services/*/restart": {"POST": (_restart, ())},
    "/v1/census": {"GET": (_census, ())},
    "/v1/health": {"GET": (_health, ())},
    "/v1/groups/*/config": {"GET": (_config, ()), "PUT": (_apply, ("replace", "if_version"))},
    "/v1/shutdown": {"POST": (_shutdown, ())},
}
"""Path (``*`` is one segment) -> method -> handler and the query parameters that it knows."""


_ROWS = {tuple(path.split("/")): methods for path, methods in TABLE.items()}


def _fits(wanted: tuple[str, ...], segments: list[str]) -> bool:
    """Whether a path is of this row. ``*`` stands for one segment that is not empty."""
    return len(wanted) == len(segments) and all(
        w == s or (w == "*" and s) for w, s in zip(wanted, segments, strict=True)
    )


def _match(method: str, target: str) -> tuple[_Handler, str, tuple[str, ...], str]:
    """The row for a request: handler, the segment at ``*``, known parameters, raw query."""
    path, _, query = target.partition("?")
    segments = path.split("/")
    row = next((wanted for wanted in _ROWS if _fits(wanted, segments)), None)
    if row is None:
        raise Refused(problem(404, f"no such resource: {path[:200]}"))
    methods = _ROWS[row]
    found = methods.get("GET" if method == "HEAD" else method)
    if found is None:
        allowed = ", ".join(sorted({*methods, *(("HEAD",) if "GET" in methods else ())}))
        refused = problem(405, f"{method[:20]} is not allowed here; allowed: {allowed}")
        raise Refused(Reply(refused.status, refused.body, refused.content_type, {"Allow": allowed}))
    handler, keys = found
    name = unquote(segments[row.index("*")]) if "*" in row else ""
    return handler, name, keys, query


def _checked(query: str, keys: tuple[str, ...]) -> dict[str, str]:
    """The query as a dict; an unknown or repeated parameter is an error, not silence."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise OperatorError(f"more than {QUERY_FIELDS_MAX} query parameters") from None
    found: dict[str, str] = {}
    for key, value in fields:
        if key not in keys:
            known = f"; known: {', '.join(keys)}" if keys else ""
            raise OperatorError(f"unknown query parameter {key[:50]!r}{known}")
        if key in found:
            raise OperatorError(f"query parameter {key!r} is given twice")
        found[key] = value
    return found


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, msgspec.json.encode(value), headers=headers or {})
