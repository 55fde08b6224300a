"""Which releases have been installed on this host: one file, so that an ``install`` hook runs once.

A release is a package's ident and the digest of what the package is made of, so an edited package
directory is another release although its version is the same. The file is sealed and replaced
whole; a damaged one is set aside with a message and reads as empty: the install hooks run once
more, which a hook that may be interrupted has to bear anyway.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

import msgspec

from sup.edge.operator_files import read_operator_file
from sup.edge.package_dir import Package
from sup.edge.state_files import CorruptStateError, quarantine, seal, unseal, write_durable
from sup.errors import OperatorError
from sup.model.plan import PLAN_BYTES_MAX

log = logging.getLogger("sup.services")

RELEASES_MAX = 1024
"""Releases remembered; the oldest is forgotten for a new one."""
FILE_BYTES_MAX = 1024 * 1024
KIND = "releases"
PLAN_FILES = ("plan.toml", "plan.sh", "habitat/plan.sh", "habitat/plan.toml")


class _Row(msgspec.Struct, frozen=True):
    ident: str
    digest: str
    at_s: int = 0


class Releases:
    """The file ``releases`` of a state directory. Methods block on the disk."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "releases"
        self._rows: list[_Row] | None = None

    def has(self, ident: str, digest: str) -> bool:
        """Whether this release was installed here."""
        return any((row.ident, row.digest) == (ident, digest) for row in self._read())

    def add(self, ident: str, digest: str) -> None:
        """Remember it, durably. Raises ``OSError`` when the disk refuses: then it is not."""
        if self.has(ident, digest):
            return
        rows = [*self._read(), _Row(ident, digest, int(time.time()))]
        self._write(rows[-RELEASES_MAX:])

    def forget(self, package: str) -> None:
        """Forget every release of ``origin/name``. Raises ``OSError`` when the disk refuses."""
        rows = [row for row in self._read() if package_of(row.ident) != package]
        if len(rows) != len(self._read()):
            self._write(rows)

    def _read(self) -> list[_Row]:
        if self._rows is None:
            self._rows = self._load()
        return self._rows

    def _load(self) -> list[_Row]:
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            return msgspec.msgpack.decode(unseal(data, KIND), type=list[_Row])
        except FileNotFoundError:
            return []
        except OSError as error:
            log.error("releases unreadable: %s; install hooks run again", error)
            return []
        except (CorruptStateError, msgspec.MsgspecError, ValueError) as error:
            log.error("releases damaged: %s; set aside, install hooks run again", error)
            try:
                quarantine(self._path)
            except OSError as refused:
                log.error("releases not set aside: %s", refused)
            return []

    def _write(self, rows: list[_Row]) -> None:
        write_durable(self._path, seal(msgspec.msgpack.encode(rows), KIND))
        self._rows = rows


def package_of(ident: str) -> str:
    """``origin/name`` of ``origin/name/version``."""
    return "/".join(ident.split("/")[:2])


def release_digest(package: Package) -> str:
    """The digest of all that is read of a package: plan, defaults, templates and hooks. Blocks."""
    digest = hashlib.sha256()

    def add(name: str, data: bytes) -> None:
        for part in (name.encode(errors="surrogateescape"), data):
            digest.update(len(part).to_bytes(8, "big") + part)

    if package.directory is not None:
        for name in PLAN_FILES:
            file = package.directory / name
            try:
                add(name, read_operator_file(file, PLAN_BYTES_MAX, str(file))[0])
            except OperatorError:  # not there, or it changed since the package was read
                continue
    add("default", repr(package.default).encode(errors="surrogateescape"))
    for template in (*package.templates, *package.hooks):
        add(template.name, template.source.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
