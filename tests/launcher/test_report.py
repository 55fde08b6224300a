"""The launcher's own log: it never waits for stderr."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

PROGRAM = """
from sup.launcher.report import Report
report = Report("/nonexistent", "text", {})
for number in range(500):
    report.log("INFO", f"line {number} " + "x" * 1000)
print("full", flush=True)
input()
report.log("INFO", "the last")
"""


def test_report_full_pipe_holds_nobody_up() -> None:
    """With a reader that stopped the launcher goes on; the loss is said when it reads again."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writer,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        os.close(writer)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"full\n"
            first = os.read(reader, 65536)
            process.communicate(b"\n", timeout=30)
            last = os.read(reader, 65536).decode().splitlines()
        finally:
            process.kill()
            os.close(reader)
    assert b" line 0 x" in first
    lost, line = last
    assert lost.endswith(f"lines of this log dropped: {500 - first.count(b' line ')}")
    assert line.endswith("INFO sup.launcher: the last")
