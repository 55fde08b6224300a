"""Whatever an operator puts under a name that is read: bytes, or one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.edge.operator_files import read_operator_file
from sup.errors import OperatorError


def test_read_regular_file_gives_bytes_and_mode(tmp_path: Path) -> None:
    """At the bound is within it."""
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    file.chmod(0o640)
    assert read_operator_file(file, 5) == (b"12345", 0o640)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "is a directory"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.write_bytes(b"123456"), "6 bytes, limit is 5"),
        (lambda path: None, "no such file"),
    ],
    ids=["fifo", "directory", "loop", "device", "large", "absent"],
)
def test_read_anything_else_is_one_line_at_once(tmp_path: Path, make, words: str) -> None:  # type: ignore[no-untyped-def]
    """A FIFO without a writer must not hold the reader, nor a device fill the memory."""
    path = tmp_path / "a"
    make(path)
    with pytest.raises(OperatorError, match=words) as caught:
        read_operator_file(path, 5, "specs/a")
    assert caught.value.message.startswith("specs/a")
