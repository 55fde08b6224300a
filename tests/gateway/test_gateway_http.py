"""The routes: every error is a problem document, every bound holds, strangers can't write."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.gateway.fake_supervisor import FakeApi
from tests.gateway.harness import Answer, Harness

from sup import gateway_http, routes
from sup.errors import ExitCode


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem document, after checking that it is one."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json["status"] == status
    assert answer.json["title"]
    assert "\n" not in answer.json["detail"]
    return answer.json


@pytest.mark.parametrize("unix", [False, True])
async def test_get_status_both_sockets_same_answer(harness: Harness, unix: bool) -> None:
    """TCP and the control socket are the same interface."""
    answer = await harness.ask("GET", "/v1/status", unix=unix)
    assert answer.status == 200
    assert answer.json == harness.api.status()


async def test_head_status_no_body(harness: Harness) -> None:
    """HEAD answers like GET, without a body."""
    answer = await harness.ask("HEAD", "/v1/status")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 2


@pytest.mark.parametrize(
    ("word", "status"), [("ok", 200), ("warning", 200), ("critical", 503), ("unknown", 503)]
)
async def test_get_health_status_follows_the_word(harness: Harness, word: str, status: int) -> None:
    """A load balancer can use the status code alone."""
    harness.api.health_word = word
    answer = await harness.ask("GET", "/v1/health")
    assert answer.status == status
    assert answer.json["health"] == word


async def test_put_config_passes_everything_on(harness: Harness) -> None:
    """Body, group, replace and version reach the supervisor; the new version is the ETag."""
    answer = await harness.ask("PUT", "/v1/groups/web.default/config?replace=1", b"a = 1")
    assert answer.status == 200
    assert answer.headers["etag"] == '"v"'
    assert harness.api.calls == [("apply", "web.default", b"a = 1", True, None)]
    shown = await harness.ask("GET", "/v1/groups/web.default/config")
    assert (shown.status, shown.headers["etag"]) == (200, '"v"')


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/v1/groups/web.default/config?if_version=w", {}),
        ("/v1/groups/web.default/config", {"If-Match": '"w"'}),
    ],
)
async def test_put_config_stale_version_conflict_carries_current(
    harness: Harness, target: str, headers: dict[str, str]
) -> None:
    """Compare-and-set by query or by If-Match: 409 names the version that is current."""
    harness.api.versions["web.default"] = "v"
    found = problem(await harness.ask("PUT", target, b"a = 1", headers=headers), 409)
    assert found["version"] == "v"
    assert found["exit_code"] == ExitCode.CONFLICT


async def test_put_config_bad_toml_bad_request(harness: Harness) -> None:
    """The supervisor's one line reaches the client with its exit code."""
    answer = await harness.ask("PUT", "/v1/groups/web.default/config", b"bad")
    found = problem(answer, 400)
    assert found["detail"] == "<config>:1:4: expected '='"
    assert found["exit_code"] == ExitCode.BAD_INPUT


@pytest.mark.parametrize("chunked", [False, True])
async def test_put_config_too_large_refused(harness: Harness, chunked: bool) -> None:
    """The bound holds with and without a declared length, and nothing is applied."""
    body = b"#" * (routes.BODY_BYTES_MAX + 1)
    if chunked:
        size = f"{len(body):x}".encode()
        data = (
            (
                b"PUT /v1/groups/web.default/config HTTP/1.1\r\nHost: localhost\r\n"
                b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            + size
            + b"\r\n"
            + body
            + b"\r\n0\r\n\r\n"
        )
        assert b" 413 " in (await harness.raw(data)).split(b"\r\n")[0]
    else:
        found = problem(await harness.ask("PUT", "/v1/groups/web.default/config", body), 413)
        assert "65536" in found["detail"]
    assert harness.api.calls == []


async def test_put_config_largest_body_accepted(harness: Harness) -> None:
    """Exactly the limit is allowed."""
    body = b"#" * routes.BODY_BYTES_MAX
    assert (await harness.ask("PUT", "/v1/groups/web.default/config", body)).status == 200


async def test_get_config_never_applied_not_found(harness: Harness) -> None:
    """A group without configuration is 404, with the empty version for tools."""
    found = problem(await harness.ask("GET", "/v1/groups/web.default/config"), 404)
    assert (found["version"], found["config"]) == ("", {})


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/status", 405),
        ("PATCH", "/v1/status", 405),
        ("BREW", "/v1/status", 400),
        ("GET", "/v1/status?x=1", 400),
        ("PUT", "/v1/groups/a.b/config?replace=maybe", 400),
        ("PUT", "/v1/groups/a.b/config?replace=1&replace=0", 400),
        ("POST", "/v1/services/web/restart", 404),
        ("DELETE", "/v1/services/web", 504),
    ],
)
async def test_error_any_kind_problem_document(
    harness: Harness, method: str, target: str, status: int
) -> None:
    """Unknown resources, methods and parameters all answer in the one error format."""
    problem(await harness.ask(method, target), status)


