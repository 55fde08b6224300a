"""The state directory: a lock, a few small files, and the promise that damage never stops a
start.

A file is replaced, never edited: temporary file in the same directory, fsync, rename, fsync of
the directory. Every file carries a checksum; one that fails it is renamed to ``NAME.corrupt-N``
with one warning, and the caller goes on without it (the rumor snapshot falls back to its previous
generation). The lock is ``flock`` on an open file, so it ends with the process that holds it,
whatever ended that.

The epoch (number of starts) is durable before ``next_epoch`` returns it: an epoch that was
announced and then forgotten would let an older self speak for a newer one. Sources: Pillai et al.
2014 ("All File Systems Are Not Created Equal") for the order of the steps.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from sup.errors import ConflictError, ExitCode, OperatorError

MAGIC: Final = b"SUPS"
FORMAT_VERSION: Final = 1
PAYLOAD_BYTES_MAX: Final = 256 * 1024 * 1024
"""A state file larger than this is not ours: four times what the rumor store may hold."""
QUARANTINED_MAX: Final = 8
"""Damaged copies kept per file for a post-mortem; the oldest number is overwritten after that."""
PID_BYTES_MAX: Final = 32
EPOCH_BYTES: Final = 8
EPOCH_FILES: Final = ("epoch", "epoch.1")
_HEADER: Final = struct.Struct(">4sHHQ32s")  # magic, version, zero, payload length, checksum
_FIXED: Final = struct.Struct(">4sHHQ")


class CorruptStateError(Exception):
    """The bytes are not what was written: wrong magic, version, length or checksum."""


def seal(payload: bytes, kind: str) -> bytes:
    """Frame ``payload`` with magic, version, length and a checksum that also covers ``kind``.

    ``kind`` (at most 16 ASCII characters) keeps one state file from passing for another.
    """
    fixed = _FIXED.pack(MAGIC, FORMAT_VERSION, 0, len(payload))
    return fixed + _checksum(fixed, payload, kind) + payload


def unseal(data: bytes, kind: str) -> bytes:
    """Return the payload of a sealed file.

    Raises:
        CorruptStateError: for any bytes that ``seal(payload, kind)`` could not have made.
    """
    if len(data) < _HEADER.size:
        raise CorruptStateError(f"{len(data)} bytes, the header alone has {_HEADER.size}")
    magic, version, zero, length, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC or zero != 0:
        raise CorruptStateError("not a state file of sup")
    if version != FORMAT_VERSION:
        raise CorruptStateError(f"format version {version}, this release reads {FORMAT_VERSION}")
    payload = data[_HEADER.size :]
    if len(payload) != length:
        raise CorruptStateError(f"{len(payload)} bytes of content, the header says {length}")
    if checksum != _checksum(data[: _FIXED.size], payload, kind):
        raise CorruptStateError("checksum does not match")
    return payload


def read_sealed(path: Path, kind: str) -> tuple[bytes | None, str]:
    """Payload of the sealed file ``path`` (None: there is none to have), and what was wrong with
    it. A damaged file is quarantined. Never raises.
    """
    try:
        with path.open("rb") as file:
            data = file.read(PAYLOAD_BYTES_MAX + _HEADER.size + 1)
        return unseal(data, kind), ""
    except FileNotFoundError:
        return None, ""
    except (CorruptStateError, OSError) as error:
        try:
            kept = f"kept as {quarantine(path).name}"
        except OSError as refused:
            kept = str(refused.strerror)
        return None, f"{path.name} is damaged ({error}); {kept}"


def write_sealed(path: Path, payload: bytes, kind: str) -> None:
    """Replace the sealed file ``path``, durably. Raises OSError; the old one then stays."""
    write_durable(path, seal(payload, kind))


def write_durable(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` with ``data`` so that a crash at any point leaves the old or the new file.

    Raises:
        OSError: nothing was replaced (disk full, read-only, no permission).
    """
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def write_durable_keeping(path: Path, previous: Path, data: bytes, mode: int = 0o600) -> None:
    """``write_durable``, and what ``path`` held before becomes ``previous``.

    The old generation is linked under its second name before the new one takes the first, so there
    is no moment without a ``path``.
    """
    link = path.with_name(f".{previous.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    try:
        os.link(path, link)
        os.rename(link, previous)
    except FileNotFoundError:
        pass  # the first generation has no predecessor
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        os.rename(path, previous)  # no hard links here: a short moment with the old one only
    write_durable(path, data, mode)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems refuse it; they have no better way
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def quarantine(path: Path) -> Path:
    """Rename a damaged file to the first free ``NAME.corrupt-N``; the last number is reused."""
    for number in range(1, QUARANTINED_MAX + 1):
        target = path.with_name(f"{path.name}.corrupt-{number}")
        if not target.exists():
            break
    os.replace(path, target)
    sync_directory(path.parent)
    return target


class StateDir:
    """One supervisor's state directory, locked while this object is open.

    ``warnings`` holds one line per damaged file, at most one per file and start.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._lock = lock

    @classmethod
    def open(cls, path: Path, ring: str, owner_pid: int = 0) -> "StateDir":
        """Create ``path`` (0700) if it is missing, lock it, and check that it belongs to ``ring``.

        ``owner_pid`` is who must be ended to free it, if that is not this process.

        Raises:
            ConflictError: another supervisor holds it, or it belongs to another ring.
            OperatorError: it can't be created or written.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(path / "lock", path, owner_pid or os.getpid())
        except OSError as error:
            raise OperatorError(
                f"state directory {path}: {error.strerror}; give a writable one with --state-dir",
                ExitCode.FAILED,
            ) from error
        state = cls(path, lock)
        try:
            state._check_ring(ring)
        except OSError as error:
            state.close()
            raise OperatorError(
                f"state directory {path}: {error.strerror}", ExitCode.FAILED
            ) from error
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        """Give the lock back. The object is of no use afterwards."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def read(self, name: str) -> bytes | None:
        """Payload of the sealed file ``name``; None if it is missing or was quarantined."""
        path = self.path / name
        try:
            with path.open("rb") as file:
                data = file.read(PAYLOAD_BYTES_MAX + _HEADER.size + 1)
            return unseal(data, _kind(name))
        except FileNotFoundError:
            return None
        except (CorruptStateError, OSError) as error:
            self.set_aside(name, str(error))
            return None

    def write(self, name: str, payload: bytes) -> None:
        """Replace the sealed file ``name``, durably. Raises OSError; the old one then stays."""
        write_durable(self.path / name, seal(payload, _kind(name)))

    def set_aside(self, name: str, reason: str) -> None:
        """Quarantine ``name`` and remember one warning for the operator."""
        try:
            target = quarantine(self.path / name)
            self.warnings.append(f"state file {name} is damaged ({reason}); kept as {target.name}")
        except OSError as error:
            self.warnings.append(f"state file {name} is damaged ({reason}); {error.strerror}")

    def epoch(self) -> int | None:
        """Number of starts so far; None if it was never written or no copy can be read."""
        copies = [self.read(name) for name in EPOCH_FILES]
        return max((int.from_bytes(one, "big") for one in copies if one), default=None)

    def next_epoch(self) -> int:
        """Count this start. The number is durable when this returns and larger than any before.

        It is kept twice: damage to one file never repeats a number. Raises OSError.
        """
        epoch = (self.epoch() or 0) + 1
        for name in EPOCH_FILES:
            self.write(name, epoch.to_bytes(EPOCH_BYTES, "big"))
        return epoch

    def save_rumors(self, snapshot: bytes) -> None:
        """Replace the rumor snapshot durably and keep the previous generation. Raises OSError."""
        data = seal(snapshot, "rumors")
        write_durable_keeping(self.path / "rumors", self.path / "rumors.1", data)

    def load_rumors(self) -> Iterator[tuple[str, bytes]]:
        """File names and snapshots that pass their checksum, newest first (at most two)."""
        for name in ("rumors", "rumors.1"):
            if (data := self.read(name)) is not None:
                yield name, data

    def _check_ring(self, ring: str) -> None:
        stored = self.read("ring")
        if stored is None:
            self.write("ring", ring.encode())
        elif stored != ring.encode():
            raise ConflictError(
                f"state directory {self.path} belongs to ring {stored.decode(errors='replace')!r},"
                f" not {ring!r}; give another --state-dir"
            )


def _lock(path: Path, directory: Path, owner_pid: int) -> int:
    """Take the flock and write a pid for whoever finds it taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, PID_BYTES_MAX, 0).decode(errors="replace").strip()
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise ConflictError(
            f"state directory {directory} is in use by supervisor pid {holder or 'unknown'};"
            " stop it or give another --state-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % owner_pid, 0)
    return descriptor


def _kind(name: str) -> str:
    """Both generations of a file are of one kind."""
    return name.removesuffix(".1")


def _checksum(fixed: bytes, payload: bytes, kind: str) -> bytes:
    digest = blake2b(fixed, digest_size=32, person=kind.encode("ascii"))
    digest.update(payload)
    return digest.digest()
