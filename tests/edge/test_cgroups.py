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
