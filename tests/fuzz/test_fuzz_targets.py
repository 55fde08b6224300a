"""The committed corpus through the fuzz targets, everywhere; the guided search where clang is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz import instrument, targets

CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was raised inside the core and could only be printed."""
    found: list[str] = []
    monkeypatch.setattr(targets, "_unraisable", found)
    monkeypatch.setattr(sys, "unraisablehook", lambda one: found.append(repr(one.exc_value)))
    return found


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_target_survives_its_corpus(name: str, raised: list[str]) -> None:
    """Every input that once reached new code leaves the node healthy, whole and cut in half."""
    inputs = [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
    assert len(inputs) > 10
    for data in inputs:
        targets.TARGETS[name](data)
        targets.TARGETS[name](data[: len(data) // 2])
    assert raised == []


def test_corpus_is_small() -> None:
    """The corpus is committed: few files, short ones."""
    sizes = [file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()]
    assert len(sizes) < 200
    assert max(sizes) < 2048


def test_corpus_reaches_every_message() -> None:
    """A target whose corpus lost a kind of message would search it from nothing."""
    for target, wanted in (("datagram", range(1, 13)), ("stream", (13, 14, 15, 16))):
        tags = set()
        for file in (CORPUS / target).iterdir():
            tags |= targets.tags_in(file.read_bytes())
        assert set(wanted) <= tags


@pytest.mark.parametrize("broken", [b"\x00\x00\x00\x05abc", b"\xff\xff\xff\xff" + bytes(9), b"\0"])
def test_frame_that_is_short_or_over_the_limit_is_no_request(broken: bytes) -> None:
    """The edge reads at most what was announced, and announces are believed up to the limit."""
    assert targets.framed(broken) == b""


def test_missing_clang_is_one_clear_line(tmp_path: Path) -> None:
    """``make fuzz-guided`` says what is missing and is no failure."""
    done = subprocess.run(
        [sys.executable, instrument.__file__, "--seconds", "1"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert re.fullmatch(r"fuzz: skipped, no clang on PATH; .*\n", done.stdout)
