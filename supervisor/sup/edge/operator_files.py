"""Reading files that an operator put there: specs, ``user.toml``, packages.

What is found under a name may be anything: a FIFO would hold the reader for ever, a device or a
slip of the hand would fill the memory. Only regular files are read, up to a bound, and everything
else is one line for the operator. It decides nothing about what is in them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sup.errors import OperatorError


def read_operator_file(path: Path, bytes_max: int, shown: str = "") -> tuple[bytes, int]:
    """Contents and permission bits of a regular file; ``shown`` is what errors call it.

    Raises:
        OperatorError: it can't be read, is not a regular file, or is larger than ``bytes_max``.
    """
    shown = shown or str(path)
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused a line below.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OperatorError(f"{shown}: {reason(error)}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise OperatorError(
                f"{shown} is a directory, not a file; links to directories are not followed"
            )
        if not stat.S_ISREG(status.st_mode):
            raise OperatorError(f"{shown} is not a regular file; remove it")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise OperatorError(f"{shown}: {reason(error)}") from None
    finally:
        os.close(descriptor)
    if len(data) > bytes_max:
        raise OperatorError(
            f"{shown} is {max(status.st_size, len(data))} bytes, limit is {bytes_max};"
            " make it smaller"
        )
    return data, stat.S_IMODE(status.st_mode)


def reason(error: BaseException) -> str:
    """Why the system refused, as part of a sentence."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]
