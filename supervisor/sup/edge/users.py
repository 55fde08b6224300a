"""Whose rights a service runs with: user and group names to numbers.

Only root can change user. Without that right every service and hook runs as the supervisor's own
user, whatever the plan says; the caller tells the operator once. Looking up a name can ask a
directory server, so callers on the event loop run this in a thread.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from sup.errors import ExitCode, OperatorError


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user as the kernel knows it; ``groups`` are the supplementary ones."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def resolve_credentials(user: str | None, group: str | None) -> Credentials | None:
    """Whom to run as, or None: as the supervisor itself.

    Raises:
        OperatorError: the user or group does not exist on this host.
    """
    if os.geteuid() != 0 or (not user and not group):
        return None
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise OperatorError(
            f"user {user!r} does not exist on this host; create it or change [service] user",
            ExitCode.FAILED,
        ) from None
    try:
        gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError:
        raise OperatorError(
            f"group {group!r} does not exist on this host; create it or change [service] group",
            ExitCode.FAILED,
        ) from None
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    return Credentials(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir, entry.pw_shell)
