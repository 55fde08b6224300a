"""Health of a service: the four words every supervisor uses, ordered from best to worst known.

The numbers are the exit codes of a ``health-check`` hook (Habitat's convention).
"""

from dataclasses import dataclass
from enum import IntEnum

OUTPUT_BYTES_MAX = 1024
"""Bytes of a check's last output that are kept and gossiped; the tail is kept."""
MAINTENANCE_CHARS_MAX = 200
"""Of the reason of a maintenance: a line."""


class Health(IntEnum):
    """Result of a health check; ``UNKNOWN`` also stands for a member that is not alive."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    @property
    def word(self) -> str:
        """Lower-case name, as shown and as stored."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one run of a health check said. ``output`` is at most ``OUTPUT_BYTES_MAX`` bytes."""

    health: Health
    output: str = ""
    elapsed_ms: int = 0
