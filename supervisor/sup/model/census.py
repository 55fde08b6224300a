"""The census: which services run where, in what health, as this supervisor has heard it (pure).

A census is an immutable value, made from the members and the service rumors of one moment by
``build_census``. Group and member names follow Habitat so that existing templates and habits carry over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sup.model.health import Health


@dataclass(frozen=True, slots=True)
class CensusMember:
    """One member's part in one service group.

    ``health`` is ``UNKNOWN`` whenever ``state`` is not alive, whatever the member last said.
    """

    member_id: str
    """Hex form of the 128-bit member id."""
    name: str
    """Name of the supervisor (its host name unless set)."""
    service: str
    group: str
    """Group part only: ``default`` of ``redis.default``."""
    state: str
    """``alive``, ``suspect``, ``dead`` or ``left``."""
    health: Health
    health_since_s: int
    """Unix time of the last change of health, seconds."""
    output: str
    """Tail of the last check's output."""
    process: str
    """State of the service process: ``up``, ``down``, ``starting``, ``backoff``, ``failed`` …"""
    package: str
    """``origin/name/version``, or ``-`` for a wrapped command."""
    topology: str
    strategy: str
    exports: Mapping[str, Any]
    """The values under the package's ``[exports]``, by export name."""
    sys: Mapping[str, Any]
    """``ip, hostname, gossip_ip, gossip_port, http_gateway_ip, http_gateway_port, member_id, version``."""
    config_version: str = ""
    """Version of the group configuration that is applied there, or empty."""

    @property
    def alive(self) -> bool:
        return self.state == "alive"

    @property
    def suspect(self) -> bool:
        return self.state == "suspect"

    @property
    def present(self) -> bool:
        """Alive or suspect: what ``svc.members`` in a template lists."""
        return self.state in ("alive", "suspect")


@dataclass(frozen=True, slots=True)
class CensusGroup:
    """All members known in one service group, sorted by member id."""

    service: str
    group: str
    members: tuple[CensusMember, ...] = ()

    @property
    def name(self) -> str:
        """``service.group``, as operators write it."""
        return f"{self.service}.{self.group}"

    def member(self, member_id: str) -> CensusMember | None:
        """The member with this id, or None."""
        return next((m for m in self.members if m.member_id == member_id), None)


@dataclass(frozen=True, slots=True)
class Census:
    """All groups by ``service.group`` name."""

    groups: Mapping[str, CensusGroup] = field(default_factory=dict)

    def group(self, service: str, group: str) -> CensusGroup:
        """The group, empty when nobody is in it."""
        return self.groups.get(f"{service}.{group}", CensusGroup(service, group))
