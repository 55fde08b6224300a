"""Types of the compiled ``log_engine``."""

import os
from typing import Final, Protocol, final

BYTES_MAX: Final[int]
"""A file is rotated at this size: a few hours of a talkative service."""
FILES: Final[int]
"""NAME.log and two older ones (NAME.log.1, NAME.log.2): 30 MiB of disk for a service."""
LINE_BYTES_MAX: Final[int]
"""What is longer is cut into pieces: a line is something that people and tools read whole."""
BYTES_MAX_RANGE: Final[tuple[int, int]]
FILES_RANGE: Final[tuple[int, int]]
LINE_BYTES_MAX_RANGE: Final[tuple[int, int]]
STREAMS_MAX: Final[int]
STOP_SECONDS: Final[float]
PIPE: Final[str]
"""Name of the FIFO in a service's log directory."""
PIPE_MODE: Final[int]
PIPE_BYTES: Final[int]
PIPE_BYTES_PRIVILEGED: Final[int]
DIRECTORY_MODE: Final[int]

_Tally = tuple[int, int, int, int, int, str]
"""Lines, bytes, dropped lines, dropped bytes, rotations, and why the disk refuses now (or empty).

Lines and bytes are what the service wrote; dropped ones are among them."""

class _Target(Protocol):
    """Where a log goes and how it is bounded: ``sup.edge.processes.LogTarget``, or alike."""

    @property
    def directory(self) -> str | os.PathLike[str]: ...
    @property
    def name(self) -> str: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def line_bytes_max(self) -> int: ...

@final
class LogEngine:
    """Writes the logs of any number of services, on one C thread that the first of them starts.

    A log costs two file descriptors and some 300 bytes here, and a FIFO in the kernel that is as
    large as what waits in it. No call waits for a log file, but ``open`` makes the FIFO on disk.
    """

    def open(self, target: _Target, pid: int = 0) -> int:
        """Log to ``directory/NAME.log``; returns what the service gets as stdout and stderr.

        The descriptor (close-on-exec, blocking, read-write) is the caller's to close. Call it for
        each start of the service: a line that the last process left unfinished is ended. With the
        ``pid`` of a running service the engine takes over instead: it reads on from the FIFO that
        the process holds as its stdout or stderr, wherever its name is by now, within a line if
        need be.

        Bounds of the target:
            max_bytes: from 16 KiB; more than 1 TiB is taken for that. A file may be longer by one
                line that came in pieces.
            files: 1 to 100, NAME.log included.
            line_bytes_max: 128 to 1 MiB; more than half of ``max_bytes`` is taken for that.

        Raises:
            ValueError: an argument is out of range, or ``STREAMS_MAX`` logs are open.
            OSError: not even a pipe can be made, or no thread (no descriptor is left).
            RuntimeError: the engine has stopped.
        """

    def close(self, name: str) -> None:
        """Write what the FIFO holds (at most 4 MiB) and let go of it. Does not wait for that.

        For when no process of the service is left: one that still writes would wait for ever once
        the FIFO is full. An unknown name is ignored.
        """

    def reopen(self) -> None:
        """Open every file anew by its name: for who moved them away."""

    def tally(self) -> dict[str, _Tally]:
        """The counters of every open log, since it was opened by this engine."""

    def stop(self, timeout_s: float = ...) -> bool:
        """Write what the FIFOs hold (at most 4 MiB each) and end the thread; True when it ended.

        The services and their FIFOs are not touched: what they write from now on waits there for
        the engine that calls ``open`` with their pid. False when the disk holds the thread up
        longer than ``timeout_s``.
        """

@final
class StreamHandle:
    """Internal: owns the C structure of one log."""

def stamp_of(wall_us: int) -> str:
    """The 27 characters that a line written at ``wall_us`` (µs since 1970, UTC) begins with."""
