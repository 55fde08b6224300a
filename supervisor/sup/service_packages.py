"""Everything about a spec's package that can be checked before it is loaded (floor 8).

What a package can't be used for is one line for the operator, here and not at its first start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sup.edge.package_dir import Package, hook_of, load_package, package_for_command
from sup.edge.render_files import CompiledPackage, compile_package
from sup.errors import OperatorError
from sup.model.binds import check_binds
from sup.model.check_settings import fill
from sup.model.config_layers import check_types, environment_layer, environment_name
from sup.model.health_plan import PROBE_HOOKS, TABLES
from sup.model.spec import Spec
from sup.plugins import Plugins
from sup.policies import HealthCheck


def resolve(spec: Spec, plugins: Plugins, cache_dir: Path | None = None) -> CompiledPackage:
    """Everything about ``spec`` that can be checked without touching the state directory.

    Reads the package directory; ``cache_dir`` is for what a ``plan.sh`` gave. Raises:
        OperatorError: one line: the package, a template, or a name that no active plugin provides.
    """
    for kind, name, known in (
        ("topology", spec.topology, plugins.topologies),
        ("update strategy", spec.strategy, plugins.strategies),
    ):
        if name not in known:
            raise OperatorError(_not_provided(kind, name, known))
    if spec.command is not None:
        package = package_for_command(spec.name, spec.command)
    else:
        assert spec.package_dir is not None
        package = load_package(Path(spec.package_dir), cache_dir=cache_dir)
    for probe in package.plan.service.probes:
        _check_probe(package, probe, plugins.health_checks)
    check_binds(package.plan, spec.binds)
    return compile_package(package, plugins.renderers)


def _check_probe(package: Package, probe: str, known: Mapping[str, HealthCheck]) -> None:
    """Refuse a check that nothing provides, that has no hook to run, or whose settings are wrong.

    Raises:
        OperatorError: one line.
    """
    plan, table = package.plan.service.probes[probe], TABLES[probe]
    check = known.get(plan.kind)
    if check is None:
        raise OperatorError(_not_provided("health check", plan.kind, known))
    hooks = {hook_of(Path(hook.name).name) for hook in package.hooks}
    if plan.kind == "exec" and probe == "liveness" and not hooks.intersection(PROBE_HOOKS[probe]):
        raise OperatorError(
            f"{package.plan.package.name}: {table} is of kind exec and there is no"
            f" hooks/{PROBE_HOOKS[probe][0]}; add it, or choose another kind"
        )
    validate = getattr(check, "check_settings", None)
    if validate is None:
        return
    try:
        settings = fill(plan.settings, package.default, f"{table}.settings")
    except OperatorError:
        return  # a value that only the running configuration has
    try:
        validate(settings)
    except ValueError as error:
        raise OperatorError(f"{package.plan.package.name}: {table}.settings: {error}") from None


def check_environment(name: str, compiled: CompiledPackage) -> None:
    """Refuse a variable of the environment that can't be a layer of this package's configuration.

    Raises:
        OperatorError: names the variable.
    """
    habitat = compiled.package.habitat is not None
    layer = environment_layer(name, os.environ, habitat=habitat)
    check_types(layer, compiled.default, file=environment_name(name))


def _not_provided(kind: str, name: str, known: Mapping[str, object]) -> str:
    there = ", ".join(sorted(known))
    return f'no active plugin provides {kind} "{name}" (there is: {there}); add --plugin NAME'
