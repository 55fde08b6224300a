"""The unit file that ships with the documents."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "docs" / "sup.service"


def test_unit_file_is_the_one_that_the_document_argues_for() -> None:
    """The page shows the file as it is."""
    shown = re.search(r"```ini\n(.*?)```", (ROOT / "docs" / "systemd.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown[1] == UNIT.read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_unit_file_is_understood_by_systemd(tmp_path: Path) -> None:
    """No unknown key, no bad value."""
    unit = tmp_path / "sup.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/sup", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
