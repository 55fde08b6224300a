"""The supervisor's own log: one line per change of state on stderr, as text or as JSON.

Names, outputs and reasons in a line may come from other hosts, so nothing but printable text is
let through: no line can pass for two, and none can steer the terminal it is read on. Where
stderr is the journal (``JOURNAL_STREAM`` names it) a line of the text form begins with its
priority, ``<6>``, and leaves the time to the journal. Source: sd-daemon(3), systemd.exec(5).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from sup.model.plain_text import printable

PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Level to syslog priority, highest first; anything else is 7, debug."""
LEVELS = ("debug", "info", "warning", "error")


class _TextFormatter(logging.Formatter):
    """``message`` on one line; a traceback, of several lines, is our own text around it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = printable(record.message, keep="")
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei))


class _JournalFormatter(_TextFormatter):
    """With the priority in front of every line, those of a traceback too."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((n for least, n in PRIORITIES if record.levelno >= least), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


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


def is_journal(environment: Mapping[str, str], stream: TextIO) -> bool:
    """Whether ``stream`` is what ``JOURNAL_STREAM`` names, by device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(format_name: str, level: str) -> None:
    """Send the ``sup`` loggers to stderr; replaces what an earlier call set up."""
    handler = logging.StreamHandler(sys.stderr)
    if format_name == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        journal = is_journal(os.environ, sys.stderr)
        stamp = "" if journal else "%(asctime)s.%(msecs)03dZ "
        formatter = (_JournalFormatter if journal else _TextFormatter)(
            f"{stamp}%(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A loop that falls behind says so at WARNING; its other chatter is not an operator's business.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
