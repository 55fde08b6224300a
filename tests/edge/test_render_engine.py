"""Files, context and the real engine together: the leader's address in a follower's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sup.edge.package_dir import Package, TemplateFile
from sup.edge.render_files import compile_package, needs_render, render
from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.health import Health
from sup.model.plan import Plan, parse_plan
from sup.model.render_context import build_context
from sup.model.service_paths import ServicePaths
from sup.policies import TopologyDecision

engine: Any = pytest.importorskip("sup.builtin.handlebars_renderer")


@pytest.mark.parametrize(
    "source",
    [
        "{{~#with svc.leader}}slaveof {{ip}} {{port}}{{/with}}",
        "{{#if svc.me.follower}}slaveof {{svc.leader.sys.ip}} {{svc.leader.cfg.port}}{{/if}}",
    ],
)
def test_render_real_handlebars_follower_gets_leaders_address(source: str) -> None:
    """Both spellings, with the real engine and the real context."""
    plan = parse_plan(b'[package]\nname="a"\n[exports]\nport="p"\n[service]\ncommand="x"', "p")
    package = Package(plan, templates=(TemplateFile("config/a", source, 0o644, "/pkg/config/a"),))
    compiled = compile_package(package, {"": engine.HandlebarsRenderer()})
    context = _context(plan, "2")
    (file,) = render(compiled, context)
    assert file.data == b"slaveof 10.0.0.2 6379"
    reads = {"config/a": file.reads}
    assert not needs_render(reads, context, _context(plan, "2"))
    assert needs_render(reads, context, _context(plan, "3"))


def _context(plan: Plan, leader: str) -> dict[str, Any]:
    members = tuple(
        CensusMember(
            member_id=str(number),
            name=f"host-{number}",
            service="a",
            group="default",
            state="alive",
            health=Health.OK,
            health_since_s=0,
            output="",
            process="up",
            package=plan.ident,
            topology="leader",
            strategy="none",
            exports={"port": 6379},
            sys={"ip": f"10.0.0.{number}"},
        )
        for number in (1, 2, 3)
    )
    return build_context(
        census=Census({"a.default": CensusGroup("a", "default", members)}),
        group_name="a.default",
        me="1",
        decision=TopologyDecision(leader=leader),
        plan=plan,
        cfg={"p": 6379},
        paths=ServicePaths(Path("/svc/a")),
        sys={"ip": "10.0.0.1"},
    )
