"""The log file of one service: where its output goes, bounded in size, readable from its end.

The service holds the file itself (opened for appending), so no process of ours stands between it
and the disk and none can block it or lose a line by dying. The price is that the bound is kept by
copying the file away and truncating it in place (append mode makes the next write start at 0):
lines written between the copy and the truncation, some microseconds, are lost, and a service can
overshoot the bound between two looks; the time of the next look follows the growth. All functions
block: call them in a thread.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from sup.errors import ExitCode, OperatorError

LOG_BYTES_MAX = 10 * 1024 * 1024
"""Size at which the file is rotated: a few hours of a talkative service, and still quick to copy.
"""
LOG_FILES_MAX = 3
"""NAME.log and two older ones (NAME.log.1, NAME.log.2): 30 MiB of disk for a service."""
LOOK_MIN_S = 0.25
LOOK_MAX_S = 10.0
TAIL_BYTES_MAX = 64 * 1024
COPY_BYTES = 256 * 1024


def open_log(path: Path) -> int:
    """Open the log for appending, made if need be (0640); the caller closes the descriptor.

    A link in the place of the file is refused: the supervisor may be root and would truncate its
    target.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, flags, 0o640)
    except OSError as error:
        raise OperatorError(
            f"can't open the log {path}: {error.strerror}", ExitCode.FAILED
        ) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OperatorError(f"can't open the log {path}: it is not a regular file", ExitCode.FAILED)
    os.set_blocking(fd, True)
    return fd


class LogBound:
    """Keeps one log within its bound; ``look`` says when to look again."""

    def __init__(
        self, path: Path, *, bytes_max: int = LOG_BYTES_MAX, files_max: int = LOG_FILES_MAX
    ) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._size = 0
        self._looked_s = time.monotonic()
        self.rotations = 0

    def look(self) -> float:
        """Rotate if the file is too large; return the seconds until the next look."""
        now_s = time.monotonic()
        try:
            size = self._path.lstat().st_size
        except OSError:
            return LOOK_MAX_S
        growth = max(0.0, (size - self._size) / max(now_s - self._looked_s, 0.001))
        if size >= self._bytes_max:
            rotate(self._path, bytes_max=self._bytes_max, files_max=self._files_max)
            self.rotations += 1
            size = 0
        self._size, self._looked_s = size, now_s
        if growth <= 0:
            return LOOK_MAX_S
        return min(LOOK_MAX_S, max(LOOK_MIN_S, (self._bytes_max - size) / growth / 2))


def rotate(path: Path, *, bytes_max: int = LOG_BYTES_MAX, files_max: int = LOG_FILES_MAX) -> None:
    """Move the content of ``path`` to ``path.1`` (older ones one further) and empty it.

    At most the last ``bytes_max`` bytes are kept. If the copy can't be written (full disk) the
    content is dropped: room for the service matters more than its history.
    """
    for number in range(files_max - 1, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            os.replace(older, path.with_name(f"{path.name}.{number}"))
    first = path.with_name(f"{path.name}.1")
    source = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return
        if files_max > 1:
            try:
                _copy_tail(source, first, bytes_max)
            except OSError:
                first.unlink(missing_ok=True)
        os.ftruncate(source, 0)
    finally:
        os.close(source)


def tail(path: Path, *, lines: int = 100, bytes_max: int = TAIL_BYTES_MAX) -> str:
    """The last ``lines`` lines of the log, at most ``bytes_max`` bytes; empty when there is none.

    Reads on into ``path.1`` when the file was rotated a moment ago.
    """
    data = b""
    for name in (path, path.with_name(f"{path.name}.1")):
        data = _read_tail(name, bytes_max - len(data)) + data
        if len(data) >= bytes_max or data.count(b"\n") > lines:
            break
    kept = data.decode("utf-8", "replace").splitlines(keepends=True)[-lines:] if lines > 0 else []
    return "".join(kept)


def _read_tail(path: Path, bytes_max: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, bytes_max, max(0, size - bytes_max))
    finally:
        os.close(fd)


def _copy_tail(source: int, target: Path, bytes_max: int) -> None:
    offset = max(0, os.fstat(source).st_size - bytes_max)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    copy = os.open(target, flags, 0o640)
    try:
        # A service that writes faster than we copy would keep us here for ever: twice the bound is
        # enough.
        end = offset + 2 * bytes_max
        while offset < end and (data := os.pread(source, COPY_BYTES, offset)):
            view = memoryview(data)
            while view:
                view = view[os.write(copy, view) :]
            offset += len(data)
    finally:
        os.close(copy)
