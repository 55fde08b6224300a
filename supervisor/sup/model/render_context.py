"""What a template sees: ``sys``, ``pkg``, ``cfg``, ``svc`` and ``bind``, with Habitat's names
(pure).

Existing Habitat templates render unchanged. Each member also carries ``ip`` and ``port`` at its
top level (``port`` is its export of that name, and absent without one), so that ``{{#with
svc.leader}}{{ip}} {{port}}`` and ``{{svc.leader.sys.ip}}`` are both possible. Lists are in order
of member id, so equal views give equal text. The shape is in ``render_context.schema.json``, and
a test holds it to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from sup.model.binds import Bound
from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.config_layers import lookup
from sup.model.health import Health
from sup.model.plan import WRAPPED, Plan
from sup.model.service_group import parse_service_group
from sup.model.service_paths import ServicePaths
from sup.policies import TopologyDecision

ORGANISATION = "default"
"""Habitat's ``org``; rings of their own take its place here."""
STANDALONE = "standalone"

SYS_DEFAULTS: Mapping[str, Any] = {
    "version": "",
    "member_id": "",
    "ip": "",
    "hostname": "",
    "gossip_ip": "",
    "gossip_port": 0,
    "http_gateway_ip": "",
    "http_gateway_port": 0,
    "ctl_gateway_ip": "",
    "ctl_gateway_port": 0,
    "permanent": False,
}
"""Every name in ``sys``. There is no control gateway and no permanent member here; the names stay
defined for templates that print them."""


def build_context(
    *,
    census: Census,
    group_name: str,
    me: str,
    decision: TopologyDecision,
    plan: Plan,
    cfg: Mapping[str, Any],
    paths: ServicePaths,
    sys: Mapping[str, Any],
    bound: Sequence[Bound] = (),
    package_dir: Path | None = None,
    dependencies: Sequence[Mapping[str, str]] = (),
    environment: Mapping[str, str] | None = None,
    leaders: Mapping[str, str] | None = None,
    update_leader: str | None = None,
) -> dict[str, Any]:
    """The context for the templates of one service, of plain values only.

    ``group_name`` is ``service.group``; ``me`` is this supervisor's member id (hex). ``bound`` is
    what ``binds.look`` found; a bind without a usable member is absent. ``dependencies`` are
    packages with their ``path``; ``environment`` is what the package adds to that of its processes.
    ``leaders`` has the leaders of other groups by name, as far as they are known here. A member
    that the census does not yet list here is made from the plan, so that ``svc.me`` always exists.
    O(members of the group and of the bound groups).

    Raises:
        OperatorError: ``group_name`` is not a ``service.group``.
    """
    name = parse_service_group(group_name)
    group = census.group(name.service, name.group)
    if group.member(me) is None:
        own = _own_member(group, me, plan, cfg, sys)
        rows = sorted([*group.members, own], key=lambda member: member.member_id)
        group = CensusGroup(group.service, group.group, tuple(rows))
    view = _group_view(group, decision.leader, update_leader)
    mine = view.by_id[me]
    return {
        "sys": {**SYS_DEFAULTS, **sys, "member_id": me},
        "pkg": {
            **_package(plan, cfg, paths, package_dir),
            "deps": [dict(dependency) for dependency in dependencies],
            "dependencies": [dependency.get("ident", "") for dependency in dependencies],
            "env": dict(environment or {}),
        },
        "cfg": plain_config(cfg),
        "svc": {
            "service": group.service,
            "group": group.group,
            "org": ORGANISATION,
            **view.elections,
            "me": mine,
            "first": view.first or mine,
            "leader": view.leader,
            "update_leader": view.update_leader,
            "members": view.members,
        },
        "bind": {
            one.name: _bind(census, one, (leaders or {}).get(str(one.target)))
            for one in bound
            if one.members
        },
    }


def _bind(census: Census, bound: Bound, leader: str | None) -> dict[str, Any]:
    """A bind as templates see it: roles of the whole group, of its members the usable ones."""
    target = bound.target
    view = _group_view(census.group(target.service, target.group), leader, None)
    members = [view.by_id[member.member_id] for member in bound.members]
    lead = view.leader if view.leader in members else None
    return {"first": lead or members[0], "leader": lead, "members": members}


