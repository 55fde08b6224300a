"""What the launcher says for people: log lines on stderr, and one small file about itself.

The lines look like the supervisor's (``sup.logs``). Where stderr is the journal, which
``JOURNAL_STREAM`` says, they carry a priority and leave the time to the journal. The file,
``launcher.json`` in the state directory, tells ``sup upgrade`` how the supervisor does when it
can't answer itself.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PRIORITIES = {"ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
FILE = "launcher.json"
LINE_CHARS_MAX = 2000
PIPE_BUF = 4096


def is_journal(environment: Mapping[str, str], fd: int) -> bool:
    """Whether ``fd`` is the stream that ``JOURNAL_STREAM`` names. Source: systemd.exec(5)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


class Report:
    """The log of the launcher and its file; neither can make it fail."""

    def __init__(self, state_dir: str, log_format: str, environment: Mapping[str, str]) -> None:
        self._path = f"{state_dir}/{FILE}"
        self._json = log_format == "json"
        self._journal = is_journal(environment, 2)
        self._last = ""
        self._stderr = select.poll()
        self._stderr.register(2, select.POLLOUT)
        self.dropped = 0
        """Lines that stderr did not take since it took one."""

    def log(self, level: str, text: str) -> None:
        """One line on stderr; what is not printable is replaced."""
        line = self._line(level, text)
        try:
            # A pipe that nobody reads, or a stopped terminal, must not hold the launcher up: one
            # that is ready takes PIPE_BUF bytes without waiting. Source: pipe(7).
            if not self._stderr.poll(0):
                self.dropped += 1
                return
            if self.dropped:
                lost = self._line("WARNING", f"lines of this log dropped: {self.dropped}")
                line = f"{lost}\n{line}"
                self.dropped = 0
            os.write(2, line.encode("utf-8", "replace")[: PIPE_BUF - 1] + b"\n")
        except OSError:
            return

    def _line(self, level: str, text: str) -> str:
        text = "".join(c if c.isprintable() else "?" for c in text[:LINE_CHARS_MAX])
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp = f"{stamp}.{int(now * 1000) % 1000:03d}Z"
        if self._json:
            return _json(
                {"time": stamp, "level": level.lower(), "logger": "sup.launcher", "message": text}
            )
        prefix = f"<{PRIORITIES.get(level, 6)}>" if self._journal else f"{stamp} "
        return f"{prefix}{level} sup.launcher: {text}"

    def write(self, facts: dict[str, object]) -> None:
        """Replace the file when there is something new; it need not survive a power cut.

        Not before a supervisor was ready: until then the directory may be another launcher's.
        """
        text = _json(facts) + "\n"
        if text == self._last:
            return
        try:
            fd = os.open(
                f"{self._path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640
            )
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
            os.replace(f"{self._path}.tmp", self._path)
        except OSError:
            return
        self._last = text

    def remove(self) -> None:
        """The launcher ends; a file that it has not written is another's."""
        if not self._last:
            return
        try:
            os.unlink(self._path)
        except OSError:
            return


def _json(fields: dict[str, object]) -> str:
    """A flat object of strings, integers and booleans: what the json module is too large for."""
    items = []
    for key, value in fields.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int):
            text = str(value)
        else:
            escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
            text = '"' + "".join(c if c.isprintable() else "?" for c in escaped) + '"'
        items.append(f'"{key}": {text}')
    return "{" + ", ".join(items) + "}"
