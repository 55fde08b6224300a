"""Which cgroup is ours, and what is done with its files; a directory stands for the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.edge import cgroups
from sup.edge.cgroups import OWN, Cgroups, delegated, home


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/system.slice/sup.service", "/system.slice/sup.service"),
        (f"/system.slice/sup.service/{OWN}", "/system.slice/sup.service"),
        (f"/sup.1f/{OWN}", "/"),
        (f"/x/sup.1f/{OWN}", "/x"),
    ],
)
def test_home_is_the_same_before_and_after_the_launcher_has_moved(path: str, expected: str) -> None:
    """New code finds the subtree that the code before it was given."""
    assert home(path, "/sup.1f") == expected


def test_delegated_named_off_or_unusable(tmp_path: Path) -> None:
    """A directory that is named is used if it is a cgroup; off is off."""
    assert delegated({"SUP_CGROUP": "off"}, "/x") == ""
    assert delegated({"SUP_CGROUP": str(tmp_path)}, "/x") == ""
    (tmp_path / "cgroup.procs").touch()
    one = delegated({"SUP_CGROUP": str(tmp_path)}, "/x")
    assert one.startswith(f"{tmp_path}/sup.")
    assert one != delegated({"SUP_CGROUP": str(tmp_path)}, "/y")


def test_open_limits_without_a_controller_are_warnings(tmp_path: Path) -> None:
    """What can't be enforced is said; what is not asked for goes back to the default."""
    groups = Cgroups(str(tmp_path))
    group = tmp_path / "sup-db"
    group.mkdir()
    (group / "cgroup.procs").touch()
    (group / "pids.max").write_text("5")
    (group / "memory.max").write_text("max")
    directory, fd, warnings = groups.open("db", {"memory_max": 4096, "cpu_weight": 10})
    assert directory == str(group)
    os.close(fd)
    assert warnings == ["cpu_weight is not enforced: no controller cpu"]
    assert (group / "memory.max").read_text() == "4096"
    assert (group / "pids.max").read_text().startswith("max")


def test_remove_takes_empty_groups_below_first(tmp_path: Path) -> None:
    """A service may have made groups in its own."""
    (tmp_path / "sup-db" / "a" / "b").mkdir(parents=True)
    assert cgroups.remove(str(tmp_path / "sup-db"))
    assert not (tmp_path / "sup-db").exists()
    assert cgroups.remove(str(tmp_path / "sup-db"))


def test_made_tells_our_directory_from_a_unit(tmp_path: Path) -> None:
    """Nothing above a unit that systemd delegated is touched, whatever the unit is called."""
    (tmp_path / "cgroup.procs").touch()
    assert Cgroups(delegated({"SUP_CGROUP": str(tmp_path)}, "/x")).made
    assert not Cgroups("/sys/fs/cgroup/system.slice/sup.service").made
    assert not Cgroups("/sys/fs/cgroup/system.slice/sup.abc").made


def test_begin_in_a_unit_moves_below_and_leaves_what_is_above(tmp_path: Path) -> None:
    """The launcher goes to its own group; controllers are handed on in the unit alone."""
    above = tmp_path / "slice"
    unit = above / "sup.service"
    (unit / OWN).mkdir(parents=True)
    for directory in (above, unit, unit / OWN):
        for file in ("cgroup.procs", "cgroup.subtree_control"):
            (directory / file).touch()
    (above / "cgroup.controllers").write_text("memory pids cpu")
    (unit / "cgroup.controllers").write_text("memory")
    groups = Cgroups(str(unit))
    assert groups.begin() == ""
    assert (unit / OWN / "cgroup.procs").read_text() == "0"
    assert (unit / "cgroup.subtree_control").read_text() == "+memory"
    assert (above / "cgroup.subtree_control").read_text() == ""
    groups.end()
    assert (above / "cgroup.procs").read_text() == ""
