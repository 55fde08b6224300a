"""The log engine on real FIFOs and files: stamps, pieces, rotation, refusing disks, take-over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sup.launcher.log_engine import BYTES_MAX, FILES, LINE_BYTES_MAX, PIPE, LogEngine, stamp_of

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z([ +!])")
WIDTH = 28


@dataclass
class Target:
    """A log to be opened."""

    directory: Path
    name: str = "a"
    max_bytes: int = BYTES_MAX
    files: int = FILES
    line_bytes_max: int = LINE_BYTES_MAX


@pytest.fixture
def engine() -> Iterator[LogEngine]:
    """An engine that is stopped at the end, whatever happened."""
    engine = LogEngine()
    yield engine
    assert engine.stop()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.002)


def content(path: Path) -> bytes:
    """What the file holds; nothing when it is not there yet."""
    return path.read_bytes() if path.exists() else b""


def rotated(directory: Path, name: str = "a") -> list[Path]:
    """The files that were rotated away, oldest first."""
    return sorted(directory.glob(f"{name}.log.*"), key=lambda path: -int(path.suffix[1:]))


def whole(directory: Path, name: str = "a") -> bytes:
    """The log over its rotated files, oldest first."""
    return b"".join(
        content(file) for file in [*rotated(directory, name), directory / f"{name}.log"]
    )


def joined(data: bytes) -> bytes:
    """What the service wrote: stamps taken off, pieces put together, our own words left out."""
    text = bytearray()
    for line in data.split(b"\n")[:-1]:
        match = STAMP.match(line)
        assert match, line[:60]
        if match[1] == b"!":
            continue
        if match[1] == b"+":
            assert text.endswith(b"\n")
            del text[-1]
        text += line[WIDTH:] + b"\n"
    return bytes(text)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@pytest.mark.parametrize(
    ("wall_us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
        (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
        (1_709_251_199_000_000, "2024-02-29T23:59:59.000000Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        (253_402_300_800_000_000, "9999-12-31T23:59:59.000000Z"),
    ],
)
def test_stamp_of_known_times_is_rfc_3339(wall_us: int, text: str) -> None:
    """Leap days, centuries and the last second that four digits can write."""
    assert stamp_of(wall_us) == text


@given(st.integers(0, 253_402_300_799))
def test_stamp_of_any_second_agrees_with_the_c_library(second: int) -> None:
    """Our calendar is the calendar of gmtime for all years from 1970 to 9999."""
    year, month, day, hour, minute, sec, *_ = time.gmtime(second)
    expected = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{sec:02}.000007Z"
    assert stamp_of(second * 1_000_000 + 7) == expected


def test_engine_line_is_stamped_with_the_wall_clock(engine: LogEngine, tmp_path: Path) -> None:
    """A line has the time at which it came."""
    before = stamp_of(time.time_ns() // 1000)
    fd = engine.open(Target(tmp_path / "logs"))
    os.write(fd, b"hello\n")
    log = tmp_path / "logs/a.log"
    until(lambda: content(log).endswith(b"\n"))
    os.close(fd)
    stamp, text = log.read_text().split(" ", 1)
    assert text == "hello\n"
    assert before <= stamp <= stamp_of(time.time_ns() // 1000)


def test_engine_prompt_without_newline_shows_at_once(engine: LogEngine, tmp_path: Path) -> None:
    """What has no end yet is in the file, and the rest joins it on the same line."""
    fd = engine.open(Target(tmp_path))
    os.write(fd, b"name? ")
    log = tmp_path / "a.log"
    until(lambda: content(log).endswith(b" name? "))
    os.write(fd, b"joe\n")
    os.close(fd)
    until(lambda: content(log).endswith(b" name? joe\n"))


def test_engine_long_line_comes_in_marked_pieces(engine: LogEngine, tmp_path: Path) -> None:
    """A megabyte without newline is cut at the bound; '+' marks what goes on; nothing is lost."""
    fd = engine.open(Target(tmp_path))
    text = os.urandom(1_000_000).replace(b"\n", b"!") + b"\nnext\n"
    write_all(fd, text)
    os.close(fd)
    assert engine.stop()
    data = (tmp_path / "a.log").read_bytes()
    assert joined(data) == text
    pieces = data.split(b"\n")[:-1]
    assert max(map(len, pieces)) == LINE_BYTES_MAX + WIDTH
    assert [p[WIDTH - 1 : WIDTH] for p in pieces] == [b" "] + [b"+"] * (len(pieces) - 2) + [b" "]


def test_engine_line_of_exactly_the_bound_is_one_piece(engine: LogEngine, tmp_path: Path) -> None:
    """The newline after the last permitted byte makes no empty piece."""
    fd = engine.open(Target(tmp_path, line_bytes_max=128))
    write_all(fd, b"x" * 128 + b"\n" + b"y" * 129 + b"\n\n")
    os.close(fd)
    assert engine.stop()
    pieces = [line[WIDTH - 1 :] for line in (tmp_path / "a.log").read_bytes().split(b"\n")]
    assert pieces == [b" " + b"x" * 128, b" " + b"y" * 128, b"+y", b" ", b""]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from([b"\n", b"\n\n", b"x" * 127, b"x" * 128, b"x" * 129, b"y" * 1500]),
        ),
        max_size=20,
    ),
    st.sampled_from([128, 129, 1000, 8192]),
)
@example([b"", b"\n", b"x" * 128, b"\n"], 128)
@example([b"x" * 128, b"x", b"\n"], 128)
def test_engine_any_chunks_are_all_in_the_files(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], line_bytes_max: int
) -> None:
    """Whatever is written, in whatever portions: the files hold it in order, in bounded pieces."""
    directory = tmp_path_factory.mktemp("log")
    engine = LogEngine()
    fd = engine.open(Target(directory, max_bytes=16384, files=100, line_bytes_max=line_bytes_max))
    for chunk in chunks:
        write_all(fd, chunk)
    os.close(fd)
    engine.close("a")
    assert engine.stop()
    data = whole(directory)
    written = b"".join(chunks)
    assert joined(data) == (written if written.endswith(b"\n") or not written else written + b"\n")
    assert all(len(line) <= line_bytes_max + WIDTH for line in data.split(b"\n"))
    for file in rotated(directory):
        assert file.read_bytes().endswith(b"\n")
        assert file.stat().st_size <= 16384


def test_engine_rotation_under_load_keeps_every_number(engine: LogEngine, tmp_path: Path) -> None:
    """With enough files each number is there once, in order, and no line is cut."""
    fd = engine.open(Target(tmp_path, max_bytes=65536, files=100))
    count = 150_000
    write_all(fd, b"".join(b"%d\n" % number for number in range(count)))
    os.close(fd)
    assert engine.stop()
    assert engine.tally()["a"][4] > 50
    found = [int(line[WIDTH:]) for line in whole(tmp_path).splitlines()]
    assert found == list(range(count))


def test_engine_files_are_bounded_in_size_and_count(engine: LogEngine, tmp_path: Path) -> None:
    """The oldest file goes, and no file is larger than asked for."""
    fd = engine.open(Target(tmp_path, max_bytes=20_000, files=2, line_bytes_max=500))
    for _ in range(100):
        write_all(fd, b"some words on a line\n" * 100)
    os.close(fd)
    assert engine.stop()
    assert sorted(p.name for p in tmp_path.iterdir()) == [PIPE, "a.log", "a.log.1"]
    assert 19_000 < (tmp_path / "a.log.1").stat().st_size <= 20_000
    assert (tmp_path / "a.log").stat().st_size <= 20_000


def test_engine_fewer_files_than_before_removes_the_surplus(
    engine: LogEngine, tmp_path: Path
) -> None:
    """A lowered count frees the disk at the next rotation."""
    for number in range(1, 6):
        (tmp_path / f"a.log.{number}").write_bytes(b"old\n")
    fd = engine.open(Target(tmp_path, max_bytes=16384, files=3))
    write_all(fd, b"some words on a line\n" * 500)
    os.close(fd)
    assert engine.stop()
    assert [path.name for path in rotated(tmp_path)] == ["a.log.2", "a.log.1"]


def test_engine_one_file_is_begun_anew(engine: LogEngine, tmp_path: Path) -> None:
    """``files`` = 1 keeps no history."""
    fd = engine.open(Target(tmp_path, max_bytes=16384, files=1, line_bytes_max=500))
    write_all(fd, b"some words on a line\n" * 2000)
    os.close(fd)
    assert engine.stop()
    assert sorted(p.name for p in tmp_path.iterdir()) == [PIPE, "a.log"]
    assert (tmp_path / "a.log").stat().st_size <= 16384


def test_engine_deleted_directory_comes_back(engine: LogEngine, tmp_path: Path) -> None:
    """Lines after the deletion are in a new file; the service keeps its FIFO."""
    logs = tmp_path / "logs"
    fd = engine.open(Target(logs))
    os.write(fd, b"one\n")
    until(lambda: content(logs / "a.log") != b"")
    for path in list(logs.iterdir()):
        path.unlink()
    logs.rmdir()
    os.write(fd, b"two\n")
    until(lambda: content(logs / "a.log") != b"")
    assert (logs / "a.log").read_bytes()[WIDTH:] == b"two\n"
    again = engine.open(Target(logs))
    os.write(again, b"three\n")
    until(lambda: content(logs / "a.log").endswith(b"three\n"))
    os.close(fd)
    os.close(again)


def test_engine_refused_file_counts_and_reports(engine: LogEngine, tmp_path: Path) -> None:
    """A directory in the place of the file: lines are dropped and counted, and told of later."""
    logs = tmp_path / "logs"
    (logs / "a.log").mkdir(parents=True)
    fd = engine.open(Target(logs))
    write_all(fd, b"lost\n" * 1000)
    until(lambda: engine.tally()["a"][2] == 1000)
    assert engine.tally()["a"] == (1000, 5000, 1000, 5000, 0, "Is a directory")
    (logs / "a.log").rmdir()
    until(lambda: engine.tally()["a"][5] == "")
    os.write(fd, b"found\n")
    until(lambda: b"found" in content(logs / "a.log"))
    os.close(fd)
    report, line = (logs / "a.log").read_text().splitlines()
    assert re.fullmatch(
        r"\S{27}!sup: 1000 lines \(5000 bytes\) dropped in \d+\.\d{3} s: Is a directory", report
    )
    assert line[WIDTH:] == "found"


def test_engine_torn_last_line_is_ended_first(engine: LogEngine, tmp_path: Path) -> None:
    """What a crash left half-written stays as it is, and the next line is a line of its own."""
    (tmp_path / "a.log").write_bytes(b"2026-11-22T21:47:36.123456Z to")
    fd = engine.open(Target(tmp_path))
    os.write(fd, b"new\n")
    os.close(fd)
    assert engine.stop()
    torn, line = (tmp_path / "a.log").read_bytes().splitlines()
    assert torn == b"2026-11-22T21:47:36.123456Z to"
    assert line[WIDTH - 1 :] == b" new"


def test_engine_new_process_begins_a_line(engine: LogEngine, tmp_path: Path) -> None:
    """The last words of one process and the first of the next are two lines."""
    fd = engine.open(Target(tmp_path))
    os.write(fd, b"dying")
    until(lambda: content(tmp_path / "a.log").endswith(b"dying"))
    os.close(fd)
    fd = engine.open(Target(tmp_path))
    until(lambda: content(tmp_path / "a.log").endswith(b"dying\n"))
    os.write(fd, b"born\n")
    os.close(fd)
    assert engine.stop()
    assert joined((tmp_path / "a.log").read_bytes()) == b"dying\nborn\n"


def test_engine_reopen_follows_a_moved_file(engine: LogEngine, tmp_path: Path) -> None:
    """logrotate moves the file and asks; later lines are in the new one."""
    fd = engine.open(Target(tmp_path))
    os.write(fd, b"one\n")
    log = tmp_path / "a.log"
    until(lambda: content(log) != b"")
    log.rename(tmp_path / "moved")
    engine.reopen()
    until(log.exists)
    os.write(fd, b"two\n")
    os.close(fd)
    until(lambda: content(log).endswith(b" two\n"))
    assert (tmp_path / "moved").read_bytes().endswith(b" one\n")


def test_engine_close_writes_what_waits_and_forgets(engine: LogEngine, tmp_path: Path) -> None:
    """After close nothing is held: no counter, no descriptor."""
    os.close(engine.open(Target(tmp_path / "other", "other")))
    until(lambda: (tmp_path / "other/other.log").exists())
    before = len(os.listdir("/proc/self/fd"))
    fd = engine.open(Target(tmp_path))
    write_all(fd, b"word\n" * 10_000 + b"end")
    os.close(fd)
    engine.close("a")
    engine.close("unknown")
    until(lambda: len(os.listdir("/proc/self/fd")) == before)
    assert joined((tmp_path / "a.log").read_bytes()) == b"word\n" * 10_000 + b"end\n"
    assert list(engine.tally()) == ["other"]


def test_engine_link_in_place_of_the_log_is_refused(engine: LogEngine, tmp_path: Path) -> None:
    """A privileged engine must not write where a link points."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.log").symlink_to(tmp_path / "target")
    fd = engine.open(Target(tmp_path / "logs"))
    os.write(fd, b"word\n")
    until(lambda: engine.tally()["a"][2] == 1)
    os.close(fd)
    assert not (tmp_path / "target").exists()


