"""Where things are when nobody says so; supervisor and command line must agree on it (floor 8).

It imports next to nothing, because every command reads it at its start.
"""

from __future__ import annotations

import os
from pathlib import Path

GOSSIP_ADDRESS = "0.0.0.0:9638"
HTTP_ADDRESS = "127.0.0.1:9631"


def default_state_dir() -> Path:
    """``/var/lib/sup`` for root, else ``$XDG_STATE_HOME/sup`` or ``~/.local/state/sup``."""
    if os.geteuid() == 0:
        return Path("/var/lib/sup")
    home = os.environ.get("XDG_STATE_HOME", "")
    # One that is not absolute is to be ignored (XDG Base Directory Specification).
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "sup"
