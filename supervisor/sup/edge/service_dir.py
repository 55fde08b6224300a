"""The directory of one service made ready for its user, and the environment its processes get.

The service may write in ``data``, ``var`` and ``files``; everything else stays ours and is readable
by its group, so that a service can't plant a link where a privileged supervisor writes. Nothing of
the supervisor's own environment is passed on but what the caller hands in; no secret is ever put
there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from sup.edge.habitat_packages import PATH_DEFAULT
from sup.edge.users import Credentials
from sup.model.plan import Plan
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec

DIRECTORY_MODE = 0o750


def prepare_directory(paths: ServicePaths, credentials: Credentials | None) -> None:
    """Make ``svc/NAME`` and what is in it, with modes and owners. Blocks on the disk.

    Raises:
        OSError: the disk refuses, or a link stands where a directory belongs.
    """
    paths.root.parent.mkdir(parents=True, exist_ok=True)
    if credentials is not None:
        # The service's user has to get through to its own directory; it may list nothing on the
        # way.
        for directory in (paths.root.parent, paths.root.parent.parent):
            mode = stat.S_IMODE(directory.stat().st_mode)
            if not mode & stat.S_IXOTH:
                os.chmod(directory, mode | stat.S_IXOTH)
    gid = -1 if credentials is None else credentials.gid
    uid = -1 if credentials is None else credentials.uid
    for path in (paths.root, paths.config, paths.hooks, paths.static):
        _make(path, -1, gid)
    for path in (paths.data, paths.var, paths.files):
        _make(path, uid, gid)
    _make(paths.logs, -1, -1)


def service_environment(
    base: Mapping[str, str],
    *,
    spec: Spec,
    plan: Plan,
    paths: ServicePaths,
    package_dir: Path | None,
    member_id: str,
    credentials: Credentials | None,
) -> dict[str, str]:
    """Environment of the service and its hooks: ``base``, who runs it, and where its things are."""
    environment = {"PATH": PATH_DEFAULT, **base}
    if credentials is not None:
        environment |= {
            "HOME": credentials.home,
            "SHELL": credentials.shell,
            "USER": credentials.user,
            "LOGNAME": credentials.user,
        }
    return environment | {
        "SUP_SERVICE": spec.name,
        "SUP_GROUP": spec.group,
        "SUP_SERVICE_GROUP": f"{spec.name}.{spec.group}",
        "SUP_MEMBER_ID": member_id,
        "SUP_PACKAGE": plan.ident,
        "SUP_PACKAGE_DIR": "" if package_dir is None else str(package_dir.absolute()),
        "SUP_SERVICE_DIR": str(paths.root),
        "SUP_CONFIG_DIR": str(paths.config),
        "SUP_DATA_DIR": str(paths.data),
        "SUP_FILES_DIR": str(paths.files),
        "SUP_VAR_DIR": str(paths.var),
        "SUP_STATIC_DIR": str(paths.static),
        "SUP_LOG_DIR": str(paths.logs),
    }


def mark_prefix(paths: ServicePaths) -> str:
    """What the marks of all processes of this service on this host begin with."""
    root = os.path.realpath(paths.root)
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def _make(path: Path, uid: int, gid: int) -> None:
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if os.path.islink(path) or not path.is_dir():
            raise
    else:
        os.chmod(path, DIRECTORY_MODE)  # whatever the umask is
    status = os.lstat(path)
    if (uid, gid) != (-1, -1) and (status.st_uid, status.st_gid) != (
        uid if uid >= 0 else status.st_uid,
        gid if gid >= 0 else status.st_gid,
    ):
        os.chown(path, uid, gid, follow_symlinks=False)
