"""The contracts of ``sup.testing``, then what this plugin promises itself."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

import sup_example.plugin
from sup.plugin_api import Change, CheckContext, Health
from sup.testing import (
    HealthCheckContract,
    StrategyContract,
    check_plugin,
    make_group,
    make_member,
)
from sup_example.cautious import Cautious
from sup_example.marker import MarkerFile


def test_plugin_loads_and_provides_what_it_says() -> None:
    """The hooks return what the supervisor will use, under these names."""
    assert check_plugin(sup_example.plugin).provides() == (
        "health check marker",
        "strategy cautious",
    )


class TestCautiousContract(StrategyContract):
    """Pure, and decides every view."""

    def make(self) -> Cautious:
        return Cautious()


class TestMarkerContract(HealthCheckContract):
    """Answers in time, can be cancelled."""

    def make(self) -> MarkerFile:
        return MarkerFile()

    def contexts(self) -> Sequence[CheckContext]:
        return [_context("/nonexistent"), _context("/", file="tmp")]


@pytest.mark.parametrize("change", list(Change))
def test_cautious_another_member_critical_holds_and_names_it(change: Change) -> None:
    """The reason names who is waited for."""
    group = make_group(make_member(1), make_member(2, health=Health.CRITICAL))
    decision = Cautious().decide(group, make_member(1).member_id, change, 0)
    assert not decision.go
    assert "host-2" in decision.reason


def test_cautious_only_me_critical_goes() -> None:
    """The change may be what makes this member well."""
    group = make_group(make_member(1, health=Health.CRITICAL), make_member(2))
    assert Cautious().decide(group, make_member(1).member_id, Change.CONFIG, 0).go


def test_marker_file_there_and_gone(tmp_path: Path) -> None:
    """The check follows the file."""
    assert _check(tmp_path) is Health.CRITICAL
    (tmp_path / "healthy").touch()
    assert _check(tmp_path) is Health.OK


def _check(directory: Path) -> Health:
    return asyncio.run(MarkerFile().check(_context(str(directory)))).health


def _context(directory: str, **settings: str) -> CheckContext:
    return CheckContext(
        service="app",
        directory=directory,
        hook_path=None,
        process_up=True,
        timeout_s=1.0,
        settings=settings,
    )
