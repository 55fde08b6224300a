"""The file of maintenances: durable before the answer, and never in the way of a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from sup.errors import OperatorError
from sup.maintenance import Maintenance
from sup.model.maintenance import Moment


class Clock:
    """A moment that tests move."""

    def __init__(self) -> None:
        self.wall_s, self.boot_s, self.boot_id = 1e6, 100.0, "a"

    def __call__(self) -> Moment:
        return Moment(self.wall_s, self.boot_s, self.boot_id)


async def test_maintenance_survives_a_restart_and_ends_in_its_time(tmp_path: Path) -> None:
    """The clock set back a day, and a supervisor started anew in between, change nothing."""
    clock = Clock()
    await Maintenance(tmp_path / "maintenance", clock).begin("db", "vacuum", 60.0)
    clock.wall_s -= 86400
    clock.boot_s += 59
    again = Maintenance(tmp_path / "maintenance", clock)
    assert again.reason("db") == "vacuum"
    assert [left_s for _, left_s in again.entries()] == [1.0]
    assert not again.expire()
    clock.boot_s += 2
    assert again.expire()
    assert again.reason("db") == ""
    assert Maintenance(tmp_path / "maintenance", clock).reason("db") == ""


async def test_file_truncated_anywhere_is_old_new_or_set_aside(tmp_path: Path) -> None:
    """Power may fail at any byte; the supervisor starts, and says what it could not read."""
    path = tmp_path / "maintenance"
    await Maintenance(path, Clock()).begin("db", "vacuum", None)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        found = Maintenance(path, Clock())
        assert found.reason("db") == ""
        assert "damaged" in found.warnings[0]
        assert not path.exists()
    path.write_bytes(whole)
    assert Maintenance(path, Clock()).reason("db") == "vacuum"


async def test_disk_that_refuses_changes_nothing(tmp_path: Path) -> None:
    """The answer is an error, and what was so before is so still."""
    found = Maintenance(tmp_path / "missing" / "maintenance", Clock())
    with pytest.raises(OperatorError, match="can't write"):
        await found.begin("db", "vacuum", None)
    assert found.reason("db") == ""
