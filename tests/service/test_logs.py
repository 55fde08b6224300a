"""The supervisor's own log: one line per event, whatever others put into it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sup import logs


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    """Other tests log as before."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], _ = before
    root.setLevel(before[1])


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_hostile_name_is_one_printable_line(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A member's name can't fake an event, and can't steer the terminal of who reads."""
    logs.configure(form, "info")
    name = "eve\x1b[2J\nERROR sup: all is lost\x9b\u202e"
    logging.getLogger("sup.x").info("member joined name=%s", name)
    try:
        raise ValueError(name)
    except ValueError:
        logging.getLogger("sup.x").exception("fault name=%s", name)
    out = capsys.readouterr().err
    assert all(c.isprintable() or c == "\n" for c in out)
    lines = out.splitlines()
    if form == "json":
        assert len([json.loads(line) for line in lines]) == 2
    else:
        assert "eve\\u001b[2J\\u000aERROR sup: all is lost\\u009b\\u202e" in lines[0]
        assert "fault" in lines[1]


def test_journal_lines_begin_with_a_priority_and_have_no_time(tmp_path: Path) -> None:
    """Where ``JOURNAL_STREAM`` names stderr, and only there; every line of a traceback has one."""
    script = (
        "import logging; from sup import logs; logs.configure('text', 'info')\n"
        "log = logging.getLogger('sup.x'); log.info('hello'); log.warning('hm')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: log.exception('ouch')\n"
    )
    file = tmp_path / "journal"
    for named in (True, False):
        file.write_text("")
        status = file.stat()
        stream = f"{status.st_dev}:{status.st_ino if named else 1}"
        with file.open("ab") as out:
            subprocess.run(
                [sys.executable, "-c", script],
                stderr=out,
                check=True,
                env={**os.environ, "JOURNAL_STREAM": stream},
            )
        lines = file.read_text().splitlines()
        if named:
            assert lines[:3] == [
                "<6>INFO sup.x: hello",
                "<4>WARNING sup.x: hm",
                "<3>ERROR sup.x: ouch",
            ]
            assert all(line.startswith("<3>") for line in lines[2:])
        else:
            assert lines[0][:2] == "20"
