"""The one clock of the launcher."""

from __future__ import annotations

import time


def now_us() -> int:
    """µs of CLOCK_BOOTTIME: never back, and on while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
