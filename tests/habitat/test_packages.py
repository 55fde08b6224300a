"""Where the packages of a plan are on this host, whose user it gets, and the link in /hab/svc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.edge import habitat_packages
from sup.edge.habitat_packages import (
    PackagePlaces,
    account_of_host,
    link_service,
)
from sup.errors import OperatorError


def _release(root: Path, ident: str) -> Path:
    path = root / ident
    (path / "bin").mkdir(parents=True)
    return path


def test_place_of_a_mapped_package_wins(tmp_path: Path) -> None:
    """The operator's word goes before what is installed; by full ident, by name, or bare."""
    _release(tmp_path, "core/redis/7.0/20260101000000")
    places = PackagePlaces({"core/redis": "/opt/redis", "core/node/18.1": "/opt/node"}, tmp_path)
    assert places.path_of("core/redis") == "/opt/redis"
    assert places.path_of("core/redis/7.0") == "/opt/redis"
    assert places.path_of("core/node/18.1") == "/opt/node"
    assert places.path_of("core/node") == "/usr"
    assert len(places.warnings()) == 1
    assert "core/node" in places.warnings()[0]


def test_place_of_an_installed_package_is_its_newest_release(tmp_path: Path) -> None:
    """Versions and releases in their order as numbers: 1.10 is newer than 1.9."""
    _release(tmp_path, "core/redis/1.9/20260301000000")
    newest = _release(tmp_path, "core/redis/1.10/20260101000000")
    older = _release(tmp_path, "core/redis/1.10/20250101000000")
    places = PackagePlaces({}, tmp_path)
    found = places.find("core/redis")
    assert found.path == str(newest)
    assert found.ident == "core/redis/1.10/20260101000000"
    assert places.path_of("redis") == str(newest)
    assert places.path_of("core/redis/1.9") == str(tmp_path / "core/redis/1.9/20260301000000")
    assert places.path_of("core/redis/1.10/20250101000000") == str(older)
    assert places.bin_dirs(found) == [str(newest / "bin")]
    (newest / "PATH").write_text("/hab/pkgs/a/bin:/hab/pkgs/b/bin:relative\n")
    assert places.bin_dirs(found) == ["/hab/pkgs/a/bin", "/hab/pkgs/b/bin"]
    assert places.warnings() == []


@pytest.mark.parametrize(
    "ident", ["", "..", "../../etc", "core/../../etc", "a/b/c/d/e", "*", "a b"]
)
def test_place_of_nonsense_is_the_system(tmp_path: Path, ident: str) -> None:
    """No ident leads out of the root, and none is an exception."""
    _release(tmp_path / "pkgs", "core/redis/1/2")
    assert PackagePlaces({}, tmp_path / "pkgs").path_of(ident) == "/usr"


def test_place_of_the_plans_own_package(tmp_path: Path) -> None:
    """Map, installed, its own directory when its programs are there, the system at last."""
    plan = tmp_path / "plan"
    plan.mkdir()
    places = PackagePlaces({}, tmp_path / "pkgs")
    assert places.prefix("core/x/1", plan, []) == str(plan)
    assert places.warnings() == []
    assert places.prefix("core/x/1", plan, ["bin"]) == "/usr"
    assert "core/x/1" in places.warnings()[0]
    (plan / "bin").mkdir()
    assert places.prefix("core/x/1", plan, ["bin"]) == str(plan)
    habitat = plan / "habitat"
    habitat.mkdir()
    assert places.prefix("core/x/1", habitat, ["bin"]) == str(plan)
    installed = _release(tmp_path / "pkgs", "core/x/1/20260101000000")
    assert places.prefix("core/x/1", plan, ["bin"]) == str(installed)


def test_packages_map_that_is_wrong_names_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that the operator named has to be there and to hold absolute directories."""
    file = tmp_path / "packages.toml"
    monkeypatch.setenv("SUP_PACKAGES", str(file))
    with pytest.raises(OperatorError, match=r"packages\.toml: no such file"):
        PackagePlaces.of_host()
    file.write_text('"core/redis" = "opt/redis"\n')
    with pytest.raises(OperatorError, match=r"core/redis.*absolute"):
        PackagePlaces.of_host()


def test_account_of_root_falls_back_when_hab_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """hab is used where it exists, else the supervisor's own user with a warning."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(habitat_packages, "_exists", lambda _look_up, name: name != "hab")
    warnings: list[str] = []
    assert account_of_host("hab", "hab", warnings)[0] == habitat_packages._name_of_user()
    assert "useradd" in warnings[0]
    warnings.clear()
    assert account_of_host("root", "hab", warnings) == ("root", "root")
    assert account_of_host("www", "www", warnings) == ("www", "www")
    assert warnings == []
    monkeypatch.setattr(habitat_packages, "_exists", lambda *_: True)
    assert account_of_host("hab", "hab", warnings) == ("hab", "hab")


def test_account_of_anybody_else_is_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to change user, templates get the user that it really is."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(os, "getegid", lambda: 65534)
    warnings: list[str] = []
    assert account_of_host("postgres", "postgres", warnings) == account_of_host("hab", "hab", [])
    assert warnings == []


def test_link_is_made_only_where_the_operator_wants_it(tmp_path: Path) -> None:
    """/hab/svc has to exist; another's link and a directory stay; a dead link goes."""
    root, state = tmp_path / "hab-svc", tmp_path / "state" / "svc" / "redis"
    state.mkdir(parents=True)
    assert link_service("redis", state, root) == ""
    assert not root.exists()
    root.mkdir()
    for _ in range(2):
        assert link_service("redis", state, root) == ""
        assert (root / "redis").resolve() == state
    other = tmp_path / "other"
    other.mkdir()
    assert "it stays" in link_service("redis", other, root)
    assert (root / "redis").resolve() == state
    state.rmdir()
    assert link_service("redis", other, root) == ""
    assert (root / "redis").resolve() == other
    (root / "mysql").mkdir()
    assert "is not a link" in link_service("mysql", other, root)
    assert sorted(entry.name for entry in root.iterdir()) == ["mysql", "redis"]
