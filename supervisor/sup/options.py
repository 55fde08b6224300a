"""What ``sup run`` was asked to do, as a value."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from sup.model.spec import Spec

GOSSIP_PORT = 9638
HTTP_PORT = 9631


def default_state_dir() -> Path:
    """``/var/lib/sup`` for root, else ``$XDG_STATE_HOME/sup`` or ``~/.local/state/sup``."""
    if os.geteuid() == 0:
        return Path("/var/lib/sup")
    state_home = os.environ.get("XDG_STATE_HOME")
    return (Path(state_home) if state_home else Path.home() / ".local" / "state") / "sup"


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """All settings of one supervisor; the defaults are those of ``sup run``."""

    state_dir: Path = field(default_factory=default_state_dir)
    ring: str = "default"
    name: str = field(default_factory=socket.gethostname)
    """Name of this supervisor in the ring."""
    listen_gossip: str = f"0.0.0.0:{GOSSIP_PORT}"
    advertise: str | None = None
    """``host[:port]`` that others reach this supervisor at; by default taken from the bind
    address.
    """
    listen_http: str | None = f"127.0.0.1:{HTTP_PORT}"
    """``host:port`` of the REST interface; None: unix socket only."""
    peers: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    log_format: str = "text"
    log_level: str = "info"
    service: Spec | None = None
    """Service given on the command line; its spec file is written before the first
    reconciliation.
    """
    pause_tolerance_s: float = 2.0
    """How long a member may stall without being declared dead, seconds."""
