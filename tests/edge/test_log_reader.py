"""Reading logs: the end, a span, what comes next, over rotations and torn lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sup.edge import log_reader
from sup.edge.log_reader import LogReader
from sup.model.log_lines import LogQuery, parse_line


def stamped(number: int, text: str = "") -> bytes:
    """Line ``number``, a second after the one before."""
    hours, rest = divmod(number, 3600)
    stamp = f"2026-11-{1 + hours // 24:02}T{hours % 24:02}:{rest // 60:02}:{rest % 60:02}.000000Z"
    return f"{stamp} {text or number}\n".encode()


def stamp_of(number: int) -> bytes:
    return stamped(number)[:27]


def everything(reader: LogReader) -> bytes:
    """All that the reader gives before it gives nothing."""
    data = b""
    while lines := reader.read():
        data += lines
    return data


def numbers(data: bytes) -> list[int]:
    return [int(parse_line(line).text) for line in data.splitlines()]


def spread(directory: Path, total: int, files: int) -> None:
    """``total`` lines over so many files."""
    each = -(-total // files)
    for index in range(files):
        part = range(index * each, min(total, (index + 1) * each))
        age = files - 1 - index
        path = directory / (f"a.log.{age}" if age else "a.log")
        path.write_bytes(b"".join(stamped(number) for number in part))


def read(directory: Path, query: LogQuery) -> bytes:
    reader = LogReader(directory, "a", query)
    try:
        return everything(reader)
    finally:
        reader.close()


@pytest.mark.parametrize("lines", [0, 1, 2, 9, 10, 11, 29, 30, 31, 1000])
def test_reader_tail_counts_over_rotated_files(tmp_path: Path, lines: int) -> None:
    """The last N lines, in order, whatever files they are in."""
    spread(tmp_path, 30, 3)
    assert numbers(read(tmp_path, LogQuery(lines))) == list(range(30))[max(0, 30 - lines) :]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=4),
    st.integers(0, 20),
    st.booleans(),
)
def test_reader_tail_of_any_files_is_the_end_of_all_lines(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], lines: int, torn: bool
) -> None:
    """Any lengths of lines, with blocks of 16 bytes, and a last line with or without an end."""
    directory = tmp_path_factory.mktemp("log")
    whole = b""
    for index, sizes in enumerate(files):
        data = b"".join(b"x" * size + b"\n" for size in sizes)
        age = len(files) - 1 - index
        if age == 0 and torn:
            data += b"torn"
        (directory / (f"a.log.{age}" if age else "a.log")).write_bytes(data)
        whole += data
    expected = whole.split(b"\n")[: None if torn else -1]
    before = log_reader.BLOCK_BYTES
    log_reader.BLOCK_BYTES = 16
    try:
        found = read(directory, LogQuery(lines))
    finally:
        log_reader.BLOCK_BYTES = before
    if lines == 0:
        expected = expected[-1:] if torn else []
    else:
        expected = expected[-lines:]
    assert found == b"".join(line + b"\n" for line in expected)


def test_reader_all_lines_are_read(tmp_path: Path) -> None:
    """Without a number: from the oldest file on, more than a block of each."""
    spread(tmp_path, 20_000, 4)
    assert numbers(read(tmp_path, LogQuery(None))) == list(range(20_000))


@pytest.mark.parametrize(
    ("since", "until"), [(0, 0), (5, 0), (7000, 7010), (0, 12), (19_999, 0), (30_000, 0), (20, 10)]
)
def test_reader_span_is_exact(tmp_path: Path, since: int, until: int) -> None:
    """Both ends belong to the span; blocks are left out, lines are not."""
    spread(tmp_path, 20_000, 3)
    query = LogQuery(None, stamp_of(since) if since else b"", stamp_of(until) if until else b"")
    wanted = [n for n in range(20_000) if n >= since and (not until or n <= until)]
    assert numbers(read(tmp_path, query)) == wanted


def test_reader_last_lines_of_a_span(tmp_path: Path) -> None:
    """``-n`` counts within the span, not before it is cut."""
    spread(tmp_path, 20_000, 3)
    query = LogQuery(3, stamp_of(100), stamp_of(9000))
    assert numbers(read(tmp_path, query)) == [8998, 8999, 9000]


def test_reader_span_after_the_clock_was_set_back(tmp_path: Path) -> None:
    """Stamps that go back a day hide no line that is within the span."""
    lines = [stamped(n) for n in range(90_000, 96_000)] + [stamped(n) for n in range(5_000)]
    lines += [stamped(n) for n in range(95_000, 99_000)]
    (tmp_path / "a.log").write_bytes(b"".join(lines))
    found = numbers(read(tmp_path, LogQuery(None, stamp_of(95_500))))
    assert found == [*range(95_500, 96_000), *range(95_500, 99_000)]


def test_reader_span_reads_little_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last minute of a large log costs a stamp per block, not the log."""
    spread(tmp_path, 80_000, 2)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    seen = 0
    pread = os.pread

    def counting(fd: int, count: int, offset: int) -> bytes:
        nonlocal seen
        data = pread(fd, count, offset)
        seen += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    assert len(numbers(read(tmp_path, LogQuery(None, stamp_of(79_940))))) == 60
    assert seen < size / 8


