"""What do the libraries that could make an HTTP check cost in a supervisor's memory?

Each row is a process of its own that has imported the supervisor, then the library; shown is the
growth of its private dirty memory (``/proc/self/smaps_rollup``), median of five processes.
``python bench/check_memory.py``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 5
ROWS = {
    "plugin health-tcp": "import sup_health_tcp.plugin as p; p.sup_health_checks()",
    "plugin health-http (h11)": "import sup_health_http.plugin as p; p.sup_health_checks()",
    "http.client": "import http.client",
    "aiohttp": "import aiohttp",
    "a TLS context with the system's certificates": "import ssl; c = ssl.create_default_context()",
}
PROGRAM = """
import gc, sys, ssl, asyncio, uvloop, sup.supervisor
def private():
    gc.collect()
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
before = private()
exec(sys.argv[1])
print(private() - before)
"""


def main() -> None:
    """Print the table."""
    for name, statement in ROWS.items():
        grown = [
            int(
                subprocess.run(
                    [sys.executable, "-c", PROGRAM, statement],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(RUNS)
        ]
        print(f"{name:46} {statistics.median(grown):6.0f} KB")


if __name__ == "__main__":
    main()
