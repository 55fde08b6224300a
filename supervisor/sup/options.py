"""What ``sup run`` was asked to do, as a value."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path

from sup.defaults import GOSSIP_ADDRESS, HTTP_ADDRESS, default_state_dir
from sup.model.spec import Spec


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """All settings of one supervisor; the defaults are those of ``sup run``."""

    state_dir: Path = field(default_factory=default_state_dir)
    """Directory of all that survives a restart; one supervisor per directory."""
    ring: str = "default"
    """Name of the ring; supervisors of another name are never spoken to."""
    name: str = field(default_factory=socket.gethostname)
    """Name of this supervisor in the ring."""
    listen_gossip: str = GOSSIP_ADDRESS
    """``host:port`` to bind for gossip, UDP and TCP; IPv6 in brackets."""
    advertise: str | None = None
    """``host[:port]`` that others reach this supervisor at; by default taken from the bind
    address.
    """
    listen_http: str | None = HTTP_ADDRESS
    """``host:port`` of the REST interface; None: unix socket only."""
    peers: tuple[str, ...] = ()
    """``host[:port]`` of members to join through, tried for ever; empty: others join here."""
    plugins: tuple[str, ...] = ()
    """Names of the plugins to load beside the built-ins, in this order."""
    log_format: str = "text"
    """``text`` or ``json``."""
    log_level: str = "info"
    """Lowest level that is logged: ``debug``, ``info``, ``warning`` or ``error``."""
    service: Spec | None = None
    """Service given on the command line; its spec file is written before the first
    reconciliation.
    """
    profile: str = "lan"
    """Timing of the gossip for one site (``lan``), several (``wan``) or one host (``local``)."""
    launcher_fd: int | None = None
    """Descriptor of the launcher's socket; None: services are children of the supervisor."""
    pause_tolerance_s: float | None = None
    """How long a member may stall without being declared dead, seconds; None: the profile's."""
