"""The socket on which services say how they do: ``report.sock`` in the state directory (floor 8).

A service may run as another user than the supervisor's, who can't open the control socket and must
not: it can start programs. This socket is open to all, answers those users alone that a service
with a check of kind ``ttl`` runs as, by what the kernel says of them, and takes nothing but the
report on such a service of theirs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from pathlib import Path

from sup.control import Control
from sup.errors import ExitCode
from sup.model.health_plan import TTL_KIND
from sup.model.service_paths import REPORT_SOCKET
from sup.routes import Answer, Request, SupervisorApi, problem
from sup.services import Loaded, Services

log = logging.getLogger("sup.gateway")

BACKLOG = 64
CLOSE_SECONDS = 2.0
_REPORT = re.compile(r"/v1/services/([A-Za-z0-9_.-]+)/health/ttl")


class ReportSocket:
    """Listens while the supervisor runs; without it services report over the control socket."""

    def __init__(self, api: SupervisorApi, state_dir: Path, services: Services) -> None:
        self._path = state_dir / REPORT_SOCKET
        self._services = services
        self._control = Control(api, self)

    async def open(self) -> None:
        """Bind and listen. The state directory is locked by this supervisor, so a socket that is
        there is a dead one's. A refusal is logged and stops nothing.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            self._path.unlink(missing_ok=True)
            sock.bind(os.fspath(self._path))
            self._path.chmod(0o666)  # who is answered is up to knows()
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            log.error("report socket %s can't be made: %s", self._path, error.strerror)
            return
        await self._control.open(sock)

    async def close(self) -> None:
        """Stop listening; requests in progress end."""
        await self._control.close(CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def knows(self, uid: int) -> bool:
        """Root, the supervisor's own user, and those of services with a ttl check."""
        return uid in (0, os.geteuid()) or any(
            _uid_of(loaded) == uid for loaded in self._services.loaded.values()
        )

    def refusal(self, request: Request, uid: int) -> Answer | None:
        """Anything but a report on a service that runs as this user is refused."""
        match = _REPORT.fullmatch(request.path)
        if request.method != "PUT" or match is None:
            return problem(
                403,
                "this socket takes reports alone: PUT /v1/services/NAME/health/ttl",
                ExitCode.BAD_INPUT,
            )
        loaded = self._services.loaded.get(match[1])
        if loaded is not None and uid not in (0, os.geteuid(), _uid_of(loaded)):
            return problem(
                403, f'service "{match[1]}" runs as another user than {uid}', ExitCode.BAD_INPUT
            )
        return None


def _uid_of(loaded: Loaded) -> int | None:
    """The user of a service that reports; None for one that does not."""
    if loaded.service is None or loaded.compiled is None:
        return None
    probes = loaded.compiled.plan.service.probes.values()
    return loaded.service.uid if any(probe.kind == TTL_KIND for probe in probes) else None
