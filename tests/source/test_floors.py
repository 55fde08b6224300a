"""The house: who may import whom. A failure here is a question about design, not a nuisance."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.source.house import (
    FLOORS,
    ROOT,
    edges,
    floor_of,
    imports,
    module_of,
    modules,
)

# What the core may use besides itself: no clock, socket, thread, loop, log or chance of its own.
CORE_MAY_IMPORT = {
    *("__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math"),
    *("operator", "struct", "typing", "cython", "cpython"),
    *("libc.stdint", "libc.stdlib", "libc.string", "libc.math", "libc.limits"),
}
# Python's own modules that mean a clock, chance or the outside world.
PURE_MAY_NOT_IMPORT = {
    *("aiohttp", "asyncio", "concurrent", "http", "logging", "multiprocessing", "os", "pathlib"),
    *("random", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl", "sys"),
    *("subprocess", "tempfile", "threading", "time", "urllib", "uuid", "uvloop"),
}
# Pure modules with a reason to name one of these; each use is one line here, on purpose.
PURE_EXCEPTIONS = {
    ("sup.model.backoff", "random"),  # the generator is an argument, only its type is named
    ("sup.model.service_paths", "pathlib"),  # names of files, never opened here
    ("sup.model.render_context", "pathlib"),  # the same
    ("sup_core.simulator", "sys"),  # to hear of exceptions that C code could only swallow
    ("sup.model.plan", "signal"),  # names of signals, none is sent or handled
    ("sup.model.process_plan", "signal"),  # the same
    ("sup.model.restart", "signal"),  # the same
    ("sup.model.plan_sh", "signal"),  # the same
}


def test_every_module_has_a_floor() -> None:
    """A new module is put on a floor before it is used."""
    homeless = [name for name in modules() if floor_of(name) is None]
    assert not homeless, f"assign a floor in tests/source/house.py: {', '.join(homeless)}"


def test_floor_names_exist() -> None:
    """The map has no name of a module that is gone."""
    exact = [n for text in FLOORS.values() for n in text.split() if not n.endswith("*")]
    gone = [name for name in exact if name not in modules()]
    assert not gone, f"no such module any more: {', '.join(gone)}"


def test_imports_go_down() -> None:
    """A file imports from its own floor or lower ones, even for types alone."""
    wrong = [
        f"{where}: {importer} (floor {floor_of(importer)}) imports"
        f" {imported} (floor {floor_of(imported)})"
        for importer, imported, where in edges()
        if (floor_of(importer) or 0) < (floor_of(imported) or 0)
    ]
    assert not wrong, "\n".join(wrong)


def test_mechanisms_are_siblings() -> None:
    """No mechanism knows another; the node wires them."""
    wrong = [
        f"{where}: {importer} imports {imported}"
        for importer, imported, where in edges()
        if floor_of(importer) == 3 == floor_of(imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_packet_format_is_known_to_the_wire_alone() -> None:
    """Stores and mechanisms work on values; only the node's floor and above speak to the codec."""
    wrong = [
        f"{where}: {importer} imports the codec"
        for importer, imported, where in edges()
        if imported == "sup_core.codec" and floor_of(importer) in (0, 2, 3)
    ]
    assert not wrong, "\n".join(wrong)


def test_core_imports_nothing_of_the_outside() -> None:
    """Bytes, integers and ``now`` in, effects out: nothing else, not even for a test."""
    wrong = []
    for module in modules().values():
        if not module.is_core or (floor_of(module.name) or 0) >= 5:
            continue
        for file in module.files:
            for line, name in imports(file):
                if module_of(name).startswith("sup_core"):
                    continue
                if file.suffix == ".pyi" and name.startswith("typing_extensions"):
                    continue  # types of a stub, which nothing imports when it runs
                if not any(name == ok or name.startswith(f"{ok}.") for ok in CORE_MAY_IMPORT):
                    wrong.append(f"{file.relative_to(ROOT)}:{line}: imports {name}")
    assert not wrong, "\n".join(wrong)


def test_simulator_has_no_clock_and_no_network() -> None:
    """Virtual time and a virtual network: a run depends on its seed alone."""
    _check_pure(lambda floor: floor == 5)


def test_pure_floor_has_no_io() -> None:
    """Floor 6 decides; floor 7 does."""
    _check_pure(lambda floor: floor == 6)


def test_core_depends_on_nothing_above() -> None:
    """``sup_core`` can be used without ``sup``."""
    wrong = [
        where for a, b, where in edges() if a.startswith("sup_core") and b.split(".")[0] == "sup"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    """At run time the modules form no cycle; names for types alone may look back."""
    graph: dict[str, set[str]] = {}
    for module in modules().values():
        for file in module.files:
            if file.suffix == ".pyi":
                continue
            typing_only = _typing_lines(file)
            for line, name in imports(file):
                target = module_of(name)
                if target and target != module.name and line not in typing_only:
                    graph.setdefault(module.name, set()).add(target)
    assert not (cycle := _cycle(graph)), " -> ".join(cycle)


PLUGIN_FILES = sorted((ROOT / "plugins").glob("*/**/*.py"))


@pytest.mark.parametrize("file", PLUGIN_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_plugin_imports_the_public_api_alone(file: Path) -> None:
    """``sup.plugin_api``, and ``sup.testing`` in tests; the rest of ours may change any day."""
    allowed = {"sup.plugin_api"} | ({"sup.testing"} if "tests" in file.parts else set())
    for line, name in imports(file):
        if name.split(".")[0] in ("sup", "sup_core"):
            assert module_of(name) in allowed, f"{file.relative_to(ROOT)}:{line}: imports {name}"


def _check_pure(on: object) -> None:
    wrong = []
    for module in modules().values():
        if not on(floor_of(module.name)):  # type: ignore[operator]
            continue
        for file in module.files:
            for line, name in imports(file):
                top = name.split(".")[0]
                if top in PURE_MAY_NOT_IMPORT and (module.name, top) not in PURE_EXCEPTIONS:
                    wrong.append(f"{file.relative_to(ROOT)}:{line}: imports {name}")
    assert not wrong, "\n".join(wrong)


def _typing_lines(file: Path) -> set[int]:
    """Lines below ``if TYPE_CHECKING``, and inside functions: neither runs at import."""
    if file.suffix != ".py":
        return set()
    lines: set[int] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and re.search(r"\bTYPE_CHECKING\b", ast.unparse(node.test))
        )
        if deferred:
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
    return lines


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """One cycle of the graph, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return []

    for name in sorted(graph):
        if found := visit(name, []):
            return found
    return []