def test_reader_log_without_stamps_is_shown_whole(tmp_path: Path) -> None:
    """A log that was written without a launcher has no times to choose by."""
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    assert read(tmp_path, LogQuery(None, stamp_of(5))) == b"one\ntwo\n"


def test_reader_line_without_stamp_belongs_to_the_one_before(tmp_path: Path) -> None:
    """A line that somebody else appended has the time of its neighbour."""
    (tmp_path / "a.log").write_bytes(stamped(1) + b"early\n" + stamped(9) + b"late\n")
    assert read(tmp_path, LogQuery(None, stamp_of(5))) == stamped(9) + b"late\n"


def test_reader_no_log_is_no_line(tmp_path: Path) -> None:
    """A service that has not written yet, or a directory that is gone."""
    assert read(tmp_path, LogQuery(10)) == b""
    assert read(tmp_path / "gone", LogQuery(None)) == b""


def test_reader_follows_over_a_rotation(tmp_path: Path) -> None:
    """Lines before, between and after rotations come once and in order."""
    log = tmp_path / "a.log"
    log.write_bytes(stamped(0))
    reader = LogReader(tmp_path, "a", LogQuery(10, follow=True))
    assert everything(reader) == stamped(0)
    with log.open("ab") as file:
        file.write(stamped(1))
    log.rename(tmp_path / "a.log.1")
    log.write_bytes(stamped(2))
    assert numbers(everything(reader)) == [1, 2]
    (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
    log.rename(tmp_path / "a.log.1")
    assert everything(reader) == b""
    log.write_bytes(stamped(3))
    assert numbers(everything(reader)) == [3]
    reader.close()


def test_reader_that_fell_behind_is_told(tmp_path: Path) -> None:
    """Its file went off the end: it goes on with the oldest there is, and says so."""
    log = tmp_path / "a.log"
    log.write_bytes(stamped(0))
    reader = LogReader(tmp_path, "a", LogQuery(10, follow=True))
    assert everything(reader) == stamped(0)
    log.unlink()
    (tmp_path / "a.log.1").write_bytes(stamped(5))
    log.write_bytes(stamped(6))
    said, *lines = everything(reader).splitlines(keepends=True)
    assert b"!sup: lines were rotated away" in said
    assert numbers(b"".join(lines)) == [5, 6]
    reader.close()


def test_reader_deleted_directory_comes_back(tmp_path: Path) -> None:
    """The log that is begun anew is followed."""
    log = tmp_path / "logs/a.log"
    log.parent.mkdir()
    log.write_bytes(stamped(0))
    reader = LogReader(log.parent, "a", LogQuery(10, follow=True))
    assert everything(reader) == stamped(0)
    log.unlink()
    log.parent.rmdir()
    assert everything(reader) == b""
    log.parent.mkdir()
    log.write_bytes(stamped(1))
    assert everything(reader) == stamped(1)
    reader.close()


def test_reader_emptied_file_is_read_from_its_begin(tmp_path: Path) -> None:
    """A log without a launcher is rotated by copying it away."""
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntwo\n")
    reader = LogReader(tmp_path, "a", LogQuery(10, follow=True))
    assert everything(reader) == b"one\ntwo\n"
    log.write_bytes(b"three\n")
    assert everything(reader) == b"three\n"
    reader.close()


def test_reader_torn_line_is_shown_after_a_while_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is shown though its line has no end; the rest is marked as going on."""
    log = tmp_path / "a.log"
    log.write_bytes(stamped(0) + stamped(1, "name?")[:-1])
    reader = LogReader(tmp_path, "a", LogQuery(10, follow=True))
    assert everything(reader) == stamped(0)
    monkeypatch.setattr(log_reader, "TORN_SECONDS", 0.0)
    assert everything(reader) == stamped(1, "name?")
    with log.open("ab") as file:
        file.write(b" joe\n" + stamped(2))
    assert everything(reader) == stamp_of(1) + b"+ joe\n" + stamped(2)
    reader.close()


def test_reader_torn_line_that_only_ends_adds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newline of a prompt that was shown is no line of its own."""
    monkeypatch.setattr(log_reader, "TORN_SECONDS", 0.0)
    log = tmp_path / "a.log"
    log.write_bytes(stamped(1, "name?")[:-1])
    reader = LogReader(tmp_path, "a", LogQuery(10, follow=True))
    assert everything(reader) == stamped(1, "name?")
    with log.open("ab") as file:
        file.write(b"\n" + stamped(2))
    assert everything(reader) == stamped(2)
    reader.close()


def test_reader_endless_line_is_bounded(tmp_path: Path) -> None:
    """A log without stamps may hold one line of any length: it comes in parts."""
    (tmp_path / "a.log").write_bytes(b"x" * 3_000_000)
    reader = LogReader(tmp_path, "a", LogQuery(None))
    parts = []
    while part := reader.read():
        parts.append(len(part))
    reader.close()
    assert sum(parts) == 3_000_000 + len(parts)
    assert max(parts) <= log_reader.LINE_BYTES_MAX + log_reader.BLOCK_BYTES + 1


def test_reader_link_in_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    """The supervisor may read more than whoever made the link."""
    (tmp_path / "secret").write_bytes(b"secret\n")
    (tmp_path / "a.log").symlink_to(tmp_path / "secret")
    assert read(tmp_path, LogQuery(None)) == b""