def test_engine_stopped_refuses_a_log(engine: LogEngine, tmp_path: Path) -> None:
    """After stop there is no thread that would read the FIFO."""
    assert engine.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        engine.open(Target(tmp_path))


@pytest.mark.parametrize(
    ("name", "directory", "bounds"),
    [
        ("../a", "/tmp", {}),
        (".pipe", "/tmp", {}),
        ("", "/tmp", {}),
        ("a", "relative", {}),
        ("a", "/tmp", {"max_bytes": 100}),
        ("a", "/tmp", {"files": 0}),
        ("a", "/tmp", {"files": 101}),
        ("a", "/tmp", {"line_bytes_max": 1}),
        ("a", "/tmp", {"line_bytes_max": 2**21}),
    ],
)
def test_engine_bad_argument_is_refused(
    engine: LogEngine, name: str, directory: str, bounds: dict[str, int]
) -> None:
    """What is out of range is said, and nothing is opened."""
    with pytest.raises(ValueError, match=r"name of a log|absolute|range"):
        engine.open(Target(Path(directory), name, **bounds))
    assert engine.tally() == {}


def test_engine_stopped_loses_nothing_for_the_next(tmp_path: Path) -> None:
    """While a writer counts, engines follow one another; every number is there once, in order."""
    reader = LogEngine()
    fd = reader.open(Target(tmp_path, max_bytes=131072, files=100))
    writer = subprocess.Popen(
        [sys.executable, "-c", "for n in range(300_000): print(n)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=fd,
    )
    os.close(fd)
    try:
        for _ in range(20):
            assert reader.stop()
            time.sleep(0.005)
            for _ in range(2):  # the second of them may come and go within a line
                reader.stop()
                reader = LogEngine()
                target = Target(tmp_path, max_bytes=131072, files=100)
                os.close(reader.open(target, pid=writer.pid))
            time.sleep(0.01)
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
        assert writer.wait(60) == 0
    finally:
        writer.kill()
        writer.wait()
        reader.stop()
    assert joined(whole(tmp_path)) == b"".join(b"%d\n" % number for number in range(300_000))


def test_engine_two_hundred_services_are_kept_apart(engine: LogEngine, tmp_path: Path) -> None:
    """Each file has its own service's lines and all of them."""
    fds = {f"s{n}": engine.open(Target(tmp_path / f"s{n}", f"s{n}")) for n in range(200)}

    def speak(names: list[str]) -> None:
        for number in range(50):
            for name in names:
                os.write(fds[name], b"%s %d\n" % (name.encode(), number))

    names = list(fds)
    threads = [threading.Thread(target=speak, args=(names[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fd in fds.values():
        os.close(fd)
    assert engine.stop()
    for name in names:
        data = (tmp_path / name / f"{name}.log").read_bytes()
        assert joined(data) == b"".join(b"%s %d\n" % (name.encode(), n) for n in range(50))


def test_engine_service_may_open_dev_stdout(engine: LogEngine, tmp_path: Path) -> None:
    """A program that gave up root may still open /dev/stdout, as servers do for their access log.

    The directory is closed to it; the open file is not.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root to give up")
    tmp_path.chmod(0o700)
    fd = engine.open(Target(tmp_path / "logs"))
    program = (
        "import os; os.setgid(65534); os.setuid(65534); open('/dev/stdout', 'w').write('hi\\n')"
    )
    subprocess.run([sys.executable, "-c", program], stdout=fd, check=True, timeout=30)
    os.close(fd)
    assert engine.stop()
    assert joined((tmp_path / "logs/a.log").read_bytes()) == b"hi\n"
