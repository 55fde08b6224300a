"""The files of service groups, as this supervisor holds them: read from rumors, put as rumors
(floor 8).

Nothing is kept of a file's bytes but the rumor itself; they are read when a service here has to
have them. Of two that are put at once the later version wins everywhere.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any

from sup.errors import ExitCode, NotFoundError, OperatorError
from sup.model.convert import near
from sup.model.group_config import version_text
from sup.model.group_file import (
    FILE_KIND,
    FILES_MAX,
    GroupFile,
    GroupFileError,
    decode_file,
    encode_file,
    file_key,
    parse_file_key,
)
from sup.model.service_group import ServiceGroup
from sup.ring import Ring

log = logging.getLogger("sup.files")


class GroupFiles:
    """Files by group. ``refresh`` reads the rumors, and the questions answer as of then."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._versions: dict[str, dict[str, str]] = {}
        self._bad: set[bytes] = set()

    def refresh(self) -> None:
        """Look at what the ring has now; O(files)."""
        found: dict[str, dict[str, str]] = {}
        for rumor in self._ring.rumors(FILE_KIND):
            if rumor.value is None:
                continue
            try:
                group, name = parse_file_key(rumor.key)
            except GroupFileError as error:
                if rumor.key not in self._bad and len(self._bad) < FILES_MAX:
                    self._bad.add(rumor.key)
                    log.warning("file ignored: %s", error)
                continue
            found.setdefault(str(group), {})[name] = version_text(rumor.version)
        # Hosts that put at once can make more than the limit; which count is the same everywhere.
        self._versions = {
            group: dict(sorted(names.items())[:FILES_MAX]) for group, names in found.items()
        }

    def versions(self, group: ServiceGroup) -> Mapping[str, str]:
        """Version by name of the group's files."""
        return self._versions.get(str(group), {})

    def read(self, group: ServiceGroup, name: str) -> GroupFile | None:
        """The file, or None: gone meanwhile, or of a form that this version can't read."""
        rumor = self._ring.node.rumor(FILE_KIND, file_key(group, name))
        if rumor is None or rumor.value is None:
            return None
        try:
            return decode_file(rumor.value)
        except GroupFileError as error:
            log.warning("file unreadable group=%s name=%s: %s", group, name, error)
            return None

    def answer(self, group: ServiceGroup) -> list[dict[str, Any]]:
        """For the REST interface: the group's files by name, without what is in them."""
        self.refresh()
        rows = []
        for name, version in self.versions(group).items():
            file = self.read(group, name)
            if file is not None:
                rows.append(_row(name, version, file))
        return rows

    async def put(self, group: ServiceGroup, name: str, data: bytes) -> dict[str, Any]:
        """Gossip a file and make it durable here; unchanged bytes are not gossiped again.

        Raises:
            OperatorError: the name, the size or the number of files; or the disk refuses.
        """
        key = file_key(group, name)
        self.refresh()
        before = self.read(group, name)
        if before is not None and before.data == data:
            row = _row(name, self.versions(group).get(name, ""), before)
            return {**row, "group": str(group), "result": "unchanged"}
        if name not in self.versions(group) and len(self.versions(group)) >= FILES_MAX:
            raise OperatorError(f"{group} has {FILES_MAX} files, the limit; remove one first")
        file = GroupFile(data, self._ring.name, int(time.time()))
        value = encode_file(file)
        try:
            version = self._ring.publish(FILE_KIND, key, value)
        except ValueError as error:
            raise OperatorError(f"file can't be gossiped: {error}", ExitCode.FAILED) from None
        await self._flush(f"file {name} of {group}")
        self.refresh()
        row = _row(name, version_text(version), file)
        return {**row, "group": str(group), "result": "accepted"}

    async def remove(self, group: ServiceGroup, name: str) -> dict[str, Any]:
        """Take a file back, from every member.

        Raises:
            NotFoundError: the group has none of this name.
        """
        key = file_key(group, name)
        self.refresh()
        known = self.versions(group)
        if name not in known:
            hint = near(name, list(known)) if known else ""
            raise NotFoundError(f"{group} has no file {name!r}{hint}")
        try:
            self._ring.retract(FILE_KIND, key)
        except ValueError as error:
            raise OperatorError(f"file can't be removed: {error}", ExitCode.FAILED) from None
        await self._flush(f"removal of file {name} of {group}")
        self.refresh()
        return {"group": str(group), "name": name, "result": "removed"}

    async def _flush(self, what: str) -> None:
        try:
            await self._ring.flush()
        except OSError as error:
            raise OperatorError(
                f"{what} is gossiped but not yet on this host's disk: {error}", ExitCode.FAILED
            ) from None


def _row(name: str, version: str, file: GroupFile) -> dict[str, Any]:
    return {
        "name": name,
        "bytes": len(file.data),
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "version": version,
        "author": file.author,
        "stamp_s": file.stamp_s,
    }
