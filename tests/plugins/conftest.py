"""Fixtures: a directory of made-up distributions, found by metadata as installed ones are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Make a distribution with one entry point and one module: what an installer leaves behind."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(
        name: str,
        source: str,
        *,
        module: str = "",
        distribution: str = "",
        version: str = "1.2.3",
    ) -> None:
        module = module or f"plugin_{name.replace('-', '_')}"
        distribution = distribution or f"sup-{name}"
        (tmp_path / f"{module}.py").write_text(HEADER + source)
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[sup]\n{name} = {module}\n")

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


HEADER = """
from sup.plugin_api import *

class Leads:
    def decide(self, group, me, now_us):
        return TopologyDecision(leader=me)

class Goes:
    def decide(self, group, me, change, now_us):
        return StrategyDecision(go=True)

class Checks:
    async def check(self, context):
        return CheckResult(Health.OK)

class Compiles:
    def compile(self, source, file, *, strict):
        return None

"""
