"""The built-in health check, hook by hook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.builtin.exec_check import ExecCheck, sup_health_checks
from sup.model.health import OUTPUT_BYTES_MAX, CheckResult, Health
from sup.policies import CheckContext


async def check(tmp_path: Path, script: str | None, **options: object) -> CheckResult:
    """Check with a hook of this text; None: the package has no hook."""
    hook = tmp_path / "health-check"
    if script is not None:
        hook.write_text(f"#!/bin/sh\n{script}\n")
        hook.chmod(0o755)
    settings: dict[str, object] = {
        "service": "web",
        "directory": str(tmp_path),
        "hook_path": None if script is None else str(hook),
        "process_up": True,
        "timeout_s": 20.0,
        "environment": {"PATH": os.environ["PATH"]},
    }
    return await ExecCheck().check(CheckContext(**settings | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "health"),
    [
        (0, Health.OK),
        (1, Health.WARNING),
        (2, Health.CRITICAL),
        (3, Health.UNKNOWN),
        (4, Health.UNKNOWN),
        (255, Health.UNKNOWN),
    ],
)
async def test_check_exit_code_is_the_health(tmp_path: Path, code: int, health: Health) -> None:
    """0 ok, 1 warning, 2 critical, everything else unknown; the output is kept."""
    result = await check(tmp_path, f"echo words; exit {code}")
    assert result.health is health
    assert "words" in result.output


async def test_check_without_hook_follows_the_process(tmp_path: Path) -> None:
    """Nothing to ask: the process being there is all that is known."""
    assert (await check(tmp_path, None)).health is Health.OK
    assert (await check(tmp_path, None, process_up=False)).health is Health.CRITICAL


async def test_check_process_down_is_critical_without_running_the_hook(tmp_path: Path) -> None:
    """A service that is not there is not asked."""
    result = await check(tmp_path, "touch asked; exit 0", process_up=False)
    assert result.health is Health.CRITICAL
    assert not (tmp_path / "asked").exists()


async def test_check_hook_that_hangs_is_critical(tmp_path: Path) -> None:
    """No answer in time is what a client of the service would get."""
    result = await check(tmp_path, "sleep 60", timeout_s=0.2)
    assert result.health is Health.CRITICAL
    assert "timed out" in result.output


async def test_check_hook_that_cannot_start_is_unknown(tmp_path: Path) -> None:
    """A broken check says nothing about the service."""
    result = await check(tmp_path, "true", hook_path=str(tmp_path / "missing"))
    assert result.health is Health.UNKNOWN
    assert "missing" in result.output


async def test_check_hook_that_crashes_is_unknown(tmp_path: Path) -> None:
    """A hook that a signal ended gave no answer."""
    result = await check(tmp_path, "kill -SEGV $$")
    assert result.health is Health.UNKNOWN
    assert "SIGSEGV" in result.output


async def test_check_long_output_keeps_its_end(tmp_path: Path) -> None:
    """What is kept fits the bound on gossiped output."""
    result = await check(tmp_path, "seq 1 5000")
    assert len(result.output.encode()) <= OUTPUT_BYTES_MAX
    assert result.output.endswith("5000\n")


def test_hook_registers_the_kind_exec() -> None:
    """The name that plans use."""
    assert isinstance(sup_health_checks()["exec"], ExecCheck)
