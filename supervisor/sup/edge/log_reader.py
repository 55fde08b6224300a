"""Reads a service's log over its rotated files: the end of it, a span of time, what comes next.

The files are NAME.log and, older with each number, NAME.log.1, NAME.log.2 … The reader keeps the
file it is in open, so a rotation takes nothing from under it; when that file has been rotated off
the end before it was read, it goes on with the oldest there is and says so. For a span of time it
looks at one stamp per 64 KiB and reads only what may be in it: as cheap as a binary search on the
disk's scale, and right after a clock was set back, when stamps are not in order. All functions
block on the disk: call them in a thread. Memory is bounded by the block and one line.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

from sup.model.log_lines import NO_STAMP, LogQuery, notice, stamp_in

BLOCK_BYTES = 64 * 1024
LINE_BYTES_MAX = 1024 * 1024 + 64
"""The longest line that a log engine writes; a longer one (of a log that it did not) is cut."""
PROBE_BYTES = 1024
"""Looked at to find a stamp; where a line is longer, nothing is skipped."""
FILES_MAX = 101
TORN_SECONDS = 1.0
"""A line without an end is shown as it is when nothing has come for so long."""


class LogReader:
    """One reading of one log. ``read`` gives whole lines, oldest first, until there are none."""

    def __init__(self, directory: Path, name: str, query: LogQuery) -> None:
        self._directory = directory
        self._base = f"{name}.log"
        self._numbered = re.compile(re.escape(self._base) + r"\.([1-9]\d{0,2})")
        self._query = query
        self._fd = -1
        self._offset = 0
        self._skip = 0
        """Matching lines that are left out: those before the last ``lines``."""
        self._pending = b""
        self._pending_since_s = 0.0
        self._shown_stamp = b""
        """Of a line whose begin was shown already."""
        self._stamp = b""
        self._started = False
        self._ended = False

    def close(self) -> None:
        """Free the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def read(self) -> bytes:
        """The next lines, some 64 KiB; nothing at the present end of the log."""
        if not self._started:
            self._started = True
            self._start()
        while True:
            data = self._read_block()
            if data is None:
                return self._torn()
            lines = self._wanted(data)
            if lines:
                return lines

    def _start(self) -> None:
        query = self._query
        if query.lines is None or query.since or query.until:
            if query.lines is not None:
                self._skip = max(0, self._count_wanted() - query.lines)
            self._open(self._files()[:1])
        else:
            self._seek_tail(query.lines)

    def _count_wanted(self) -> int:
        """How many lines there are within the span: one reading more, instead of keeping them."""
        counting = LogReader(
            self._directory,
            self._base.removesuffix(".log"),
            LogQuery(None, self._query.since, self._query.until),
        )
        try:
            count = 0
            while data := counting.read():
                count += data.count(b"\n")
            return count
        finally:
            counting.close()

    def _seek_tail(self, lines: int) -> None:
        """Stand before the last ``lines`` lines."""
        files = self._files()
        for path in reversed(files):
            fd = _open(path)
            if fd < 0:
                continue
            offset, lines = _tail_offset(fd, lines)
            if offset is None and path != files[0]:
                os.close(fd)
                continue
            self._stand(fd, offset or 0)
            return

    def _stand(self, fd: int, offset: int) -> None:
        self.close()
        self._fd, self._offset = fd, offset

    def _read_block(self) -> bytes | None:
        """More of the present file or the next; None at the end of the newest."""
        while True:
            if self._fd < 0 and not self._open(self._files()[:1]):
                return None
            size = os.fstat(self._fd).st_size
            if size < self._offset:  # emptied in place
                self._offset, self._pending, self._shown_stamp = 0, b"", b""
            self._jump(size)
            data = os.pread(self._fd, BLOCK_BYTES, self._offset)
            if data:
                self._offset += len(data)
                return data
            if not self._next_file():
                return None

    def _next_file(self) -> bool:
        """Go on to the file that was begun after this one, if there is one."""
        files = self._files()
        mine = _identity(os.fstat(self._fd))
        known = [_identity_of(path) for path in files]
        if None in known:
            return True  # a rotation is under way: look again
        newer = files[known.index(mine) + 1 :] if mine in known else files
        if not newer:
            return False
        if os.pread(self._fd, 1, self._offset):
            return True  # it was still written to before it was rotated
        if mine not in known and len(files) > 1:
            self._pending = notice(
                "lines were rotated away before they were read", self._stamp or NO_STAMP
            )
        return self._open(newer[:1])

    def _open(self, files: list[Path]) -> bool:
        for path in files:
            fd = _open(path)
            if fd >= 0:
                if self._pending and not self._pending.endswith(b"\n"):
                    self._pending += b"\n"  # the last line of a file ends with it
                self._stand(fd, 0)
                return True
        return False

    def _files(self) -> list[Path]:
        """The files of the log, oldest first."""
        try:
            with os.scandir(self._directory) as entries:
                names = [entry.name for entry in entries]
        except OSError:
            return []
        numbers = [int(match[1]) for name in names if (match := self._numbered.fullmatch(name))]
        found = [f"{self._base}.{number}" for number in sorted(numbers, reverse=True)]
        if self._base in names:
            found.append(self._base)
        return [self._directory / name for name in found[-FILES_MAX:]]

    def _jump(self, size: int) -> None:
        """Leave out blocks that begin and end outside of the span."""
        query = self._query
        if self._pending or not (query.since or query.until):
            return
        here = stamp_in(os.pread(self._fd, PROBE_BYTES, self._offset))
        while here and not query.wants(here) and self._offset + BLOCK_BYTES < size:
            probe = os.pread(self._fd, PROBE_BYTES, self._offset + BLOCK_BYTES)
            begin = probe.find(b"\n") + 1
            there = stamp_in(probe[begin:]) if begin else b""
            if not there or not _same_side(query, here, there):
                return
            self._offset += BLOCK_BYTES + begin
            here = self._stamp = there

    def _wanted(self, data: bytes) -> bytes:
        """Whole lines of ``data`` that were asked for; what has no end yet stays pending."""
        data = self._pending + data
        whole, newline, rest = data.rpartition(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            whole, newline, rest = data, b"\n", b""
        if rest != self._pending:
            self._pending_since_s = time.monotonic()
        self._pending = rest
        if not newline:
            return b""
        whole += b"\n"
        if self._shown_stamp:
            whole = whole[1:] if whole[:1] == b"\n" else self._shown_stamp + b"+" + whole
            self._shown_stamp = b""
        query = self._query
        if not (query.since or query.until or self._skip):
            self._stamp = stamp_in(whole[whole.rfind(b"\n", 0, -1) + 1 :]) or self._stamp
            return whole
        kept = []
        for line in whole[:-1].split(b"\n") if whole else ():
            self._stamp = stamp_in(line) or self._stamp
            if query.wants(self._stamp):
                if self._skip:
                    self._skip -= 1
                else:
                    kept.append(line + b"\n")
        return b"".join(kept)

    def _torn(self) -> bytes:
        """The last line as far as it has come, when no more of it comes."""
        waited_s = time.monotonic() - self._pending_since_s
        if not self._pending or (self._query.follow and waited_s < TORN_SECONDS):
            return b""
        stamp = self._shown_stamp or stamp_in(self._pending)
        lines = self._wanted(b"\n")
        self._shown_stamp = stamp
        return lines


def _tail_offset(fd: int, lines: int) -> tuple[int | None, int]:
    """Where the last ``lines`` lines of a file begin; None and how many are lacking if it has less.

    A last line without an end counts.
    """
    size = at = os.fstat(fd).st_size
    torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
    if lines == 0 and not torn:
        return size, 0
    # The newline before the first of them, counted from the end.
    number = max(lines, 1) if torn else lines + 1
    seen = 0
    while at > 0:
        begin = max(0, at - BLOCK_BYTES)
        block = os.pread(fd, at - begin, begin)
        ends = block.count(b"\n")
        if seen + ends >= number:
            place = len(block)
            for _ in range(number - seen):
                place = block.rfind(b"\n", 0, place)
            return begin + place + 1, 0
        seen += ends
        at = begin
    lacking = max(0, lines - seen - torn)
    return (None, lacking) if lacking else (0, 0)


def _same_side(query: LogQuery, here: bytes, there: bytes) -> bool:
    """Whether two stamps are both too early or both too late."""
    if here < query.since:
        return there < query.since
    return there > query.until


def _open(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return -1
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return -1


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path.lstat())
    except OSError:
        return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
