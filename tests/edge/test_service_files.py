"""Gossiped files on the disk: whole, owned, and never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.edge.service_files import FILE_MODE, Record, read_record, write_files, write_record


def test_write_files_changes_what_differs_and_removes_what_is_stale(tmp_path: Path) -> None:
    """Names that changed are answered; equal bytes are left alone; nothing else is left behind."""
    assert write_files(tmp_path, {"a": b"1", "b": b"2"}, [], None) == ["a", "b"]
    before = (tmp_path / "a").stat()
    assert write_files(tmp_path, {"a": b"1", "b": b"3"}, ["gone"], None) == ["b"]
    assert (tmp_path / "a").stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == FILE_MODE
    assert write_files(tmp_path, {}, ["a"], None) == ["a"]
    assert sorted(os.listdir(tmp_path)) == ["b"]


def test_write_files_replaces_a_link_and_follows_none(tmp_path: Path) -> None:
    """The directory is the service's: a link that it plants there leads the writer nowhere."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    files = tmp_path / "files"
    files.mkdir()
    (files / "a").symlink_to(outside)
    (files / ".a.sup-new").symlink_to(outside)
    assert write_files(files, {"a": b"new"}, [], None) == ["a"]
    assert outside.read_bytes() == b"precious"
    assert (files / "a").read_bytes() == b"new"
    assert not (files / "a").is_symlink()
    (files / "b").symlink_to(outside)
    write_files(files, {}, ["b"], None)
    assert outside.exists()


def test_write_files_into_a_linked_directory_is_refused(tmp_path: Path) -> None:
    """The directory itself may have been replaced by a link."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "files").symlink_to(real)
    with pytest.raises(OSError, match="files"):
        write_files(tmp_path / "files", {"a": b"x"}, [], None)
    assert os.listdir(real) == []


def test_write_files_where_a_directory_stands_names_it_and_leaves_no_trace(tmp_path: Path) -> None:
    """What can't be replaced is an error that says where; the temporary file is gone."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        write_files(tmp_path, {"a": b"x"}, [], None)
    assert str(caught.value.filename).endswith("/a")
    assert os.listdir(tmp_path) == ["a"]
    assert write_files(tmp_path, {}, ["a"], None) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_write_files_gives_them_to_the_owner(tmp_path: Path) -> None:
    """Owner and group are the service's."""
    write_files(tmp_path, {"a": b"x"}, [], (12345, 54321))
    status = (tmp_path / "a").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 54321, FILE_MODE)


def test_record_cut_at_any_byte_is_empty(tmp_path: Path) -> None:
    """A damaged record costs a comparison of every file, nothing else."""
    path = tmp_path / "gossiped"
    record = Record({"a": "v1"}, ["a"])
    write_record(path, record)
    whole = path.read_bytes()
    assert read_record(path) == record
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert read_record(path) == Record()
