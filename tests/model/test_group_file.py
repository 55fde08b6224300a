"""Gossiped files: what is put is what arrives, and no name leads anywhere else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.group_file import (
    FILE_BYTES_MAX,
    GroupFile,
    GroupFileError,
    check_file_name,
    decode_file,
    encode_file,
    file_key,
    parse_file_key,
)
from sup.model.service_group import ServiceGroup
from sup_core.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

GROUP = ServiceGroup("redis", "default")


@given(st.binary(max_size=2000), st.text(max_size=40), st.integers(0, 1 << 39))
def test_decode_gives_what_was_encoded(data: bytes, author: str, stamp_s: int) -> None:
    """Any bytes travel, with who put them and when."""
    author = author.encode("utf-8", "ignore").decode()
    file = GroupFile(data, author, stamp_s)
    assert decode_file(encode_file(file)) == file


def test_largest_file_fits_a_value_and_one_more_byte_is_refused() -> None:
    """The bound leaves room for what is said about the file, also with the longest author."""
    largest = GroupFile(b"x" * FILE_BYTES_MAX, "ä" * 200, 1 << 39)
    assert len(encode_file(largest)) <= VALUE_BYTES_MAX
    with pytest.raises(OperatorError, match=f"limit is {FILE_BYTES_MAX}"):
        encode_file(GroupFile(b"x" * (FILE_BYTES_MAX + 1)))


@given(st.binary(max_size=300))
def test_decode_of_anything_raises_its_own_error_alone(data: bytes) -> None:
    """Remote bytes are a file or a typed error."""
    try:
        decode_file(data)
    except GroupFileError:
        return


@pytest.mark.parametrize(
    "wire",
    [
        {"v": 2, "data": b""},
        {"v": 1, "data": b"x" * (FILE_BYTES_MAX + 1)},
        {"v": 1, "data": b"", "author": "x" * 129},
        {"v": 1, "data": b"", "stamp_s": -1},
        {"v": 1, "data": "text"},
    ],
)
def test_decode_out_of_bounds_is_refused(wire: dict[str, object]) -> None:
    """Each field of a stranger's file has its bound."""
    with pytest.raises(GroupFileError):
        decode_file(msgspec.msgpack.encode(wire))


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\nb", "x" * 129, "é", "a\0", "$x"]
)
def test_file_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    """Neither from an operator nor from the ring."""
    with pytest.raises(OperatorError):
        check_file_name(name)
    with pytest.raises(GroupFileError):
        parse_file_key(f"redis.default/{name}".encode())


@given(st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z"))
def test_file_key_is_read_back(name: str) -> None:
    """Group and name, for every name that may be used."""
    assert parse_file_key(file_key(GROUP, name)) == (GROUP, name)


def test_file_key_too_long_together_is_refused() -> None:
    """The core bounds a key; the line says what to shorten."""
    group = ServiceGroup("s" * 64, "g" * 64)
    assert len(file_key(group, "n" * (KEY_BYTES_MAX - 130))) == KEY_BYTES_MAX
    with pytest.raises(OperatorError, match="shorten"):
        file_key(group, "n" * 128)


@given(st.binary(max_size=60))
def test_parse_file_key_of_anything_raises_its_own_error_alone(key: bytes) -> None:
    """As with the value."""
    try:
        parse_file_key(key)
    except GroupFileError:
        return
