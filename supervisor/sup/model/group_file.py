"""A file of a service group as it is gossiped: one value per name, the last writer wins (pure).

The bytes travel as they are inside a msgpack map, as a header that whoever lacks them pulls
(``docs/decisions/0005-large-values.md``). The key is ``service.group/NAME``; names are those of
plain files, so that no name can lead out of the directory they are written to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from sup.errors import OperatorError
from sup.model.service_group import ServiceGroup, parse_service_group
from sup_core.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

FILE_KIND = 66
"""Rumor kind of a group's file (a last-writer kind)."""
FILE_BYTES_MAX = VALUE_BYTES_MAX - 1024
"""A value of the core, less what is said about the file: 63 KiB."""
FILES_MAX = 64
"""Files of one group: 4 MiB at most, which every member of the ring carries."""
NAME_CHARACTERS_MAX = 128
AUTHOR_CHARACTERS_MAX = 128
FORMAT = 1

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_STAMP_S_MAX = 1 << 40


class GroupFileError(ValueError):
    """Bytes that are not a group's file; only ever of remote origin."""


@dataclass(frozen=True, slots=True)
class GroupFile:
    """What was put, by whom (a supervisor's name), and when (Unix seconds, for people)."""

    data: bytes
    author: str = ""
    stamp_s: int = 0


class _Wire(msgspec.Struct, frozen=True):
    v: int
    data: bytes
    author: str = ""
    stamp_s: int = 0


def is_file_name(name: str) -> bool:
    """Whether a group's file may be called so."""
    return _NAME.fullmatch(name) is not None


def check_file_name(name: str) -> str:
    """Return ``name`` when a group's file may be called so.

    Raises:
        OperatorError: it is empty, too long, begins with a dot, or has another character.
    """
    if is_file_name(name):
        return name
    if len(name) > NAME_CHARACTERS_MAX:
        raise OperatorError(
            f"file name is {len(name)} characters, limit is {NAME_CHARACTERS_MAX}; shorten it"
        )
    raise OperatorError(
        f"file name {name!r} can't be used; use letters, digits, '.', '_' and '-',"
        " not beginning with '.'"
    )


def file_key(group: ServiceGroup, name: str) -> bytes:
    """Rumor key of the file.

    Raises:
        OperatorError: the group's and the file's name are too long together.
    """
    key = f"{group}/{check_file_name(name)}".encode()
    if len(key) > KEY_BYTES_MAX:
        raise OperatorError(
            f"names of group and file are {len(key)} bytes together, limit is {KEY_BYTES_MAX};"
            " shorten the file's"
        )
    return key


def parse_file_key(key: bytes) -> tuple[ServiceGroup, str]:
    """Group and name of a rumor's key. Raises ``GroupFileError``."""
    try:
        group, _, name = key.decode("ascii").partition("/")
        if not is_file_name(name):
            raise GroupFileError(f"file name {name!r:.140} can't be used")
        return parse_service_group(group), name
    except (UnicodeDecodeError, OperatorError) as error:
        raise GroupFileError(f"key of a file can't be read: {error}") from None


def encode_file(file: GroupFile) -> bytes:
    """The gossiped bytes.

    Raises:
        OperatorError: the file is too large.
    """
    if len(file.data) > FILE_BYTES_MAX:
        raise OperatorError(
            f"file is {len(file.data)} bytes, limit is {FILE_BYTES_MAX};"
            " put larger ones where every host can fetch them"
        )
    author = file.author[:AUTHOR_CHARACTERS_MAX]
    return msgspec.msgpack.encode(_Wire(FORMAT, file.data, author, file.stamp_s))


def decode_file(data: bytes) -> GroupFile:
    """Read gossiped bytes; fields of later versions are ignored. Raises ``GroupFileError``."""
    if len(data) > VALUE_BYTES_MAX:
        raise GroupFileError(f"file's rumor is {len(data)} bytes, limit is {VALUE_BYTES_MAX}")
    try:
        wire = msgspec.msgpack.decode(data, type=_Wire)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise GroupFileError(f"file can't be read: {error}") from None
    if wire.v != FORMAT:
        raise GroupFileError(f"file has format {wire.v}, known is {FORMAT}")
    if len(wire.data) > FILE_BYTES_MAX:
        raise GroupFileError(f"file is {len(wire.data)} bytes, limit is {FILE_BYTES_MAX}")
    if len(wire.author) > AUTHOR_CHARACTERS_MAX or not 0 <= wire.stamp_s < _STAMP_S_MAX:
        raise GroupFileError("file has an author or a time out of bounds")
    return GroupFile(wire.data, wire.author, wire.stamp_s)