def exported(plan: Plan, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The values under the plan's ``[exports]``; one that ``cfg`` does not have is left out."""
    values = {name: lookup(cfg, path) for name, path in sorted(plan.exports.items())}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def plain_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """``cfg`` of plain values: a TOML date or time becomes its ISO text."""
    return {key: _plain(value) for key, value in cfg.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain_config(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return value


class _GroupView:
    """One group as templates see it."""

    __slots__ = ("by_id", "elections", "first", "leader", "members", "update_leader")

    def __init__(
        self,
        by_id: dict[str, dict[str, Any]],
        members: list[dict[str, Any]],
        leader: dict[str, Any] | None,
        update_leader: dict[str, Any] | None,
        elections: dict[str, bool],
    ) -> None:
        self.by_id = by_id
        self.members = members
        self.leader = leader
        self.update_leader = update_leader
        self.elections = elections
        self.first = leader or (members[0] if members else None)


def _group_view(group: CensusGroup, leader: str | None, update_leader: str | None) -> _GroupView:
    # A leader nobody has heard of can't be shown; until it is, there is none.
    leader = leader if leader is not None and group.member(leader) else None
    update_leader = update_leader if update_leader and group.member(update_leader) else None
    elections = _elections(group, leader, update_leader)
    by_id = {
        member.member_id: _member(member, leader, update_leader, elections)
        for member in group.members
    }
    return _GroupView(
        by_id,
        [by_id[member.member_id] for member in group.members if member.present],
        by_id[leader] if leader else None,
        by_id[update_leader] if update_leader else None,
        elections,
    )


def _elections(
    group: CensusGroup, leader: str | None, update_leader: str | None
) -> dict[str, bool]:
    """Habitat's three flags for each kind of election; exactly one is true where there are
    elections."""
    elects = leader is not None or any(m.topology != STANDALONE for m in group.members if m.present)
    voters = [member for member in group.members if member.state != "left"]
    quorum = 2 * sum(member.present for member in voters) > len(voters)
    return {
        "election_is_running": elects and leader is None and quorum,
        "election_is_no_quorum": elects and leader is None and not quorum,
        "election_is_finished": elects and leader is not None,
        "update_election_is_running": False,
        "update_election_is_no_quorum": False,
        "update_election_is_finished": update_leader is not None,
    }


def _member(
    member: CensusMember,
    leader: str | None,
    update_leader: str | None,
    elections: Mapping[str, bool],
) -> dict[str, Any]:
    sys = {**SYS_DEFAULTS, **member.sys, "member_id": member.member_id}
    row = {
        "member_id": member.member_id,
        "name": member.name,
        "service": member.service,
        "group": member.group,
        "org": ORGANISATION,
        "package": member.package,
        "pkg_incarnation": 0,  # of Habitat's updates; templates that print it find it defined
        "pkg": _ident_parts(member),
        "sys": sys,
        "cfg": dict(member.exports),
        "leader": member.member_id == leader,
        "follower": leader is not None and member.member_id != leader,
        "update_leader": member.member_id == update_leader,
        "update_follower": update_leader is not None and member.member_id != update_leader,
        **elections,
        "state": member.state,
        "alive": member.alive,
        "suspect": member.suspect,
        "confirmed": member.state == "dead",
        "departed": member.state == "left",
        "persistent": bool(sys["permanent"]),
        "health": member.health.word,
        "process": member.process,
        "config_version": member.config_version,
        "ip": sys["ip"],
    }
    if "port" in member.exports:
        row["port"] = member.exports["port"]
    return row


def _ident_parts(member: CensusMember) -> dict[str, str]:
    parts = member.package.split("/")
    if len(parts) < 2:  # a wrapped command
        parts = [WRAPPED, member.service]
    origin, name, version, release, *_ = [*parts, "", ""]
    return {
        "ident": member.package,
        "origin": origin,
        "name": name,
        "version": version,
        "release": release,
    }


def _own_member(
    group: CensusGroup, me: str, plan: Plan, cfg: Mapping[str, Any], sys: Mapping[str, Any]
) -> CensusMember:
    return CensusMember(
        member_id=me,
        name=str(sys.get("hostname", "")),
        service=group.service,
        group=group.group,
        state="alive",
        health=Health.UNKNOWN,
        health_since_s=0,
        output="",
        process="down",
        package=plan.ident,
        topology=STANDALONE,
        strategy="none",
        exports=exported(plan, cfg),
        sys=sys,
    )


def _package(
    plan: Plan, cfg: Mapping[str, Any], paths: ServicePaths, package_dir: Path | None
) -> dict[str, Any]:
    exposes = [lookup(cfg, plan.exports[name]) for name in plan.service.exposes]
    return {
        "ident": plan.ident,
        "origin": plan.package.origin,
        "name": plan.package.name,
        "version": plan.package.version,
        "release": "",
        "path": str(package_dir or paths.root),
        "svc_path": str(paths.root),
        "svc_config_path": str(paths.config),
        "svc_config_install_path": str(paths.config_install),
        "svc_data_path": str(paths.data),
        "svc_files_path": str(paths.files),
        "svc_static_path": str(paths.static),
        "svc_var_path": str(paths.var),
        "svc_pid_file": str(paths.pid_file),
        "svc_run": str(paths.hook("run")),
        "svc_user": plan.service.user,
        "svc_group": plan.service.group,
        "exposes": [str(port) for port in exposes if port is not None],
        "exports": dict(sorted(plan.exports.items())),
        "shutdown_signal": plan.service.stop_signal,
        "shutdown_timeout": round(plan.service.stop_timeout),
    }
