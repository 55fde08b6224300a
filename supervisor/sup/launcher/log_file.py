"""Output of a service straight into its log file: what is done where there is no log engine.

The service holds the file itself, so neither our death nor our slowness touches it; nothing stamps
or rotates it then but the supervisor (``sup.edge.log_files``).
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LogTarget:
    """Where the output of one service goes; the fields of ``sup.edge.processes.LogTarget``."""

    __slots__ = ("directory", "files", "line_bytes_max", "max_bytes", "name")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.directory = str(fields["directory"])
        self.name = str(fields["name"])
        self.max_bytes = int(fields.get("max_bytes", 10 * 1024 * 1024))
        self.files = int(fields.get("files", 3))
        self.line_bytes_max = int(fields.get("line_bytes_max", 65536))


class LogFiles:
    """The interface of the log engine, with nothing between the service and its file."""

    def open(self, target: LogTarget, pid: int = 0) -> int:
        """Open the log for appending; the caller closes the descriptor. Raises ``OSError``."""
        path = f"{target.directory}/{target.name}.log"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        os.makedirs(target.directory, exist_ok=True)
        fd = os.open(path, flags | os.O_NONBLOCK, 0o640)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(22, "it is not a regular file", path)
        os.set_blocking(fd, True)
        return fd

    def close(self, name: str) -> None:
        """Nothing: the service held the file."""

    def tally(self) -> dict[str, tuple[Any, ...]]:
        return {}

    def stop(self) -> bool:
        """Nothing runs."""
        return True
