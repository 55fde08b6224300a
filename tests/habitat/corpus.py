"""The corpus of plans, loaded and rendered as a supervisor would, without one.

As a program it measures any directory of plans: ``python -m tests.habitat.corpus DIR`` loads every
plan below it, renders what is a service in several roles, and says how many work and why others do
not.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sup.builtin.handlebars_renderer import HandlebarsRenderer
from sup.edge.package_dir import Package, load_package
from sup.edge.render_files import CompiledPackage, compile_package, render
from sup.errors import OperatorError
from sup.model.binds import Bound
from sup.model.census import Census, CensusGroup, CensusMember
from sup.model.health import Health
from sup.model.render_context import build_context, exported
from sup.model.service_group import ServiceGroup
from sup.model.service_paths import ServicePaths
from sup.policies import TopologyDecision

HERE = Path(__file__).parent
PLANS = HERE / "plans"
PROGRAMS = HERE / "programs"
ME, OTHER = "0a" * 16, "0b" * 16
ROLES = {"alone": None, "leader": ME, "follower": OTHER}


def plan_dirs(root: Path = PLANS) -> list[Path]:
    """The directories that ``sup start`` would be given."""
    found = {file.parent for file in root.rglob("plan.sh")}
    return sorted(place.parent if place.name == "habitat" else place for place in found)


def member(package: Package, member_id: str, number: int) -> CensusMember:
    """A member of the package's group that exports what its plan says."""
    return CensusMember(
        member_id=member_id,
        name=f"host-{number}",
        service=package.plan.package.name,
        group="default",
        state="alive",
        health=Health.OK,
        health_since_s=1,
        output="",
        process="up",
        package=package.plan.ident,
        topology="leader",
        strategy="none",
        exports=exported(package.plan, package.default),
        sys={"ip": f"10.0.0.{number}", "hostname": f"host-{number}"},
    )


def context(package: Package, role: str, root: Path, *, bound: bool = True) -> dict[str, Any]:
    """What the package's templates see in a group of two; every bind has both as its members."""
    plan = package.plan
    members = (member(package, ME, 1), member(package, OTHER, 2))
    group = CensusGroup(plan.package.name, "default", members)
    names = {**plan.binds, **plan.binds_optional} if bound else {}
    paths = ServicePaths.of(root, plan.package.name)
    return build_context(
        census=Census({group.name: group}),
        group_name=group.name,
        me=ME,
        decision=TopologyDecision(ROLES[role]),
        plan=plan,
        cfg=package.default,
        paths=paths,
        sys={"ip": "10.0.0.1", "hostname": "host-1"},
        bound=[Bound(n, ServiceGroup(plan.package.name, "default"), members) for n in names],
        **package.context(str(paths.root)),
    )


def compiled(directory: Path) -> CompiledPackage:
    """The package with its templates. Raises ``OperatorError``."""
    return compile_package(load_package(directory), {"": HandlebarsRenderer()})


def rendered(directory: Path, role: str = "alone", *, bound: bool = True) -> dict[str, str]:
    """Every file of the package by target, as text. Raises ``OperatorError``."""
    package = compiled(directory)
    seen = context(package.package, role, Path("/sup"), bound=bound)
    return {file.target: file.data.decode() for file in render(package, seen)}


def _judge(directory: Path) -> tuple[str, str]:
    try:
        package = compiled(directory)
    except OperatorError as error:
        return "library" if "nothing to run" in error.message else "not loaded", error.message
    try:
        for role in ROLES:
            for bound in (True, False):
                render(package, context(package.package, role, Path("/sup"), bound=bound))
    except OperatorError as error:
        return "not rendered", error.message
    return "works", ""


def main(root: Path) -> None:
    """Judge every plan below ``root``."""
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()
    for directory in plan_dirs(root):
        verdict, why = _judge(directory)
        counts[verdict] += 1
        if verdict not in ("works", "library"):
            sys.stdout.write(f"{verdict}: {why}\n")
    sys.stdout.write(", ".join(f"{n} {what}" for what, n in counts.most_common()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
