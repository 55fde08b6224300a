"""The sources as these tests see them: files, modules, imports, and the floor of every module.

``FLOORS`` says in data what ``ARCHITECTURE.md`` says in words. A new module gets its floor here, on
purpose.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = (ROOT / "core", ROOT / "supervisor")

FLOORS: dict[int, str] = {
    # Vocabulary: bounds, settings, values, plain structs.
    0: """
        sup_core sup_core.limits sup_core.errors sup_core.config sup_core.settings sup_core.prng
        sup_core.events sup_core.kinds sup_core.identity sup_core.effects sup_core.counters
        sup_core.blobs sup_core.stamps sup
    """,
    # Wire: the only modules that know the packet format.
    1: "sup_core.cursor sup_core.codec",
    # Stores: C arrays and queues.
    2: """
        sup_core.timers sup_core.member_table sup_core.rumor_store sup_core.hash_index
        sup_core.card_pool sup_core.event_queue sup_core.outbox sup_core.notices
    """,
    # Mechanisms: siblings that never import each other.
    3: """
        sup_core.failure_detector sup_core.suspicion sup_core.local_health sup_core.dissemination
        sup_core.anti_entropy sup_core.pulls sup_core.seeds sup_core.doubts
        sup_core.newcomer sup_core.flaps
    """,
    # The node, and what it is made of besides the mechanisms.
    4: """
        sup_core.node sup_core.protocol sup_core.membership sup_core.rumors sup_core.exchanges
        sup_core.packets
        sup_core.comparisons
        sup_core.views
    """,
    # Other drivers of the node.
    5: """
        sup_core.simulator sup_core.simulator_* sup_core.fuzzing
        sup_core.bench_hooks sup_core.memory sup_core.store_drill
    """,
    # Pure: values, rules, policies, templates.
    6: """
        sup.errors sup.policies sup.hookspecs sup.model sup.model.* sup.handlebars sup.handlebars.*
    """,
    # Edges: one outside thing each.
    7: "sup.edge sup.edge.* sup.builtin sup.builtin.* sup.launcher sup.launcher.*",
    # Assembly, and the façade for plugins.
    8: """
        sup.ring sup.service sup.service_* sup.services sup.group_configs sup.plugins sup.plugin_api
        sup.attach sup.maintenance sup.api_health sup.report_socket sup.group_files
        sup.testing sup.testing.* sup.gateway sup.gateway_* sup.routes sup.control sup.api sup.logs
        sup.start_order sup.defaults sup.events sup.log_* sup.options sup.pace sup.supervisor
        sup.simulation
        sup.simulation_plot
    """,
    # Faces.
    9: "sup.cli sup.cli.* sup.demo sup.demo_* sup.__main__",
}
"""Floor to module names; ``.*`` and ``_*`` stand for all that begin so."""


def floor_of(name: str) -> int | None:
    """The floor of a module; an exact name wins over a pattern."""
    patterns = [(floor, pattern) for floor, text in FLOORS.items() for pattern in text.split()]
    for floor, pattern in patterns:
        if name == pattern:
            return floor
    for floor, pattern in patterns:
        if pattern.endswith("*") and name.startswith(pattern[:-1]):
            return floor
    return None


@dataclass(frozen=True)
class Module:
    """One Python or Cython module: its dotted name and the files that make it."""

    name: str
    files: tuple[Path, ...]

    @property
    def is_core(self) -> bool:
        return self.name.partition(".")[0] == "sup_core"


@cache
def modules() -> dict[str, Module]:
    """All modules below the source roots; ``.pyx``, ``.pxd`` and ``.pyi`` are one."""
    found: dict[str, list[Path]] = {}
    for root in SOURCE_ROOTS:
        for file in sorted(root.rglob("*")):
            if file.suffix in (".py", ".pyx", ".pxd", ".pyi"):
                parts = list(file.relative_to(root).with_suffix("").parts)
                if parts[-1] == "__init__":
                    parts.pop()
                if parts:
                    found.setdefault(".".join(parts), []).append(file)
    return {name: Module(name, tuple(files)) for name, files in found.items()}


def imports(file: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of all that a file imports, wherever in it; names imported are included.

    ``from sup.model import census`` gives ``sup.model.census``; ``module_of`` cuts names back.
    """
    if file.suffix in (".py", ".pyi"):
        return _python_imports(file)
    return _cython_imports(file)


def _python_imports(file: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(file, "." * node.level + (node.module or ""))
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([^#\n]*)", re.MULTILINE)
_PLAIN = re.compile(r"^\s*c?import\s+([\w., ]+)", re.MULTILINE)


def _cython_imports(file: Path) -> list[tuple[int, str]]:
    """Imports and cimports of Cython, by pattern: there is no AST without compiling."""
    text = file.read_text()
    found = []
    for match in _FROM.finditer(text):
        base = _absolute(file, match[1])
        names = [name.split(" as ")[0].strip() for name in match[2].strip(" )").split(",")]
        line = text.count("\n", 0, match.start(1)) + 1
        found += [(line, f"{base}.{name}" if name else base) for name in names]
    for match in _PLAIN.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        found += [
            (line, name.split(" as ")[0].strip()) for name in match[1].split(",") if name.strip()
        ]
    return found


def _absolute(file: Path, name: str) -> str:
    """A relative import's target as a dotted name."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    root = next(root for root in SOURCE_ROOTS if root in file.parents)
    package = file.relative_to(root).parts[:-level]
    return ".".join([*package, *filter(None, [name[level:]])])


def module_of(name: str) -> str:
    """The module of ours that a dotted name is or is in, or empty."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


@cache
def edges() -> tuple[tuple[str, str, str], ...]:
    """(importer, imported module of ours, ``file:line``), without imports of oneself."""
    found = []
    for module in modules().values():
        for file in module.files:
            for line, name in imports(file):
                target = module_of(name)
                if target and target != module.name:
                    found.append((module.name, target, f"{file.relative_to(ROOT)}:{line}"))
    return tuple(found)
