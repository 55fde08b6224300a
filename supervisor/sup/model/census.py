"""The census: which services run where, in what health, as this supervisor has heard it (pure).

A census is an immutable value, made from the members and the service rumors of one moment by
``build_census``. Group and member names follow Habitat so that existing templates and habits
carry over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sup.model.health import Health
from sup.model.service_rumor import SERVICE_KIND, ServiceRumor, ServiceRumorError, decode

STATE_WORDS = ("alive", "suspect", "dead", "left")
"""Words for the core's ``MemberState`` 0 to 3."""


class MemberView(Protocol):
    """What the census needs of the core's ``Member``."""

    @property
    def id(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> int: ...


class RumorView(Protocol):
    """What the census needs of the core's ``Rumor``."""

    @property
    def kind(self) -> int: ...
    @property
    def origin(self) -> bytes: ...
    @property
    def value(self) -> bytes | None: ...


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
    """``ip, hostname, gossip_ip, gossip_port, http_gateway_ip, http_gateway_port, member_id,
    version``."""
    config_version: str = ""
    """Version of the group configuration that is applied there, or empty."""
    maintenance: str = ""
    """The reason of the maintenance that the service is in there, or empty."""
    restart: str = ""
    """``wanted`` or ``claimed`` while a restart for a failed check is wanted or under way."""

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

    @property
    def serving(self) -> bool:
        """Fit for use by others: alive, ok or warning, and not in maintenance."""
        return self.alive and not self.maintenance and self.health in (Health.OK, Health.WARNING)


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


class CensusMaker:
    """Makes one census after another; a rumor that came again as it was is not decoded again."""

    def __init__(self) -> None:
        self._said: dict[bytes, ServiceRumor | None] = {}

    def make(self, members: Iterable[MemberView], rumors: Iterable[RumorView]) -> Census:
        """``build_census``, with what the last census was made of at hand. It holds no more."""
        said: dict[bytes, ServiceRumor | None] = {}

        def read(value: bytes) -> ServiceRumor | None:
            if value not in said:
                said[value] = self._said[value] if value in self._said else _read(value)
            return said[value]

        census = _join(members, rumors, read)
        self._said = said
        return census


def build_census(members: Iterable[MemberView], rumors: Iterable[RumorView]) -> Census:
    """Join the service rumors with the members they are about.

    A rumor of an unknown member, of another kind, retracted, or unreadable is skipped: a foreign
    value never hides the others. The result depends on the sets alone, not on their order. O(n
    log n).
    """
    return _join(members, rumors, _read)


def _read(value: bytes) -> ServiceRumor | None:
    try:
        return decode(value)
    except ServiceRumorError:
        return None


def _join(
    members: Iterable[MemberView],
    rumors: Iterable[RumorView],
    read: Callable[[bytes], ServiceRumor | None],
) -> Census:
    known = {member.id: member for member in members}
    groups: dict[str, dict[str, CensusMember]] = {}
    for rumor in rumors:
        member = known.get(rumor.origin)
        if member is None or rumor.kind != SERVICE_KIND or rumor.value is None:
            continue
        said = read(rumor.value)
        if said is None:
            continue
        row = _census_member(member, said)
        group = groups.setdefault(f"{said.service}.{said.group}", {})
        # One rumor per origin and group is the rule; if a peer breaks it, the choice is still the
        # same everywhere.
        other = group.get(row.member_id)
        if other is None or repr(other) < repr(row):
            group[row.member_id] = row
    return Census({name: _census_group(groups[name]) for name in sorted(groups)})


def _census_group(rows: Mapping[str, CensusMember]) -> CensusGroup:
    members = tuple(rows[member_id] for member_id in sorted(rows))
    return CensusGroup(members[0].service, members[0].group, members)


def _census_member(member: MemberView, said: ServiceRumor) -> CensusMember:
    state = STATE_WORDS[member.state]
    return CensusMember(
        member_id=member.id.hex(),
        name=member.name,
        service=said.service,
        group=said.group,
        state=state,
        health=said.health if state == "alive" else Health.UNKNOWN,
        health_since_s=said.health_since_s,
        output=said.output,
        process=said.process,
        package=said.package,
        topology=said.topology,
        strategy=said.strategy,
        exports=said.exports,
        sys=said.sys,
        config_version=said.config_version,
        maintenance=said.maintenance,
        restart=said.restart,
    )
