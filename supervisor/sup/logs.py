"""The supervisor's own log: one line per change of state on stderr, as text or as JSON.

Names, outputs and reasons in a line may come from other hosts, so nothing but printable text is
let through: no line can pass for two, and none can steer the terminal it is read on. Where stderr
is the journal (``JOURNAL_STREAM``), the text form has a priority (sd-daemon(3)) and no time.

A supervisor must not wait for whoever reads its log, or end with it: stderr is asked whether it
takes a line before it gets one. While it does not (a pipe that nobody reads, a stopped terminal),
some lines wait; what is more is counted, and said when it takes lines again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
from collections import deque
from typing import Any

from sup.model.plain_text import printable

LEVELS = ("debug", "info", "warning", "error")
PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Of the journal: syslog(3)."""
CHUNK_BYTES = 4096
"""``PIPE_BUF``: what a pipe or terminal that is ready takes without waiting. Source: pipe(7)."""
LINE_BYTES_MAX = 16 * 1024
"""Of one record; a traceback has about 4 KiB. The middle of a longer one is left out."""
WAITING_MAX = 256
"""Lines that wait for stderr: at most 4 MiB, and the last news rather than the first."""
PATIENCE_MS = 20
"""How long the first line that finds stderr full is held up: its reader may be a moment late."""


class _TextFormatter(logging.Formatter):
    """``message`` on one line; a traceback, of several lines, is our own text around it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = printable(record.message, keep="")
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = printable(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

    @staticmethod
    def _time(record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"


class StderrHandler(logging.Handler):
    """Writes records to a file descriptor; never waits for it and never fails."""

    def __init__(self, fd: int, *, journal: bool = False) -> None:
        super().__init__()
        self._fd = fd
        self._journal = journal
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._waiting: deque[bytes] = deque()
        self._stuck = False
        self.dropped = 0
        """Lines lost since it took one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or let it wait behind those that wait already."""
        try:
            line = self._line(record)
        except Exception:  # a record of a library whose arguments do not fit its format
            line = f"{record.levelname} {record.name}: {record.msg!r:.200}\n".encode()
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(line)
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as stderr takes it."""
        while self._waiting:
            if not self._ready(0 if self._stuck else PATIENCE_MS):
                self._stuck = True
                return
            self._stuck = False
            if self.dropped:
                words = f"{self.dropped} lines of this log dropped: stderr took none\n"
                self.dropped = 0
                if not self._write(words.encode()):
                    return
            if not self._write(self._waiting.popleft()):
                return

    def _line(self, record: logging.LogRecord) -> bytes:
        text = self.format(record)
        if self._journal:  # which takes each line of a traceback for a message
            prefix = f"<{PRIORITIES.get(record.levelname, 6)}>"
            text = prefix + text.replace("\n", f"\n{prefix}")
        data = text.encode("utf-8", "backslashreplace")
        if len(data) > LINE_BYTES_MAX:
            half = LINE_BYTES_MAX // 2
            data = data[:half] + b" ... " + data[-half:]
        return data + b"\n"

    def _write(self, line: bytes) -> bool:
        for at in range(0, len(line), CHUNK_BYTES):
            if at and not self._ready(PATIENCE_MS):
                self.dropped += 1  # the rest of this one
                return False
            try:
                os.write(self._fd, line[at : at + CHUNK_BYTES])
            except OSError:  # closed at the other end, or a full disk: both may pass
                self.dropped += 1
                return False
        return True

    def _ready(self, patience_ms: int) -> bool:
        # An error is an answer too: the write will say which, without waiting.
        return bool(self._poll.poll(patience_ms))


def is_journal(fd: int) -> bool:
    """Whether ``fd`` is the stream that ``JOURNAL_STREAM`` names. Source: systemd.exec(5)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def configure(format_name: str, level: str) -> None:
    """Send the ``sup`` loggers to stderr; replaces what an earlier call set up."""
    handler: logging.Handler
    journal = False
    try:
        fd = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        handler = logging.StreamHandler(sys.stderr)  # a stand-in for stderr, as in tests
    else:
        journal = format_name != "json" and is_journal(fd)
        handler = StderrHandler(fd, journal=journal)
    if format_name == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        stamp = "" if journal else "%(asctime)s.%(msecs)03dZ "
        formatter = _TextFormatter(
            f"{stamp}%(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A loop that falls behind says so at WARNING; its other chatter is not an operator's business.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
