"""What a distribution holds: built from a copy of the sources, without compiling.

A file that is missing from a wheel is missing for everybody but us: here, the repository is there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.source.house import ROOT, SOURCE_ROOTS

BUILD = "import setuptools.build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
INPUTS = ("core", "supervisor", "examples", "tests", "plugins")
EXAMPLE = ROOT / "examples" / "greeter"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("setuptools", "Cython")),
        reason="no setuptools and Cython to build with",
    ),
]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with an sdist, and a wheel whose extensions were left out."""
    copy = tmp_path_factory.mktemp("packaging") / "sup"
    copy.mkdir()
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*_cache")
    for name in INPUTS:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=left_out)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, copy)
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=copy,
        env={**os.environ, "SUP_COMPILE": "0"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


def _sources(*suffixes: str) -> set[str]:
    return {
        str(file.relative_to(root))
        for root in SOURCE_ROOTS
        for file in root.rglob("*")
        if file.suffix in suffixes or file.name == "py.typed"
    }


def test_wheel_has_every_module_and_stub(dist: Path) -> None:
    """Types, declarations for other Cython code and the schema are there; sources of C are not."""
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    wanted = _sources(".py", ".pyi", ".pxd", ".json")
    assert not wanted - names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    foreign = {name for name in names if name.partition("/")[0].partition("-")[0] == "tests"}
    unwanted = {name for name in names if Path(name).suffix in (".c", ".pyx", ".pyc", ".html")}
    assert not foreign | unwanted


def test_wheel_has_the_example_that_the_demo_runs(dist: Path) -> None:
    """All files of the greeter, with the execute permission of its hooks."""
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        modes = {info.filename: info.external_attr >> 16 for info in wheel.infolist()}
    files = [f for f in EXAMPLE.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    for file in files:
        mode = modes[f"sup/examples/greeter/{file.relative_to(EXAMPLE)}"]
        assert bool(mode & 0o111) == bool(file.stat().st_mode & 0o111), file


def test_sdist_has_what_a_wheel_is_built_from_and_no_more(dist: Path) -> None:
    """All sources, no link, nothing compiled, no tests and no plugins."""
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        members = sdist.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    found = {name.partition("/")[2] for name in names if name.startswith(("core/", "supervisor/"))}
    assert not _sources(".py", ".pyx", ".pyi", ".pxd", ".json") - found
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert not {name for name in names if Path(name).suffix in (".c", ".so", ".pyc")}
    tops = {name.partition("/")[0] for name in names}
    assert not tops & {"tests", "plugins", "bench", "examples", "build"}
