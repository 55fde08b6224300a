"""The supervisor's own log: one line per event, whatever others put into it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace

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


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A pipe in the place of stderr: its reading and its writing end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    stream = os.fdopen(writer, "w")
    # Not sys.stderr itself: pytest puts its own there between a fixture and its test.
    monkeypatch.setattr(logs, "sys", SimpleNamespace(stderr=stream))
    yield reader, writer
    with contextlib.suppress(OSError):
        stream.close()
    with contextlib.suppress(OSError):
        os.close(reader)


def test_log_full_pipe_holds_nobody_up(stderr: tuple[int, int]) -> None:
    """A reader that stopped costs 20 ms once; what it missed is counted, and the last lines come.

    The bound of ten seconds is for a machine under load: with waits it would be 40 s.
    """
    reader, _ = stderr
    logs.configure("text", "info")
    log = logging.getLogger("sup.x")
    begin = time.monotonic()
    for number in range(2000):
        log.info("line %d %s", number, "x" * 100)
    assert time.monotonic() - begin < 10
    data = b""
    for _ in range(1000):
        try:
            data += os.read(reader, 65536)
        except BlockingIOError:
            if b"line 2000" in data:
                break
            log.info("line 2000")
    text = data.decode()
    assert "lines of this log dropped: stderr took none" in text
    found = [int(n) for n in re.findall(r"line (\d+)", text)]
    assert found == sorted(found)
    assert set(found) >= {0, 1999, 2000}
    dropped = sum(int(n) for n in re.findall(r"(\d+) lines of this log dropped", text))
    assert len([n for n in found if n < 2000]) + dropped == 2000


def test_log_reader_that_has_gone_ends_nothing(stderr: tuple[int, int]) -> None:
    """EPIPE is neither an exception nor a signal."""
    reader, _ = stderr
    logs.configure("text", "info")
    os.close(reader)
    for _ in range(10):
        logging.getLogger("sup.x").error("nobody reads this")


def test_log_long_record_is_cut_in_its_middle(stderr: tuple[int, int]) -> None:
    """Begin and end of a traceback say most."""
    reader, writer = stderr
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    logs.configure("text", "info")
    logging.getLogger("sup.x").info("begin %s end", "x" * 100_000)
    data = os.read(reader, 65536)
    assert len(data) <= logs.LINE_BYTES_MAX + 10
    assert b"begin x" in data
    assert data.endswith(b"x end\n")


def test_log_in_the_journal_has_priority_and_no_time(
    stderr: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sd-daemon(3): a number in angle brackets before each line, also of a traceback."""
    reader, writer = stderr
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    status = os.fstat(writer)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    logs.configure("text", "info")
    logging.getLogger("sup.x").info("started")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("sup.x").exception("fault")
    lines = os.read(reader, 65536).decode().splitlines()
    assert lines[0] == "<6>INFO sup.x: started"
    assert lines[1] == "<3>ERROR sup.x: fault"
    assert all(line.startswith("<3>") for line in lines[1:])


def test_log_that_was_redirected_from_the_journal_has_its_time(
    stderr: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is inherited; only the stream that it names is the journal."""
    reader, _ = stderr
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    logs.configure("text", "info")
    logging.getLogger("sup.x").info("started")
    assert re.match(rb"\d{4}-\d\d-\d\dT[\d:.]+Z INFO sup.x: started\n", os.read(reader, 65536))


def test_log_record_that_does_not_fit_its_format_is_still_a_line(
    stderr: tuple[int, int],
) -> None:
    """A library's mistake must not become a traceback on stderr."""
    reader, _ = stderr
    logs.configure("text", "info")
    logging.getLogger("sup.x").info("%d items", "many")
    assert os.read(reader, 65536) == b"INFO sup.x: '%d items'\n"
