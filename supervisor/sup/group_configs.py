"""The configuration of service groups, as this supervisor holds it: read from rumors, applied as
rumors.

The merge of two configurations that were applied at once is not attempted: the later version
(hybrid logical clock, writer, content) wins everywhere, and ``--if-version`` is there for who must
not lose.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sup.errors import ExitCode, OperatorError
from sup.model.group_config import (
    CONFIG_KIND,
    GroupConfig,
    GroupConfigError,
    apply_patch,
    config_key,
    decode,
    encode,
    version_text,
)
from sup.model.service_group import ServiceGroup
from sup.ring import Ring

log = logging.getLogger("sup.config")


@dataclass(frozen=True, slots=True)
class Held:
    """What is held for one group; ``version`` is empty when nothing was ever applied."""

    config: GroupConfig | None = None
    version: str = ""

    @property
    def table(self) -> Mapping[str, Any]:
        return {} if self.config is None else self.config.table


class GroupConfigs:
    """Configurations by group, decoded once per version."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._held: dict[bytes, Held] = {}

    def get(self, group: ServiceGroup) -> Held:
        """What is held for ``group`` now."""
        key = config_key(group)
        rumor = self._ring.node.rumor(CONFIG_KIND, key)
        if rumor is None or rumor.value is None:
            self._held.pop(key, None)
            return Held()
        version = version_text(rumor.version)
        held = self._held.get(key, Held())
        if held.version != version:
            try:
                held = Held(decode(rumor.value), version)
            except GroupConfigError as error:
                # A newer supervisor may write what this one can't read: keep what works, say so.
                log.warning("config unreadable group=%s version=%s: %s", group, version, error)
                held = Held(held.config, version)
            self._held[key] = held
        return held

    def versions(self) -> dict[str, str]:
        """Version by group name, of every group that has a configuration."""
        return {
            rumor.key.decode(errors="replace"): version_text(rumor.version)
            for rumor in self._ring.rumors(CONFIG_KIND)
        }

    def preview(
        self,
        group: ServiceGroup,
        patch: Mapping[str, Any],
        *,
        replace: bool,
        if_version: str | None,
    ) -> GroupConfig:
        """What ``group`` would have after ``patch``; the held object itself when nothing changes.

        Raises:
            ConflictError: ``if_version`` is not the version held.
            OperatorError: the result is over a bound or a table meets a value.
        """
        held = self.get(group)
        return apply_patch(
            held.config,
            held.version,
            patch,
            replace=replace,
            if_version=if_version,
            author=self._ring.name,
            stamp_s=int(time.time()),
        )

    async def publish(self, group: ServiceGroup, config: GroupConfig) -> str:
        """Gossip ``config``, make it durable here, and return its version.

        Raises:
            OperatorError: the ring has no room for it; or the disk refuses: the ring has the value
            by then, this host in memory.
        """
        try:
            version = self._ring.publish(CONFIG_KIND, config_key(group), encode(config))
        except ValueError as error:
            raise OperatorError(
                f"config of {group} can't be gossiped: {error}", ExitCode.FAILED
            ) from None
        try:
            await self._ring.flush()
        except OSError as error:
            raise OperatorError(
                f"config of {group} is gossiped but not yet on this host's disk: {error}",
                ExitCode.FAILED,
            ) from None
        return version_text(version)
