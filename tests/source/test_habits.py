"""Habits that keep the house livable: sizes, names, docstrings, stubs."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.source.house import ROOT, SOURCE_ROOTS, modules

# Lines per file. Raise one on purpose, with a reason, never by accident.
CAPS = {
    ".py": 600,
    ".pyx": 700,
    ".pxd": 400,
    ".pyi": 400,
    "core/sup_core/protocol.pyx": 800,  # what every message, effect and deadline means
    "core/sup_core/simulator.py": 620,  # one class: the truth about a run, and its faults
    "ARCHITECTURE.md": 200,
}
TEST_CAP = 700
PYTHON = sorted(
    file
    for top in ("core", "supervisor", "plugins", "tests", "bench", "examples")
    for file in (ROOT / top).rglob("*")
    if file.suffix in (".py", ".pyx", ".pxd", ".pyi") and "build" not in file.parts
)
PYX = [file for root in SOURCE_ROOTS for file in sorted(root.rglob("*.pyx"))]
# Words that say nothing, and words of machines that no clone has.
EMPTY_NAMES = {"manager", "util", "utils", "misc", "common", "helper2", "handler2", "stuff"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|^\s*(<{7}|>{7}) ")
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(work|tmp/w)/")


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_no_file_has_conflict_markers() -> None:
    """A merge that was committed half-way parses fine inside a docstring."""
    marked = re.compile(r"^(<{7}|>{7}|={7})( |$)", re.M)
    assert [relative(file) for file in PYTHON if marked.search(file.read_text())] == []


@pytest.mark.parametrize("file", [*PYTHON, ROOT / "ARCHITECTURE.md"], ids=relative)
def test_file_size(file: Path) -> None:
    """A file over its cap has two themes."""
    name = relative(file)
    cap = CAPS.get(name) or (TEST_CAP if name.startswith("tests/") else CAPS[file.suffix])
    lines = len(file.read_text().splitlines())
    assert lines <= cap, f"{name} has {lines} lines, the cap is {cap}: cut it by theme"


@pytest.mark.parametrize("file", [f for f in PYTHON if f.suffix in (".py", ".pyx")], ids=relative)
def test_module_docstring(file: Path) -> None:
    """Every module says what it decides; an empty ``__init__`` needs no words."""
    text = file.read_text()
    if file.name == "__init__.py" and not text.strip():
        return
    assert re.match(r'\s*(#[^\n]*\n\s*)*r?"""\S', text), f"{relative(file)} has no docstring"


@pytest.mark.parametrize(
    "file", [f for f in PYTHON if f.name.startswith("test_") and f.suffix == ".py"], ids=relative
)
def test_tests_say_what_they_pin(file: Path) -> None:
    """Every test has a docstring, so that a failure is read before the code is."""
    silent = [
        f"{relative(file)}:{node.lineno}: {node.name}"
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("file", PYX, ids=relative)
def test_compiled_module_has_a_stub(file: Path) -> None:
    """Types for callers of what no type checker can read."""
    assert file.with_suffix(".pyi").exists(), f"{relative(file)} has no .pyi"


def test_setup_builds_every_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """``setup.py`` names each ``.pyx`` below the source roots, by its import path."""
    built: list[str] = []
    build = ModuleType("Cython.Build")
    build.cythonize = lambda found, **_: built.extend(e.name for e in found) or []  # type: ignore[attr-defined]
    setuptools = ModuleType("setuptools")

    class Extension:
        def __init__(self, name: str, *_: Any, **__: Any) -> None:
            self.name = name

    setuptools.Extension = Extension  # type: ignore[attr-defined]
    setuptools.setup = lambda **_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "Cython.Build", build)
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    wanted = {
        name for name, m in modules().items() if any(file.suffix == ".pyx" for file in m.files)
    }
    assert set(built) == wanted


def test_names_say_something() -> None:
    """No file, class or function is called by a word that fits everything."""
    wrong = []
    for file in PYTHON:
        names = [(0, file.stem)]
        if file.suffix == ".py":
            names += [
                (node.lineno, node.name)
                for node in ast.walk(ast.parse(file.read_bytes()))
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            ]
        for line, name in names:
            words = re.findall(r"[A-Z]?[a-z0-9]+", name)
            if EMPTY_NAMES & {word.lower() for word in words}:
                wrong.append(f"{relative(file)}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_for_later_in_a_comment() -> None:
    """What is to be done is an issue, a merge is whole, a path is on every machine."""
    wrong = []
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile"]
    for file in [*PYTHON, *documents]:
        if file == Path(__file__).resolve():
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if UNFINISHED.search(line) or MACHINE_PATHS.search(line):
                wrong.append(f"{relative(file)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)
