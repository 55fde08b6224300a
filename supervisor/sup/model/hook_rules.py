"""What a plan says of its hooks, and what their answers mean (pure).

``[service.hooks]`` has one time-out per hook, in seconds; a hook that it does not name has the
time-out of ``DEFAULT_TIMEOUTS_S``. The time-out of ``health-check`` is ``service.health.timeout``
and ``run`` has none, so neither is here. What each hook is for: ``docs/hooks.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

DEFAULT_TIMEOUTS_S: Mapping[str, float] = MappingProxyType(
    {
        "install": 600.0,  # unpacks and compiles; once per release
        "uninstall": 60.0,
        "init": 600.0,  # migrates databases and unpacks data
        "post-run": 60.0,
        "reconfigure": 60.0,  # talks to a running service, as post-run and file-updated do
        "suitability": 5.0,  # asked in the middle of an election
        "demote": 30.0,  # a lease runs out meanwhile
        "pre-update": 300.0,  # drains connections
        "post-stop": 30.0,  # delays a shutdown of the host
        "file-updated": 60.0,
    }
)
SUITABILITY_MAX = (1 << 63) - 1
"""A suitability is gossiped and compared as a signed 64-bit number."""

Seconds = Annotated[float, Meta(gt=0.0, le=86400.0)]


class HookTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """``[service.hooks]``: seconds that a hook may take; None: the default."""

    install: Seconds | None = None
    uninstall: Seconds | None = None
    init: Seconds | None = None
    post_run: Seconds | None = None
    reconfigure: Seconds | None = None
    suitability: Seconds | None = None
    demote: Seconds | None = None
    pre_update: Seconds | None = None
    post_stop: Seconds | None = None
    file_updated: Seconds | None = None

    def timeout_s(self, hook: str, default_s: float | None = None) -> float:
        """Seconds that ``hook`` may take: the plan's word, else ``default_s``, else the table's."""
        said: float | None = getattr(self, hook.replace("-", "_"), None)
        if said is not None:
            return said
        return DEFAULT_TIMEOUTS_S[hook] if default_s is None else default_s


def parse_suitability(stdout: str) -> int | None:
    """The integer in the last line that is not empty, or None: there is none, or out of bounds.

    Habitat's rule, and any 64-bit number here: a negative one is a number like any other.
    """
    last = next((line for line in reversed(stdout.splitlines()) if line.strip()), "").strip()
    digits = last.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        return None
    number = int(last)
    return number if -SUITABILITY_MAX - 1 <= number <= SUITABILITY_MAX else None
