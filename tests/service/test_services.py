"""Files that say what shall run: what can't be read is shown, and stops nothing."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.service.conftest import until

from sup.errors import ConflictError, OperatorError
from sup.group_configs import Held
from sup.model.census import CensusGroup
from sup.model.spec import Spec
from sup.plugins import load
from sup.policies import TopologyDecision
from sup.services import SERVICES_MAX, Loaded, Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """The services of a state directory, without a ring."""
    nothing = cast(Any, None)
    return Services(tmp_path, nothing, nothing, "me", dict, lambda: None, random.Random(1))


async def test_scan_specs_unreadable_keeps_what_is_loaded(
    services: Services, tmp_path: Path
) -> None:
    """A disk that does not answer is no wish to unload, and no end of the supervisor."""
    (tmp_path / "specs").write_text("not a directory")
    loaded = Loaded(Spec(name="web", command=["true"]))
    services.loaded["web"] = loaded
    assert services._read_specs() == {"web": loaded.spec}
    assert services.warnings == ["specs: not a directory"]
    (tmp_path / "specs").unlink()
    assert services._read_specs() == {}
    assert services.warnings == []


async def test_scan_user_toml_out_of_reach_is_a_warning(services: Services, tmp_path: Path) -> None:
    """The layer before it stays."""
    (tmp_path / "svc").write_text("not a directory")
    loaded = Loaded(Spec(name="web", command=["true"]), user={"a": 1})
    assert not services._read_user_toml("web", loaded)
    assert loaded.user == {"a": 1}
    assert services.warnings == ["svc/web/user.toml: not a directory"]


class NoConfigs:
    """Groups that nothing was ever applied to."""

    def get(self, group: object) -> Held:
        return Held()


def with_plugins(tmp_path: Path, **topologies: object) -> Services:
    """Services with the built-in policies, and these topologies."""
    plugins = load()
    plugins = dataclasses.replace(
        plugins, topologies={**plugins.topologies, **cast(Any, topologies)}
    )
    configs = cast(Any, NoConfigs())
    return Services(tmp_path, plugins, configs, "00" * 16, dict, lambda: None, random.Random(1))


class Failing:
    """A topology with a mistake in it."""

    def __init__(self, decision: object = None) -> None:
        self.decision = decision

    def decide(self, group: CensusGroup, me: str, now_us: int) -> TopologyDecision:
        if self.decision is None:
            raise ZeroDivisionError("by zero")
        return cast(TopologyDecision, self.decision)


@pytest.mark.parametrize(
    ("topology", "problem"),
    [(Failing(), "by zero"), (Failing("no decision"), "it returned 'no decision'")],
)
async def test_services_topology_that_fails_is_that_services_problem(
    tmp_path: Path, topology: Failing, problem: str
) -> None:
    """A plugin's mistake ends neither the scan nor the supervisor."""
    services = with_plugins(tmp_path, odd=topology)
    loaded = await services.wish(Spec(name="web", command=["sleep", "60"], topology="odd"))
    assert problem in loaded.problem
    await services.stop_all()


async def test_services_unload_of_the_last_of_a_package_uninstalls_it(tmp_path: Path) -> None:
    """Neither a reload nor the unloading of one of two does; a failure is answered."""
    services = with_plugins(tmp_path)
    package = tmp_path / "package"
    for hook, text in (("run", "exec sleep 60"), ("uninstall", "echo left > gone; exit 3")):
        path = package / "hooks" / hook
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (package / "plan.toml").write_text('[package]\nname = "web"\n')
    one = Spec(name="one", package_dir=str(package))
    two = Spec(name="two", package_dir=str(package))

    def gone(name: str) -> bool:
        return (tmp_path / "svc" / name / "gone").exists()

    async def up(name: str) -> None:
        service = services.loaded[name].service
        assert service is not None
        await until(lambda: service.status().process == "up")

    await services.wish(one)
    await services.wish(two)
    await up("one")
    await up("two")
    await services.wish(msgspec.structs.replace(one, health_interval=3.0))
    await up("one")
    assert not gone("one")
    assert await services.unwish("one") == ""
    assert not gone("one")
    assert await services.unwish("two") == "uninstall hook exited with code 3"
    assert gone("two")
    await services.stop_all()


async def test_services_wish_after_the_end_starts_nothing(tmp_path: Path) -> None:
    """A request that comes while the supervisor ends must not leave a process behind."""
    services = with_plugins(tmp_path)
    await services.stop_all()
    with pytest.raises(ConflictError, match="ends"):
        await services.wish(Spec(name="web", command=["sleep", "60"]))
    with pytest.raises(ConflictError, match="ends"):
        await services.scan()
    assert not (tmp_path / "specs" / "web.toml").exists()


async def test_services_wish_over_the_limit_writes_nothing(tmp_path: Path) -> None:
    """One line, and no file that would be refused at each scan from then on."""
    services = with_plugins(tmp_path)
    for number in range(SERVICES_MAX):
        services.loaded[f"s{number}"] = Loaded(Spec(name=f"s{number}", command=["true"]))
    with pytest.raises(OperatorError, match="256 services are loaded, the limit"):
        await services.wish(Spec(name="web", command=["true"]))
    assert not (tmp_path / "specs").exists()


async def test_services_unload_takes_the_warning_about_its_user_toml_along(tmp_path: Path) -> None:
    """A warning about a service that is gone could never be mended."""
    services = with_plugins(tmp_path)
    (tmp_path / "svc" / "web").mkdir(parents=True)
    (tmp_path / "svc" / "web" / "user.toml").write_text("a = ")
    await services.wish(Spec(name="web", command=["sleep", "60"], desired="down"))
    assert len(services.warnings) == 1
    await services.unwish("web")
    assert services.warnings == []
    await services.stop_all()
