"""The rendering context: Habitat's names, roles, and the schema it is held to."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sup.model import render_context
from sup.model.binds import look
from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.health import Health
from sup.model.plan import Plan, for_command, parse_plan
from sup.model.render_context import build_context, exported
from sup.model.service_paths import ServicePaths
from sup.policies import TopologyDecision

SCHEMA = json.loads(
    Path(render_context.__file__).with_name("render_context.schema.json").read_text("utf-8")
)
PLAN = parse_plan(
    b"""
[package]
origin = "acme"
name = "redis"
version = "7.2"
[exports]
port = "server.port"
gone = "no.such"
[binds]
db = ["port", "host"]
[service]
user = "redis"
exposes = ["port"]
""",
    "plan.toml",
)
CFG = {"server": {"port": 6379}, "since": date(2024, 2, 29), "list": [date(2024, 1, 1)]}
DB = {"port": 5432, "host": "db"}
SYS = {"ip": "10.0.0.1", "hostname": "one", "gossip_port": 9638}


def _member(number: int, *, state: str = "alive", service: str = "redis", **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "member_id": f"{number:02x}" * 16,
        "name": f"host-{number}",
        "service": service,
        "group": "default",
        "state": state,
        "health": Health.OK,
        "health_since_s": 1,
        "output": "",
        "process": "up",
        "package": "acme/redis/7.2",
        "topology": "leader",
        "strategy": "none",
        "exports": {"port": 6379},
        "sys": {"ip": f"10.0.0.{number}"},
    }
    return CensusMember(**{**fields, **changes})


def _census(*members: CensusMember) -> Census:
    names = sorted({member.service for member in members})
    return Census(
        {
            f"{name}.default": CensusGroup(
                name, "default", tuple(m for m in members if m.service == name)
            )
            for name in names
        }
    )


def _context(
    census: Census, *, me: int = 1, leader: int | None = None, plan: Plan = PLAN, **more: Any
) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "census": census,
        "group_name": "redis.default",
        "me": f"{me:02x}" * 16,
        "decision": TopologyDecision(leader=f"{leader:02x}" * 16 if leader else None),
        "plan": plan,
        "cfg": CFG,
        "paths": ServicePaths.of(Path("/state"), "redis"),
        "sys": SYS,
        "bound": look(plan, more.pop("binds", {}), census),
    }
    return build_context(**{**arguments, **more})


_KEYWORDS = {
    "$schema", "$defs", "$ref", "title", "description", "type", "properties", "required",
    "additionalProperties", "items", "anyOf", "enum",
}  # fmt: skip
_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def _is(value: Any, word: str) -> bool:
    if word in ("integer", "number"):
        return isinstance(value, (int, float) if word == "number" else int) and not isinstance(
            value, bool
        )
    return isinstance(value, _TYPES[word])


def _violations(value: Any, schema: dict[str, Any], path: str = "$") -> list[str]:
    """The subset of JSON Schema that the file uses; an unknown keyword fails the test."""
    assert not schema.keys() - _KEYWORDS, path
    found: list[str] = []
    if "$ref" in schema:
        found += _violations(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], path)
    if "anyOf" in schema:
        options: list[list[str]] = [_violations(value, option, path) for option in schema["anyOf"]]
        found += [] if [] in options else sorted(options, key=len)[0]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: {value!r}")
    words = schema.get("type", [])
    words = [words] if isinstance(words, str) else words
    if words and not any(_is(value, word) for word in words):
        return [*found, f"{path}: not {words}: {value!r:.60}"]
    if isinstance(value, dict):
        found += [
            f"{path}.{key} is missing" for key in schema.get("required", []) if key not in value
        ]
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        for key, item in value.items():
            if key in properties:
                found += _violations(item, properties[key], f"{path}.{key}")
            elif extra is False:
                found.append(f"{path}.{key} is not in the schema")
            elif isinstance(extra, dict):
                found += _violations(item, extra, f"{path}.{key}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += _violations(item, schema["items"], f"{path}[{index}]")
    return found


@pytest.mark.parametrize("leader", [None, 1, 2])
@pytest.mark.parametrize("plan", [PLAN, for_command("redis", "true")])
def test_context_is_as_the_schema_says(leader: int | None, plan: Plan) -> None:
    """Every name that templates may use is there, with its type, and no other."""
    census = _census(
        _member(1), _member(2, package="-", exports={}), _member(3, service="db", exports=DB)
    )
    context = _context(census, leader=leader, plan=plan, binds={"db": "db.default"})
    assert _violations(context, SCHEMA) == []


def test_schema_check_sees_what_is_wrong() -> None:
    """The checker in this file is not blind."""
    context = _context(_census(_member(1)))
    del context["svc"]["me"]["alive"]
    context["svc"]["leader"] = 3
    context["pkg"]["extra"] = ""
    assert len(_violations(context, SCHEMA)) == 3 + 2  # me is also first and in members


def test_context_of_follower_has_leader_in_both_spellings() -> None:
    """``{{#with svc.leader}}{{ip}} {{port}}`` and ``{{svc.leader.sys.ip}}``."""
    svc = _context(_census(_member(1), _member(2)), leader=2)["svc"]
    assert (svc["leader"]["ip"], svc["leader"]["port"]) == ("10.0.0.2", 6379)
    assert svc["leader"]["sys"]["ip"] == "10.0.0.2"
    assert svc["leader"]["cfg"] == {"port": 6379}
    assert (svc["me"]["leader"], svc["me"]["follower"]) == (False, True)
    assert svc["first"] is svc["leader"]
    assert (svc["election_is_finished"], svc["election_is_running"]) == (True, False)


def test_context_of_leader_is_not_follower() -> None:
    """The leader's own host sees itself."""
    svc = _context(_census(_member(1), _member(2)), leader=1)["svc"]
    assert (svc["me"]["leader"], svc["me"]["follower"]) == (True, False)
    assert svc["leader"]["member_id"] == svc["me"]["member_id"]


def test_context_without_leader_has_null_and_no_followers() -> None:
    """Nobody follows nobody; ``first`` is then the first present member."""
    svc = _context(_census(_member(1, state="dead"), _member(2), _member(3)), me=3)["svc"]
    assert svc["leader"] is None
    assert svc["first"]["member_id"] == "02" * 16
    assert not any(m["leader"] or m["follower"] for m in svc["members"])
    assert svc["election_is_running"]


def test_context_of_unknown_leader_is_as_without() -> None:
    """A leader that the census has not heard of can't be shown."""
    svc = _context(_census(_member(1)), leader=9)["svc"]
    assert svc["leader"] is None
    assert not svc["me"]["follower"]


def test_context_lists_present_members_only() -> None:
    """Alive and suspect; the flags carry Habitat's words."""
    census = _census(
        _member(1), _member(2, state="suspect"), _member(3, state="dead"), _member(4, state="left")
    )
    members = _context(census)["svc"]["members"]
    assert [(m["alive"], m["suspect"], m["confirmed"], m["departed"]) for m in members] == [
        (True, False, False, False),
        (False, True, False, False),
    ]


@pytest.mark.parametrize(
    ("topology", "dead", "leader", "flags"),
    [
        ("standalone", 0, None, (False, False, False)),
        ("leader", 0, None, (True, False, False)),
        ("leader", 2, None, (False, True, False)),
        ("leader", 0, 1, (False, False, True)),
    ],
)
def test_context_election_flags_follow_quorum_and_leader(
    topology: str, dead: int, leader: int | None, flags: tuple[bool, bool, bool]
) -> None:
    """At most one is true; where nobody elects, none is."""
    members = [
        _member(i, topology=topology, state="dead" if i > 3 - dead else "alive") for i in (1, 2, 3)
    ]
    svc = _context(_census(*members), leader=leader)["svc"]
    names = ("election_is_running", "election_is_no_quorum", "election_is_finished")
    assert tuple(svc[name] for name in names) == flags


def test_context_before_the_first_rumor_has_me_from_the_plan() -> None:
    """``svc.me`` exists from the first render on, in its place among the others."""
    svc = _context(_census(_member(2)))["svc"]
    assert svc["me"]["cfg"] == {"port": 6379}
    assert svc["me"]["ip"] == "10.0.0.1"
    assert [m["member_id"][:2] for m in svc["members"]] == ["01", "02"]


def test_context_bind_without_present_member_is_absent() -> None:
    """Habitat's rule: an unsatisfied bind is not there at all."""
    census = _census(
        _member(1),
        _member(5, service="db", exports=DB),
        _member(6, service="old", state="dead"),
        _member(7, service="db", exports=DB, state="dead"),
    )
    binds = {"db": "db.default", "old": "old.default", "none": "none.default"}
    bind = _context(census, binds=binds, leaders={"db.default": "05" * 16})["bind"]
    assert list(bind) == ["db"]
    assert bind["db"]["leader"]["ip"] == bind["db"]["first"]["ip"] == "10.0.0.5"
    assert [m["leader"] for m in bind["db"]["members"]] == [True]


def test_context_member_without_port_export_has_no_port() -> None:
    """A strict template then fails by name instead of printing nothing."""
    svc = _context(_census(_member(1, exports={"http": 80})))["svc"]
    assert "port" not in svc["me"]


def test_context_pkg_has_paths_and_exposed_values() -> None:
    """Paths are those of the host; ``exposes`` are the values as text."""
    pkg = _context(_census(_member(1)), package_dir=Path("/pkg"))["pkg"]
    assert pkg["ident"] == "acme/redis/7.2"
    assert pkg["path"] == "/pkg"
    assert pkg["svc_config_path"] == "/state/svc/redis/config"
    assert pkg["svc_data_path"] == "/state/svc/redis/data"
    assert pkg["exposes"] == ["6379"]
    assert (pkg["svc_user"], pkg["svc_group"]) == ("redis", "")


def test_context_cfg_is_plain_values() -> None:
    """Renderers see no dates, at any depth."""
    cfg = _context(_census(_member(1)))["cfg"]
    assert cfg == {"server": {"port": 6379}, "since": "2024-02-29", "list": ["2024-01-01"]}
    assert json.dumps(cfg)


def test_exported_leaves_out_what_cfg_does_not_have() -> None:
    """An export without value is absent, not null."""
    assert exported(PLAN, CFG) == {"port": 6379}
