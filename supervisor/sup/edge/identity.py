"""Who this supervisor is: an Ed25519 key made at the first start, and the member id that follows
from it.

``identity.key`` holds the seed and the public key (32 bytes each, sealed, 0600). The member id is
the 16-byte BLAKE2b of the public key and also stands in ``member_id`` for people and scripts.
Only making a key needs the cryptography library, which costs some 9 MB of resident memory for
good; so a short child process makes it (``python -m sup.edge.identity DIR``) and the supervisor
only hashes.

A damaged key is quarantined and replaced: the supervisor then starts as a new member. So it does
when the number of starts was lost, because under the old id it could not say that it is newer. A
damaged or missing ``member_id`` is derived again from the key.
"""

import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Final

from sup.edge.state_files import StateDir, seal, write_durable
from sup.errors import ExitCode, OperatorError

MEMBER_ID_BYTES: Final = 16
SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
KEY_FILE: Final = "identity.key"
ID_FILE: Final = "member_id"
CHILD_TIMEOUT_S: Final = 30.0
"""Importing the library takes about 0.2 s; a loaded machine gets two orders of magnitude more."""


def derive_member_id(public: bytes) -> bytes:
    """Member id (16 bytes) of an Ed25519 public key (32 bytes)."""
    return blake2b(public, digest_size=MEMBER_ID_BYTES, person=b"sup member id").digest()


def open_identity(state: StateDir) -> tuple[bytes, int]:
    """Member id of this state directory and the epoch of this start, both durable.

    Makes the key at the first start. Blocks, for the child then and for the disk always.

    Raises:
        OperatorError: the key or the epoch can't be made or written.
    """
    key = state.read(KEY_FILE)
    if key is not None and len(key) != SEED_BYTES + PUBLIC_BYTES:
        state.set_aside(KEY_FILE, f"{len(key)} bytes, a key has {SEED_BYTES + PUBLIC_BYTES}")
        key = None
    elif key is not None and state.epoch() is None:
        state.set_aside(KEY_FILE, "the number of starts was lost; starting as a new member")
        key = None
    try:
        if key is None:
            _make_key_in_child(state.path)
            key = state.read(KEY_FILE)
        if key is None:
            raise OperatorError(f"no key in {state.path} after making one", ExitCode.FAILED)
        member_id = derive_member_id(key[SEED_BYTES:])
        _refresh_id_file(state, member_id)
        return member_id, state.next_epoch()
    except OSError as error:
        raise OperatorError(
            f"state directory {state.path}: {error.strerror}", ExitCode.FAILED
        ) from error


def make_key(directory: Path) -> None:
    """Write a new ``identity.key``. Imports the cryptography library; call it in a child only."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    key = private.private_bytes_raw() + private.public_key().public_bytes_raw()
    write_durable(directory / KEY_FILE, seal(key, KEY_FILE))


def _make_key_in_child(directory: Path) -> None:
    command = [sys.executable, "-m", "sup.edge.identity", str(directory)]
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=CHILD_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit {error.returncode}"
        raise OperatorError(f"making {directory / KEY_FILE}: {reason}", ExitCode.FAILED) from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise OperatorError(f"making {directory / KEY_FILE}: {error}", ExitCode.FAILED) from None


def _refresh_id_file(state: StateDir, member_id: bytes) -> None:
    """The file is for readers; the key decides."""
    path = state.path / ID_FILE
    text = member_id.hex().encode() + b"\n"
    try:
        with path.open("rb") as file:
            if file.read(len(text) + 1) == text:
                return
        state.warnings.append(f"{ID_FILE} did not match the key; written again")
    except FileNotFoundError:
        pass
    except OSError as error:
        state.warnings.append(f"{ID_FILE}: {error.strerror}; written again")
    write_durable(path, text)


if __name__ == "__main__":
    make_key(Path(sys.argv[1]))
