"""``sup-health-http``: the contract of a health check, then what it promises itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

import sup_health_http.plugin
from sup.plugin_api import CheckContext, CheckResult, Health
from sup.testing import HealthCheckContract, check_plugin
from sup_health_http.check import BODY_BYTES_MAX, HttpCheck

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK, WARNING, CRITICAL, UNKNOWN = Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN


def context(timeout_s: float = 5.0, **settings: Any) -> CheckContext:
    return CheckContext("app", "/", None, True, timeout_s, settings=settings)


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class TestHttpContract(HealthCheckContract):
    """Answers in time, can be cancelled, may overlap."""

    def make(self) -> HttpCheck:
        return HttpCheck()

    def contexts(self) -> Sequence[CheckContext]:
        return [context(1.0, port=closed_port()), context(1.0, url="no url")]


def test_plugin_loads_and_provides_the_kind() -> None:
    """One check, and only the public API imported."""
    assert check_plugin(sup_health_http.plugin).provides() == ("health check http",)


def answers(text: bytes, heard: list[bytes] | None = None, *, close: bool = True) -> Serve:
    """A server that reads a request's head, says ``text``, and ends the connection or not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if heard is not None:
                heard.append(head)
            writer.write(text)
            await writer.drain()
            if not close:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return serve


def check_against(serve: Serve, timeout_s: float = 5.0, **settings: Any) -> CheckResult:
    """The result of one check of a server that does ``serve`` with each connection."""

    async def run() -> CheckResult:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await HttpCheck().check(context(timeout_s, port=port, **settings))

    return asyncio.run(run())


def status(code: int, body: bytes = b"", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (code, more, len(body), body)


@pytest.mark.parametrize(
    ("code", "health"),
    [
        *((200, OK), (204, OK), (299, OK)),
        (429, WARNING),
        *((302, CRITICAL), (401, CRITICAL), (404, CRITICAL), (500, CRITICAL), (503, CRITICAL)),
    ],
)
def test_check_status_is_the_health(code: int, health: Health) -> None:
    """As Consul has it; the status and the first line of the body are shown."""
    result = check_against(answers(status(code, b"" if code == 204 else b"well\nmore")))
    assert result.health is health
    assert result.output.startswith(f"HTTP {code}")
    assert code == 204 or result.output.endswith(": well")


def test_check_status_set_replaces_the_rule() -> None:
    """What is in it is ok, the rest critical, 429 too."""
    wanted = ["300-399", 401]
    assert check_against(answers(status(401)), status=wanted).health is OK
    assert check_against(answers(status(302)), status=wanted).health is OK
    assert check_against(answers(status(200)), status=wanted).health is CRITICAL
    assert check_against(answers(status(429)), status=wanted).health is CRITICAL


def test_check_redirect_is_not_followed() -> None:
    """The place that it leads to is not asked."""
    heard: list[bytes] = []
    server = answers(status(301, b"", b"Location: /other\r\n"), heard)
    assert check_against(server).health is CRITICAL
    assert len(heard) == 1


def test_check_request_is_what_was_asked_for() -> None:
    """Method, path with query, headers of the plan before ours, and the end of the connection."""
    heard: list[bytes] = []
    check_against(
        answers(status(200), heard),
        path="/health?deep=1",
        method="POST",
        headers={"Host": "app.test", "X-Probe": "yes"},
    )
    head = heard[0].decode()
    assert head.startswith("POST /health?deep=1 HTTP/1.1\r\nHost: app.test\r\nX-Probe: yes\r\n")
    assert "Connection: close" in head
    assert head.lower().count("host:") == 1


def test_check_body_contains_and_matches() -> None:
    """Both must hold; a chunked body is one body."""
    body = b'4\r\n{"st\r\n12\r\nate": "streaming"}\r\n0\r\n\r\n'
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    for settings, health in (
        ({"body_contains": '"state": "streaming"'}, OK),
        ({"body_contains": "stopped"}, CRITICAL),
        ({"body_matches": r'"state":\s*"(streaming|running)"'}, OK),
        ({"body_matches": r"^streaming"}, CRITICAL),
        ({"body_contains": "streaming", "body_matches": "stopped"}, CRITICAL),
    ):
        assert check_against(answers(chunked), **settings).health is health, settings


def test_check_body_is_read_up_to_its_bound() -> None:
    """What comes later is neither read nor waited for."""
    late = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (BODY_BYTES_MAX + 100_000) + b"needle"
    result = check_against(answers(late, close=False), body_contains="needle")
    assert (result.health, f"first {BODY_BYTES_MAX} bytes" in result.output) == (CRITICAL, True)


def test_check_body_that_never_ends_is_not_waited_for_unless_wanted() -> None:
    """The head decides where the body is only shown."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart"
    assert check_against(answers(endless, close=False)).health is OK
    result = check_against(answers(endless, close=False), timeout_s=0.3, body_contains="rest")
    assert (result.health, "no answer in 0.3 s" in result.output) == (CRITICAL, True)


@pytest.mark.parametrize(
    "text", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000]
)
def test_check_what_is_no_http_is_critical(text: bytes) -> None:
    """Nothing at all, another protocol, and a head without end."""
    result = check_against(answers(text))
    assert (result.health, "no HTTP" in result.output) == (CRITICAL, True), result


def test_check_silence_is_critical_in_time() -> None:
    """A server that accepts and says nothing."""
    result = check_against(answers(b"", close=False), timeout_s=0.2)
    assert (result.health, result.output) == (CRITICAL, "no answer in 0.2 s")


def test_check_refused_is_critical() -> None:
    """Nobody listens; the place is named."""
    port = closed_port()
    result = asyncio.run(HttpCheck().check(context(port=port)))
    assert result.health is CRITICAL
    assert result.output.startswith(f"127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "neither url nor port"),
        ({"url": "ftp://a/"}, "url is"),
        ({"url": "http://a:99999/"}, "url is"),
        ({"url": "http://a/", "port": 1}, "there are url and port"),
        ({"url": "http://u:p@a/"}, "user name"),
        ({"port": 0}, "port is 0"),
        ({"port": 1, "pth": "/"}, "unknown key 'pth'"),
        ({"port": 1, "path": "a b"}, "path is 'a b'"),
        ({"port": 1, "method": "DELETE"}, "method is 'DELETE'"),
        ({"port": 1, "method": "HEAD", "body_contains": "x"}, "HEAD"),
        ({"port": 1, "headers": {"a b": "c"}}, "headers.a b"),
        ({"port": 1, "headers": {"A": "b\r\nC: d"}}, "headers.A"),
        ({"port": 1, "headers": {"Connection": "x"}}, "belongs to the connection"),
        ({"port": 1, "status": "2xx"}, "status has '2xx'"),
        ({"port": 1, "status": [99]}, "status has 99"),
        ({"port": 1, "status": [100]}, "from 200 to 599"),
        ({"port": 1, "body_matches": "(a"}, "unmatched ("),
        ({"port": 1, "connect_timeout": -1}, "connect_timeout is -1"),
        ({"port": 1, "tls_verify": False}, "use https"),
        ({"port": 1, "scheme": "https", "tls_key": "k"}, "set both"),
    ],
)
def test_settings_out_of_bounds_are_one_line(settings: dict[str, Any], words: str) -> None:
    """At the load of the package; of a running service the health is unknown."""
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        HttpCheck().check_settings(settings)
    assert words in str(caught.value)
    assert asyncio.run(HttpCheck().check(context(**settings))).health is UNKNOWN
