"""What is refused when a package is loaded: a check that can't be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.service.conftest import Workshop

from sup.errors import OperatorError
from sup.model.health import CheckResult, Health
from sup.model.spec import Spec
from sup.plugins import load
from sup.policies import CheckContext
from sup.services import resolve


class Picky:
    """A check that wants one number."""

    async def check(self, context: CheckContext) -> CheckResult:
        return CheckResult(Health.OK)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        if not isinstance(settings.get("port"), int):
            raise ValueError(f"port is {settings.get('port')!r}; it is a number")


def refusal(workshop: Workshop, plan: str, **files: str) -> str:
    """Why the package can't be loaded, or empty."""
    workshop.package(plan, hooks__run="exec sleep 600", **files)
    plugins = load()
    plugins = replace(plugins, health_checks={**plugins.health_checks, "picky": Picky()})
    spec = Spec(name="web", package_dir=str(workshop.package_dir))
    try:
        resolve(spec, plugins)
    except OperatorError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ('[service.liveness]\nkind = "htp"', 'no active plugin provides health check "htp"'),
        (
            "[service.liveness]",
            "service.liveness is of kind exec and there is no hooks/liveness-check",
        ),
        ('[service.health]\nkind = "picky"', "service.health.settings: port is None"),
        (
            '[service.startup]\nkind = "picky"\n[service.startup.settings]\nport = "a"',
            "service.startup.settings: port is 'a'",
        ),
        (
            '[service.health]\nkind = "ttl"\n[service.health.settings]\nttl = 3',
            "unknown key 'ttl'; a check of kind ttl has no settings",
        ),
        ("[service.startup]", ""),
    ],
)
async def test_package_with_a_check_that_cannot_be_made(
    workshop: Workshop, plan: str, words: str
) -> None:
    """One line at the load, with table and key; startup falls back to the hook of readiness."""
    assert words in refusal(workshop, plan)
    assert bool(words) == bool(refusal(workshop, plan))


async def test_package_settings_are_checked_with_the_defaults_of_the_configuration(
    workshop: Workshop,
) -> None:
    """A value that only another layer has is left to the running service."""
    plan = '[service.health]\nkind = "picky"\n[service.health.settings]\nport = "{{cfg.port}}"'
    assert refusal(workshop, plan) == ""
    assert "port is 'x'" in refusal(workshop, plan, **{"default.toml": 'port = "x"\n'})
    assert refusal(workshop, plan, **{"default.toml": "port = 8080\n"}) == ""


async def test_package_with_a_liveness_hook_loads(workshop: Workshop) -> None:
    """The hook is known by its name."""
    assert refusal(workshop, "[service.liveness]", hooks__liveness_check="exit 0") == ""
