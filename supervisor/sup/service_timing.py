"""How long one service's hooks may take and when its health is first asked for (floor 8)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sup.model.restart_share import ShareTimes


@dataclass(frozen=True, slots=True)
class ServiceTiming:
    """Times of one service, seconds; tests shorten them."""

    first_check_s: float = 1.0
    """From the start to the first check: a service that dies at once never counts as ok."""
    bad_interval_s: float = 86400.0
    """Longest pause between checks of a service that is not ok, beside ``retry_interval``."""
    share: ShareTimes = field(default_factory=ShareTimes)
    """Waits before a restart for a failed check, for what the rest of the group says."""
    init_timeout_s: float = 600.0
    """Init hooks migrate databases and unpack data."""
    hook_timeout_s: float = 60.0
    """reconfigure and post-run: they talk to a running service."""
    post_stop_timeout_s: float = 30.0
    """Also delays a shutdown of the host, so it is short."""
