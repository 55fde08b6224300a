"""Writing gossiped files into the ``files`` directory of a service.

The directory belongs to the service's user, who may put anything there, links included. So every
name is used relative to the open directory, nothing is followed, and a file takes its place by
``rename``: the service sees the old one or the new one. What was written is on record beside the
directory, in ``gossiped``: only files on it are ever removed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from sup.edge.render_files import Owner
from sup.edge.state_files import write_durable

FILE_MODE = 0o640
"""Of a gossiped file: its owner, the service's user, may also write it."""
RECORD_BYTES_MAX = 64 * 1024


class Record(msgspec.Struct, frozen=True):
    """What is written, and what the service has not been told of yet."""

    versions: dict[str, str] = {}
    owed: list[str] = []


def read_record(path: Path) -> Record:
    """The record, or an empty one: then every file is compared with what is there. Blocks."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(RECORD_BYTES_MAX), type=Record)
    except (OSError, msgspec.MsgspecError, ValueError):
        return Record()


def write_record(path: Path, record: Record) -> None:
    """Replace the record. Raises ``OSError``."""
    write_durable(path, msgspec.json.encode(record))


def write_files(
    directory: Path, files: Mapping[str, bytes], remove: Iterable[str], owner: Owner | None
) -> list[str]:
    """Bring ``files`` into ``directory`` and take ``remove`` out; names that changed. Blocks.

    A file that has these bytes already is left as it is.

    Raises:
        OSError: the disk refuses, or something that is no file stands in the way.
    """
    changed: list[str] = []
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name, data in sorted(files.items()):
            if not _same(folder, name, data):
                try:
                    _replace(folder, name, data, owner)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, f"{directory}/{name}") from error
                changed.append(name)
        for name in sorted(remove):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.unlink(name, dir_fd=folder)
                changed.append(name)
        if changed:
            os.fsync(folder)
    finally:
        os.close(folder)
    return changed


def _same(folder: int, name: str, data: bytes) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        found = b""
        while part := os.read(descriptor, len(data) + 1 - len(found)):
            found += part
        return found == data
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _replace(folder: int, name: str, data: bytes, owner: Owner | None) -> None:
    temporary = f".{name}.sup-new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)  # of a supervisor that was killed in the middle
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, FILE_MODE)  # after chown, which may clear bits
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
