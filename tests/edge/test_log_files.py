"""The log of a service stays within its bound and can be read from its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.edge import log_files
from sup.edge.log_files import LogBound, open_log, rotate, tail
from sup.errors import OperatorError


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_look_large_file_is_rotated_and_the_writer_goes_on(tmp_path: Path) -> None:
    """The service keeps its descriptor; what it writes next stands at the start of the file."""
    log = tmp_path / "logs" / "a.log"
    fd = open_log(log)
    os.write(fd, b"x" * 99 + b"\n")
    bound = LogBound(log, bytes_max=100)
    bound.look()
    os.write(fd, b"after\n")
    os.close(fd)
    assert log.read_bytes() == b"after\n"
    assert (log.parent / "a.log.1").read_bytes() == b"x" * 99 + b"\n"
    assert bound.rotations == 1


def test_rotate_again_and_again_keeps_three_files(tmp_path: Path) -> None:
    """The oldest content goes; there are never more files than allowed."""
    log = tmp_path / "a.log"
    for number in range(6):
        log.write_text(f"{number}\n")
        rotate(log, bytes_max=100, files_max=3)
    assert names(tmp_path) == ["a.log", "a.log.1", "a.log.2"]
    assert log.read_text() == ""
    assert (tmp_path / "a.log.1").read_text() == "5\n"
    assert (tmp_path / "a.log.2").read_text() == "4\n"


def test_rotate_overshot_file_keeps_only_its_end(tmp_path: Path) -> None:
    """A file that grew far over the bound between two looks does not become a large old file."""
    log = tmp_path / "a.log"
    log.write_bytes(b"a" * 1000 + b"b" * 100)
    rotate(log, bytes_max=100, files_max=3)
    assert (tmp_path / "a.log.1").read_bytes() == b"b" * 100


def test_rotate_copy_impossible_still_empties_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the history is dropped rather than the bound."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log = tmp_path / "a.log"
    log.write_text("lines\n")
    monkeypatch.setattr(log_files, "_copy_tail", full)
    rotate(log, bytes_max=1, files_max=3)
    assert names(tmp_path) == ["a.log"]
    assert log.read_text() == ""


def test_look_idle_log_is_left_alone_for_long(tmp_path: Path) -> None:
    """A small and still log costs one look every ten seconds; so does a missing one."""
    log = tmp_path / "a.log"
    bound = LogBound(log)
    assert bound.look() == log_files.LOOK_MAX_S
    log.write_text("x\n")
    bound.look()
    assert bound.look() == log_files.LOOK_MAX_S
    assert log.read_text() == "x\n"


def test_look_fast_growth_brings_the_next_look_near(tmp_path: Path) -> None:
    """A log that grows fast is looked at before it can overshoot by much."""
    log = tmp_path / "a.log"
    bound = LogBound(log, bytes_max=10_000_000)
    log.write_bytes(b"x" * 9_000_000)
    assert bound.look() == log_files.LOOK_MIN_S


def test_open_log_link_is_refused(tmp_path: Path) -> None:
    """A link in the place of the log can't make the supervisor write elsewhere."""
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "a.log").symlink_to(target)
    with pytest.raises(OperatorError, match=r"can't open the log .*a\.log"):
        open_log(tmp_path / "a.log")
    assert target.read_text() == "keep"


def test_open_log_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """A named pipe without a reader neither blocks the supervisor nor becomes the log."""
    os.mkfifo(tmp_path / "a.log")
    with pytest.raises(OperatorError, match="can't open the log"):
        open_log(tmp_path / "a.log")


def test_tail_lines_and_bytes_are_bounded(tmp_path: Path) -> None:
    """The end of the log, by lines or by bytes, whichever is less."""
    log = tmp_path / "a.log"
    assert tail(log) == ""
    log.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert tail(log, lines=2) == "line 998\nline 999\n"
    assert tail(log, lines=0) == ""
    assert len(tail(log, lines=1000, bytes_max=50)) == 50


def test_tail_just_rotated_log_reads_on_in_the_older_file(tmp_path: Path) -> None:
    """A rotation a moment ago does not make the tail empty."""
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\n")
    rotate(log)
    log.write_text("three\n")
    assert tail(log, lines=2) == "two\nthree\n"