async def test_method_not_allowed_lists_allowed(harness: Harness) -> None:
    """405 says what would be allowed."""
    answer = await harness.ask("POST", "/v1/status")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_unexpected_exception_hides_details(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is a 500 that says nothing of the inside; the log says it."""
    found = problem(await harness.ask("GET", "/v1/census"), 500)
    assert "secret" not in json.dumps(found)
    assert "a secret detail" in caplog.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"a":' * 5000])
async def test_post_services_bad_json_bad_request(harness: Harness, body: bytes) -> None:
    """What is not a JSON object never reaches the supervisor."""
    problem(await harness.ask("POST", "/v1/services", body), 400)
    assert harness.api.calls == []


async def test_post_services_object_starts(harness: Harness) -> None:
    """The request object is passed as it is; a bare start names a loaded service."""
    body = json.dumps({"name": "web", "command": ["true"]}).encode()
    assert (await harness.ask("POST", "/v1/services", body)).status == 201
    assert (await harness.ask("POST", "/v1/services/web/start")).status == 200
    assert harness.api.calls == [
        ("start", {"name": "web", "command": ["true"]}),
        ("desired", "web", "up"),
    ]


async def test_post_depart_and_shutdown_reach_the_supervisor(harness: Harness) -> None:
    """Names are decoded from the path; shutdown is accepted, not waited for."""
    assert (await harness.ask("POST", "/v1/members/web%2D1/depart")).status == 200
    assert (await harness.ask("POST", "/v1/shutdown", unix=True)).status == 202
    assert harness.api.calls == [("depart", "web-1"), ("shutdown",)]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_host_of_a_rebound_name_forbidden(harness: Harness, method: str) -> None:
    """A web page that points its own DNS name at the gateway can neither read nor write."""
    answer = await harness.ask(
        method, "/v1/groups/a.b/config", headers={"Host": "evil.example:9631"}
    )
    assert "evil.example" in problem(answer, 403)["detail"]
    assert harness.api.calls == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9631", "127.0.0.1:1", "[::1]:9631"])
async def test_host_local_names_allowed(harness: Harness, host: str) -> None:
    """Names and addresses that no foreign page can carry are fine."""
    assert (await harness.ask("GET", "/v1/status", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_write_from_foreign_page_forbidden(harness: Harness, headers: dict[str, str]) -> None:
    """A browser that was sent here by another site may not write."""
    problem(await harness.ask("POST", "/v1/shutdown", headers=headers), 403)
    assert harness.api.calls == []


async def test_write_from_own_page_allowed(harness: Harness) -> None:
    """The same origin may."""
    origin = {"Origin": f"http://127.0.0.1:{harness.port}"}
    assert (await harness.ask("POST", "/v1/shutdown", headers=origin)).status == 202


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.9", True), ("10.0.0.1", False)],
)
def test_loopback_peer_forms(peer: str, loopback: bool) -> None:
    """IPv4 in IPv6 clothes is recognised; other hosts are not loopback."""
    assert gateway_http._is_loopback(peer) is loopback


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
    ],
)
async def test_garbage_gets_a_problem_and_is_closed(
    harness: Harness, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What the parser refuses is answered in the one format, closed, and not logged as an error."""
    answer = await harness.raw(data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == int(head.split()[1])
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_silent_connection_closed_in_time(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that never finishes its headers costs a connection for a bounded time only."""
    monkeypatch.setattr(gateway_http, "HEADER_SECONDS", 0.1)
    await harness.ask("GET", "/v1/status")
    assert await harness.raw(b"GET /v1/sta") == b""


async def test_slow_body_answered_in_time(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that never comes is 408 after a bounded time."""
    monkeypatch.setattr(gateway_http, "BODY_SECONDS", 0.1)
    answer = await harness.raw(
        b"PUT /v1/groups/a.b/config HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: 100\r\n\r\nx"
    )
    assert b" 408 " in answer.split(b"\r\n")[0]


async def test_connections_over_the_limit_closed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection too many is closed; when others go, new ones are served again."""
    monkeypatch.setattr(gateway_http, "CONNECTIONS_MAX", 2)
    await harness.ask("GET", "/v1/status")
    held = [await asyncio.open_connection("127.0.0.1", harness.port) for _ in range(2)]
    await asyncio.sleep(0.05)
    try:
        refused = await harness.raw(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    except ConnectionError:
        refused = b""
    assert refused == b""
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.05)
    assert (await harness.ask("GET", "/v1/status")).status == 200


async def test_close_waits_for_the_request_in_progress(harness: Harness) -> None:
    """A write that is being carried out gets its answer before the gateway is gone."""
    harness.api.hold = asyncio.Event()
    asking = asyncio.create_task(harness.ask("POST", "/v1/services/web/stop"))
    await harness.api.asked.wait()
    closing = asyncio.create_task(harness.gateway.close())
    await asyncio.sleep(0.05)
    harness.api.hold.set()
    assert (await asking).status == 200
    await asyncio.wait_for(closing, 5)


async def test_first_connections_together_all_answered(harness: Harness) -> None:
    """Clients that come while the HTTP code loads wait and are served."""
    answers = await asyncio.gather(
        *(harness.ask("GET", "/v1/status", unix=n % 2 == 0) for n in range(10))
    )
    assert [a.status for a in answers] == [200] * 10


def test_fake_is_the_protocol() -> None:
    """The fake of these tests has every method of ``SupervisorApi``."""
    from sup.routes import SupervisorApi

    wanted = {name for name in vars(SupervisorApi) if not name.startswith("_")}
    assert wanted <= set(dir(FakeApi))


async def test_gateway_request_without_host_is_refused_without_a_look_up(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for this host's own name can take seconds, in which no ping would be answered."""
    asked: list[str] = []

    def look_up(name: str = "") -> str:
        asked.append(name)
        return "localhost"

    monkeypatch.setattr("socket.getfqdn", look_up)
    answer = await harness.raw(b"GET /v1/status HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 403")
    assert asked == []


async def test_gateway_origin_that_is_no_url_is_refused(harness: Harness) -> None:
    """It is a stranger's, not an error of ours."""
    answer = await harness.ask("POST", "/v1/shutdown", headers={"Origin": "http://["})
    assert answer.status == 403
    assert harness.api.calls == []
