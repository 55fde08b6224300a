"""A small template language, and a workshop that makes packages, services and views."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sup.builtin.exec_check import ExecCheck
from sup.edge.package_dir import load_package, package_for_command
from sup.edge.process_tree import find_marked, kill_marked
from sup.edge.render_files import compile_package
from sup.edge.service_dir import mark_prefix
from sup.model.backoff import Backoff
from sup.model.census import CensusGroup
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.policies import Change, Rendered, StrategyDecision, TemplateError, TopologyDecision
from sup.service import Service, ServiceTiming

ENVIRONMENT = {"PATH": os.environ["PATH"]}
FAST = ServiceTiming(
    first_check_s=0.05,
    bad_interval_s=0.05,
    init_timeout_s=10,
    hook_timeout_s=10,
    post_stop_timeout_s=5,
)


class Braces:
    """``{{a.b}}`` and nothing else; a value that is not there is an error."""

    def compile(self, source: str, file: str, *, strict: bool) -> BracesTemplate:
        return BracesTemplate(source, file)


class BracesTemplate:
    def __init__(self, source: str, file: str) -> None:
        self._source = source
        self._file = file

    def render(self, context: Mapping[str, Any]) -> Rendered:
        reads = set()

        def value(match: re.Match[str]) -> str:
            reads.add(match[1])
            found: Any = context
            for key in match[1].split("."):
                if not isinstance(found, Mapping) or key not in found:
                    raise TemplateError(f"no {match[1]}", file=self._file, line=1, column=1)
                found = found[key]
            return str(found)

        return Rendered(re.sub(r"\{\{([\w.]+)\}\}", value, self._source), frozenset(reads))


class Strategy:
    """Says go, or holds with a reason; counts how often it was asked."""

    def __init__(self) -> None:
        self.hold = ""
        self.asked = 0

    def decide(self, group: CensusGroup, me: str, change: Change, now_us: int) -> StrategyDecision:
        assert change is Change.CONFIG
        self.asked += 1
        return StrategyDecision(not self.hold, self.hold)


class Workshop:
    """Makes services below one directory and sees to it that none stays behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.package_dir = directory / "package"
        self.paths = ServicePaths.of(directory / "state", "web")
        self.strategy = Strategy()
        self.services: list[Service] = []

    def package(self, plan: str = "", **files: str) -> None:
        """Write a package: ``hooks__run``, ``config__web`` … name files, text is a template."""
        self.package_dir.mkdir(exist_ok=True)
        (self.package_dir / "plan.toml").write_text(f'[package]\nname = "web"\n{plan}')
        for name, text in files.items():
            folder, _, file = name.partition("__")
            # A hook's name has dashes, which a keyword can't have.
            path = (
                self.package_dir / folder / (file.replace("_", "-") if folder == "hooks" else file)
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            if name.startswith("hooks"):
                path.write_text(f"#!/bin/sh\n{text}\n")
                path.chmod(0o755)

    def service(self, command: list[str] | None = None, **options: Any) -> Service:
        """A service of the package, or of a bare command; not started."""
        package = (
            load_package(self.package_dir)
            if command is None
            else package_for_command("web", command)
        )
        spec = Spec(
            name="web",
            package_dir=str(self.package_dir) if command is None else None,
            command=command,
            desired=options.pop("desired", "up"),
            health_interval=options.pop("health_interval", 0.05),
        )
        settings: dict[str, Any] = {
            "health_check": ExecCheck(),
            "strategy": self.strategy,
            "rng": random.Random(1),
            "environment": ENVIRONMENT,
            "backoff": Backoff(0.1, 0.2, 60.0),
            "timing": FAST,
        }
        service = Service(
            spec, compile_package(package, {"": Braces()}), self.paths, **settings | options
        )
        self.services.append(service)
        return service

    def up(self, command: list[str] | None = None, **options: Any) -> Service:
        """A service that is started and has its first view."""
        service = self.service(command, **options)
        service.start()
        self.view(service)
        return service

    def view(
        self,
        service: Service,
        *,
        may_start: bool = True,
        reason: str = "",
        version: str = "",
        **cfg: object,
    ) -> None:
        """Give the service a view with this configuration."""
        service.update(
            {"cfg": cfg},
            TopologyDecision(may_start=may_start, reason=reason),
            CensusGroup("web", "default"),
            "00" * 16,
            version,
        )

    @property
    def log(self) -> list[str]:
        """Lines that the service has said."""
        path = self.paths.logs / "web.log"
        return path.read_text().splitlines() if path.exists() else []

    def lines(self, name: str) -> list[str]:
        """Lines of a file that hooks wrote in the service's data directory."""
        path = self.paths.data / name
        return path.read_text().splitlines() if path.exists() else []


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until ``condition`` holds; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.01)


@pytest.fixture
async def workshop(tmp_path: Path) -> AsyncIterator[Workshop]:
    """A workshop whose services are stopped at the end; a process that stays fails the test."""
    workshop = Workshop(tmp_path)
    yield workshop
    for service in workshop.services:
        await service.stop()
    prefix = mark_prefix(workshop.paths)
    left = find_marked(prefix)
    kill_marked(prefix)
    assert left == []
