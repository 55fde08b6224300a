"""Check a whole plugin as the supervisor does at start, and that it keeps to the public API."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

from sup.plugins import Contribution, PluginError, inspect_plugin

_PUBLIC = frozenset({"sup.plugin_api", "sup.testing"})


def check_plugin(module: ModuleType) -> Contribution:
    """Call the hooks of ``module``, check what they return and what its package imports of ours.

    Raises:
        AssertionError: what ``sup run --plugin`` would print, or the import of ours that is not
        public.
    """
    try:
        contribution = inspect_plugin(lambda: module)
    except PluginError as error:
        raise AssertionError(f"plugin {module.__name__}: {error}") from error
    assert contribution.provides(), f"plugin {module.__name__} provides nothing"
    for source in _sources(module):
        for name in _imports(source):
            assert name in _PUBLIC, (
                f"{source} imports {name}; a plugin imports sup.plugin_api (its tests: sup.testing)"
            )
    return contribution


def _sources(module: ModuleType) -> list[Path]:
    """The Python files beside the module, or the module's own when it is in no package."""
    if module.__file__ is None:
        return []
    file = Path(module.__file__)
    return sorted(file.parent.rglob("*.py")) if module.__package__ else [file]


def _imports(source: Path) -> list[str]:
    """Modules of ours that this file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(source.read_bytes(), str(source))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "sup":
                names = [f"sup.{alias.name}" for alias in node.names]
        found += [name for name in names if name.split(".")[0] in ("sup", "sup_core")]
    return found
