"""The JSON shapes that every face answers with (pure): one function per resource of ``/v1``.

Kept apart from the supervisor so that the shapes can be read, and tested, in one place.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.health import Health
from sup_core.events import Member

STATES = ("alive", "suspect", "dead", "left")


def address_text(address: bytes) -> str:
    """``ip:port`` or ``[ip]:port`` of the core's 18-byte address."""
    ip, port = address_parts(address)
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def address_parts(address: bytes) -> tuple[str, int]:
    """IP (IPv4 unmapped) and port of the core's 18-byte address."""
    ip = ipaddress.IPv6Address(address[:16])
    mapped = ip.ipv4_mapped
    return str(mapped or ip), int.from_bytes(address[16:18], "big")


def member_answer(member: Member, state: str, now_us: int, wall_s: float) -> dict[str, Any]:
    """One row of ``/v1/members``; ``since_s`` is Unix seconds, as everywhere in ``/v1``.

    ``now_us`` and ``wall_s`` are the ring's clock and the wall's at one moment.
    """
    return {
        "id": member.id.hex(),
        "name": member.name,
        "address": address_text(member.address),
        "state": state,
        "epoch": member.epoch,
        "incarnation": member.incarnation,
        "since_s": int(wall_s - max(0, now_us - member.since_us) / 1_000_000),
        "local": member.local,
        "version": member.version,
        "tags": dict(member.tags),
    }


def state_counts(states: Iterable[str]) -> dict[str, int]:
    """How many members are in each state; every state is present."""
    counts = dict.fromkeys(STATES, 0)
    for state in states:
        counts[state] += 1
    return counts


def census_member_answer(member: CensusMember) -> dict[str, Any]:
    """One member of one group of ``/v1/census``."""
    return {
        "member_id": member.member_id,
        "name": member.name,
        "state": member.state,
        "process": member.process,
        "health": member.health.word,
        "health_since_s": member.health_since_s,
        "output": member.output,
        "package": member.package,
        "topology": member.topology,
        "strategy": member.strategy,
        "exports": dict(member.exports),
        "sys": dict(member.sys),
        "config_version": member.config_version,
        "maintenance": member.maintenance,
        "restart": member.restart,
        "ready": member.serving,
    }


def census_answer(census: Census, versions: Mapping[str, str], me: str) -> dict[str, Any]:
    """``/v1/census``; ``versions`` maps group names to the version of their configuration.

    ``me`` is the id of the member that answers; its rows are ``local``.
    """
    return {
        "groups": {
            name: {
                "service": group.service,
                "group": group.group,
                "members": [
                    {**census_member_answer(member), "local": member.member_id == me}
                    for member in group.members
                ],
                "config_version": versions.get(name, ""),
            }
            for name, group in sorted(census.groups.items())
        }
    }


def worst_health(healths: Iterable[Health]) -> Health:
    """The health of several services as one word: critical, then unknown, warning, ok."""
    order = (Health.OK, Health.WARNING, Health.UNKNOWN, Health.CRITICAL)
    return max(healths, key=order.index, default=Health.OK)


def applied_answer(group: CensusGroup, version: str) -> dict[str, Any]:
    """How far a configuration version has got: members present, and those that run it."""
    present = [member for member in group.members if member.present]
    applied = [member.name for member in present if member.config_version == version]
    return {"total": len(present), "count": len(applied), "members": applied}
