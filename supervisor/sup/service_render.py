"""What a service is rendered to, and the fingerprint that says whether a running process has it
(floor 8).

Two digests: of what a process is started from (init and run hook, command, user), which can only
change with a restart, and of its configuration (config files and the reconfigure hook), which the
reconfigure hook can bring to a running process. Other hooks are read afresh whenever they run and
count in neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sup.edge.render_files import CompiledPackage, RenderedFile, render

START_FILES = ("hooks/init", "hooks/run")
RECONFIGURE = "hooks/reconfigure"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of the start and of the configuration; empty ones equal nothing that was rendered."""

    start: str = ""
    config: str = ""

    def __str__(self) -> str:
        return f"{self.start} {self.config}"

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read what ``str`` gave; anything else is the empty fingerprint."""
        start, _, config = text.partition(" ")
        return cls(start, config)


@dataclass(frozen=True, slots=True)
class RenderedService:
    """All files of a service as they should be, made from ``context``."""

    files: tuple[RenderedFile, ...]
    fingerprint: Fingerprint
    context: Mapping[str, Any]
    reads: Mapping[str, frozenset[str]]
    config_version: str


def render_service(
    package: CompiledPackage, context: Mapping[str, Any], config_version: str
) -> RenderedService:
    """Render every template in memory; takes milliseconds, so call it in a thread.

    Raises:
        OperatorError: a template fails.
    """
    files = render(package, context)
    plan = package.plan.service
    start = [f for f in files if f.target in START_FILES]
    config = [f for f in files if f.target.startswith("config/") or f.target == RECONFIGURE]
    how = repr((plan.argv, plan.user, plan.group))
    return RenderedService(
        files=files,
        fingerprint=Fingerprint(_digest(start, how), _digest(config, "")),
        context=context,
        reads={file.target: file.reads for file in files},
        config_version=config_version,
    )


def _digest(files: Iterable[RenderedFile], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for file in sorted(files, key=lambda f: f.target):
        for part in (file.target.encode(), file.data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:32]
