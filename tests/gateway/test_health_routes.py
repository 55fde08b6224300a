"""The routes of health and maintenance: what is called, what is answered, and the api behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.gateway.harness import Harness

from sup.api_health import HealthApi
from sup.errors import ConflictError, NotFoundError, OperatorError
from sup.routes import Request, answer


@pytest.mark.parametrize(
    ("method", "path", "body", "call"),
    [
        (
            "PUT",
            "/v1/services/web/health/ttl",
            b'{"status":"ok"}',
            ("report", "web", {"status": "ok"}),
        ),
        (
            "PUT",
            "/v1/services/web/maintenance",
            b'{"reason":"x"}',
            ("maintenance on", "web", {"reason": "x"}),
        ),
        ("PUT", "/v1/maintenance", b'{"reason":"x"}', ("maintenance on", "*", {"reason": "x"})),
        ("DELETE", "/v1/services/web/maintenance", b"", ("maintenance off", "web")),
        ("DELETE", "/v1/maintenance", b"", ("maintenance off", "*")),
    ],
)
async def test_route_calls_what_it_says(
    harness: Harness, method: str, path: str, body: bytes, call: tuple[Any, ...]
) -> None:
    """One call each, 200."""
    done = await answer(harness.api, Request(method, path, body=body))
    assert (done.status, harness.api.calls) == (200, [call])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"ok"'])
async def test_route_body_that_is_no_object_is_400(harness: Harness, body: bytes) -> None:
    """Nothing is called."""
    for path in ("/v1/services/web/health/ttl", "/v1/maintenance"):
        assert (await answer(harness.api, Request("PUT", path, body=body))).status == 400
    assert harness.api.calls == []


async def test_health_of_a_service_is_503_unless_it_is_ready(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a load balancer asks; critical, in maintenance and not started are all no."""
    asked = Request("GET", "/v1/services/web/health")
    for ready, status in ((True, 200), (False, 503)):
        monkeypatch.setattr(harness.api, "service_health", lambda _, r=ready: {"ready": r})
        assert (await answer(harness.api, asked)).status == status


class Services:
    """A service ``web`` whose reports and maintenances are written down."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.all_reason = ""
        watch = SimpleNamespace(report=lambda *words: self.said.append(words))
        service = SimpleNamespace(health=watch)
        self.loaded = {"web": SimpleNamespace(service=service, problem="")}
        self.maintenance = SimpleNamespace(reason=lambda _: self.all_reason, entries=list)

    def spec(self, name: str) -> None:
        if name not in self.loaded:
            raise NotFoundError(f'no service "{name}" is loaded here')

    async def begin_maintenance(self, *words: Any) -> None:
        self.said.append(words)

    async def end_maintenance(self, name: str) -> list[str]:
        return []


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def api(services: Services) -> HealthApi:
    api = HealthApi()
    api._supervisor = SimpleNamespace(services=services)  # type: ignore[assignment]
    return api


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({}, "status is None; it is one of ok, warning, critical"),
        ({"status": "unknown"}, "status is 'unknown'"),
        ({"status": "ok", "output": 3}, "output is 3; it is a text"),
        ({"status": "ok", "check": "deadness"}, "check is 'deadness'; it is one of startup"),
        ({"status": ["ok"]}, "status is ['ok']"),
        ({"status": "ok", "state": 1}, "unknown key 'state'"),
    ],
)
def test_report_out_of_bounds_is_one_line(
    api: HealthApi, services: Services, report: dict[str, Any], words: str
) -> None:
    """And reaches no service."""
    with pytest.raises(OperatorError) as caught:
        api.report_health("web", report)
    assert words in caught.value.message
    assert services.said == []


def test_report_reaches_the_service(api: HealthApi, services: Services) -> None:
    """Status as a health, output or nothing, the check if one is named."""
    api.report_health("web", {"status": "critical", "output": "lags", "check": "liveness"})
    api.report_health("web", {"status": "ok"})
    assert [(health.word, *rest) for health, *rest in services.said] == [
        ("critical", "lags", "liveness"),
        ("ok", "", None),
    ]
    with pytest.raises(NotFoundError):
        api.report_health("wbe", {"status": "ok"})


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"reason": 3}, "reason is 3"),
        ({"reason": "x", "for_s": "1h"}, "for_s is '1h'"),
        ({"reason": "x", "for_s": True}, "for_s is True"),
        ({"reason": "x", "until": 1}, "unknown key 'until'"),
    ],
)
async def test_maintenance_out_of_bounds_is_one_line(
    api: HealthApi, services: Services, request_: dict[str, Any], words: str
) -> None:
    """Nothing has changed."""
    with pytest.raises(OperatorError) as caught:
        await api.begin_maintenance("web", request_)
    assert words in caught.value.message
    assert services.said == []


async def test_end_of_one_while_all_are_in_maintenance_says_so(
    api: HealthApi, services: Services
) -> None:
    """The service would not be in use; the operator learns what is."""
    services.all_reason = "kernel"
    with pytest.raises(ConflictError, match="off --all"):
        await api.end_maintenance("web")
