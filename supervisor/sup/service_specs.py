"""The spec files of this host (floor 8): what shall run here, one TOML file per service.

``read`` is asked every second and costs a look at the directory: a file is read again only when its
size, inode or times are others. A file that can't be used is no wish to unload: what was loaded
under its name stays, and one line says why.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sup.edge.operator_files import read_operator_file, reason
from sup.edge.state_files import sync_directory, write_durable
from sup.errors import ExitCode, OperatorError
from sup.model.spec import SPEC_BYTES_MAX, Spec, format_spec, parse_spec

log = logging.getLogger("sup.services")

SERVICES_MAX = 256
"""Services per supervisor; spec files beyond this, in name order, are refused with a warning."""
FRESH_S = 0.1
"""A file changed this lately may be changed again with the same times: it is read anew."""

Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file held: a spec, or why it can't be used."""

    signature: Signature | None
    spec: Spec | None
    problem: str


class SpecFiles:
    """The directory ``specs``. ``warnings`` are the files that can't be used, a line each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._bad: dict[str, str] = {}
        self._read: dict[str, _Read] = {}
        self._prefix = f"{directory}/"

    @property
    def warnings(self) -> list[str]:
        return list(self._bad.values())

    def write(self, spec: Spec) -> None:
        """Make ``spec`` the wish for its service, durably.

        Raises:
            OperatorError: the disk refuses (exit 1); the wish before it stays.
        """
        file = self.directory / f"{spec.name}.toml"
        try:
            self.directory.mkdir(mode=0o750, exist_ok=True)
            write_durable(file, format_spec(spec), mode=0o640)
        except OSError as error:
            raise OperatorError(f"can't write {file}: {reason(error)}", ExitCode.FAILED) from None

    def remove(self, name: str) -> None:
        """Forget the wish for ``name``, durably.

        Raises:
            OperatorError: the disk refuses (exit 1).
        """
        file = self.directory / f"{name}.toml"
        try:
            file.unlink(missing_ok=True)
            sync_directory(self.directory)
        except OSError as error:
            raise OperatorError(f"can't remove {file}: {reason(error)}", ExitCode.FAILED) from None

    def has(self, name: str) -> bool:
        """Whether there is a wish for ``name``, usable or not."""
        return (self.directory / f"{name}.toml").exists()

    def read(self, loaded: Mapping[str, Spec]) -> dict[str, Spec]:
        """The wishes by name; ``loaded`` are the specs that are loaded now."""
        specs: dict[str, Spec] = {}
        unusable: dict[str, str] = {}
        try:
            names = sorted(n for n in os.listdir(self.directory) if n.endswith(".toml"))
        except FileNotFoundError:
            names = []
        except OSError as error:
            # Not to see the wishes is none to unload: everything stays as it is.
            names, specs = [], dict(loaded)
            unusable["specs"] = f"specs: {reason(error)}"
        found: dict[str, _Read] = {}
        for file in names:
            if file.startswith("."):
                continue
            found[file] = one = self._look(file)
            stem, problem = file.removesuffix(".toml"), one.problem
            if not problem and len(specs) >= SERVICES_MAX:
                problem = f"specs/{file}: {SERVICES_MAX} services are loaded, the limit"
            if problem or one.spec is None:
                unusable[file] = problem
                # A half-edited file is no wish to unload: what runs stays as it was.
                if stem in loaded:
                    specs[stem] = loaded[stem]
            else:
                specs[stem] = one.spec
        self._read = found
        for name, why in unusable.items():
            if self._bad.get(name) != why:
                log.warning("spec ignored: %s", why)
        self._bad = unusable
        return specs

    def _look(self, name: str) -> _Read:
        signature = self._signature(name)
        last = self._read.get(name)
        if last is not None and signature is not None and last.signature == signature:
            return last
        shown = f"specs/{name}"
        try:
            data, _ = read_operator_file(self.directory / name, SPEC_BYTES_MAX, shown)
            spec = parse_spec(data, shown)
            if f"{spec.name}.toml" != name:
                raise OperatorError(f'{shown}: name is "{spec.name}"; it must equal the file name')
        except OperatorError as error:
            return _Read(signature, None, str(error))
        return _Read(signature, spec, "")

    def _signature(self, name: str) -> Signature | None:
        """What a change of the file changes, or None: it must be read."""
        try:
            found = os.stat(f"{self._prefix}{name}")
        except OSError:
            return None
        if abs(time.time() - found.st_ctime) < FRESH_S:
            return None
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
