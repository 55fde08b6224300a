"""Reading a package directory: the plan, the default configuration, templates and hooks.

Everything is read once, bounded and checked, into an immutable value; nothing is written and
nothing is run. A symbolic link that leaves the directory, a device, a file that is not UTF-8, a
misspelt hook or a hook without execute permission is refused with one line. Layout:
``plan.toml``, ``default.toml``, ``config/``, ``hooks/``. Hidden files and
editor back-ups (``~``) in ``hooks/`` are left alone.

Without ``plan.toml``, Habitat's ``plan.sh`` (or ``habitat/plan.sh``, the rest then being beside it)
is evaluated in a cage and its habits are kept: ``config_install/`` too, hooks need no execute
permission, those with ``_`` for ``-`` in their names count, and files that are no hooks are passed
over with a warning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sup.edge.habitat_packages import (
    PATH_DEFAULT,
    HabitatFacts,
    PackagePlaces,
    account_of_host,
)
from sup.edge.operator_files import read_operator_file, reason
from sup.edge.plan_sh import evaluate_plan, find_plan
from sup.errors import OperatorError
from sup.model.config_layers import decode_text, parse_toml
from sup.model.convert import near
from sup.model.plan import PLAN_BYTES_MAX, Plan, for_command, parse_plan
from sup.model.plan_sh import plan_from

DEFAULT_BYTES_MAX = 256 * 1024
TEMPLATE_BYTES_MAX = 1024 * 1024
TEMPLATES_MAX = 256
"""Templates and hooks of one package; all are compiled and kept in memory."""
DIRECTORY_DEPTH_MAX = 8
"""Nested directories below ``config/``."""
HOOK_NAMES = (
    "install",
    "uninstall",
    "init",
    "run",
    "post-run",
    "health-check",
    "startup-check",
    "liveness-check",
    "reconfigure",
    "suitability",
    "demote",
    "pre-update",
    "post-stop",
    "file-updated",
)
"""The hooks there are, in the order of a service's life."""
SHELL_SUFFIXES = (".sh", ".bash")
"""A hook of a Habitat plan may be called by its language, unless the plain name is there too."""
_PACKAGE_NAMED = re.compile(r"pkgPathFor\s+['\"]([^'\"\s]+)['\"]")


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One file of ``config/`` or ``hooks/``, not yet compiled.

    ``name`` is relative to the package (``config/redis.conf.j2``, ``hooks/run``); ``mode`` has the
    permission bits; ``path`` is what errors call the file.
    """

    name: str
    source: str
    mode: int
    path: str


@dataclass(frozen=True, slots=True)
class Package:
    """A package as read. ``directory`` is None for a wrapped command."""

    plan: Plan
    default: Mapping[str, Any] = field(default_factory=dict)
    templates: tuple[TemplateFile, ...] = ()
    """Files of ``config/``, sorted by name."""
    hooks: tuple[TemplateFile, ...] = ()
    """Files of ``hooks/``, sorted by name."""
    directory: Path | None = None
    habitat: HabitatFacts | None = None
    """What a ``plan.sh`` says besides the plan; None for our own packages."""
    warnings: tuple[str, ...] = ()
    """What was guessed or passed over, one line each."""

    def context(self, service_dir: str) -> dict[str, Any]:
        """What templates get to know of the package's place, for ``build_context``."""
        if self.habitat is None:
            return {"package_dir": self.directory}
        base = {"PATH": PATH_DEFAULT}
        return {
            "package_dir": Path(self.habitat.path),
            "dependencies": [found.row() for found in self.habitat.dependencies],
            "environment": self.habitat.environment(base, service_dir),
        }


def hook_of(file_name: str) -> str:
    """The hook a file in ``hooks/`` is for: ``run`` of ``run.j2``. No hook's name has a dot."""
    return file_name.partition(".")[0]


def load_package(directory: Path, *, cache_dir: Path | None = None) -> Package:
    """Read and check the package in ``directory``; ``cache_dir`` keeps what a ``plan.sh`` gave.

    Raises:
        OperatorError: one line that names the file and what to do.
    """
    try:
        root = directory.resolve(strict=True)
        is_directory = root.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise OperatorError(f"{directory}: {reason(error)}; give a package directory") from None
    if not is_directory:
        raise OperatorError(f"{directory} is not a directory; give a package directory")
    plan_path = directory / "plan.toml"
    if not _exists(plan_path):
        habitat_plan = find_plan(directory)
        if habitat_plan is not None:
            return _load_habitat(directory, habitat_plan, root, cache_dir)
        raise OperatorError(
            f"{directory} has no plan.toml; write one with [package] name (Habitat's plan.sh would"
            " do as well)"
        )
    data, _ = _read(plan_path, root, PLAN_BYTES_MAX)
    plan = parse_plan(data, str(plan_path))
    default = _default(directory, root)
    budget = [TEMPLATES_MAX]
    templates = tuple(_templates(directory / "config", root, "config", budget, 0))
    hooks = tuple(_hooks(directory / "hooks", root, budget))
    if plan.service.command is None and not any(_hook_name(h) == "run" for h in hooks):
        raise OperatorError(
            f"{directory} has neither hooks/run nor service.command in plan.toml;"
            " there is nothing to run, add one of them"
        )
    return Package(plan, default, templates, hooks, directory)


def package_for_command(name: str, command: list[str] | tuple[str, ...] | str) -> Package:
    """The package that wraps a bare program.

    Raises:
        OperatorError: ``name`` is not a name, or the command is empty.
    """
    return Package(for_command(name, command))


def _load_habitat(directory: Path, file: Path, root: Path, cache_dir: Path | None) -> Package:
    """The package of a ``plan.sh``. Raises ``OperatorError`` as ``load_package`` does."""
    _inside(file, root)
    place = file.parent
    facts = evaluate_plan(file, cache_dir=cache_dir)
    warnings: list[str] = []
    budget = [TEMPLATES_MAX]
    # A file of that name is something of the build, a kernel-like configuration for instance.
    templates = tuple(
        template
        for name in ("config", "config_install")
        if not (place / name).is_file()
        for template in _templates(place / name, root, name, budget, 0)
    )
    hooks = tuple(_habitat_hooks(place / "hooks", root, budget, warnings))
    places = PackagePlaces.of_host()
    bin_dirs = facts.lists.get("pkg_bin_dirs", [])
    found = plan_from(
        facts,
        str(file),
        account=lambda user, group: account_of_host(user, group, warnings),
        path_of=places.path_of,
        prefix_of=lambda ident: places.prefix(ident, place, bin_dirs),
        has_run_hook=any(_hook_name(hook) == "run" for hook in hooks),
    )
    # Habitat knows the dependencies of dependencies, and templates use them.
    named = (
        ident for hook in (*templates, *hooks) for ident in _PACKAGE_NAMED.findall(hook.source)
    )
    dependencies = tuple(
        places.find(ident) for ident in dict.fromkeys((*found.dependencies, *named))
    )
    package = found.plan.package
    prefix = places.prefix(f"{package.origin}/{package.name}/{package.version}", place, bin_dirs)
    own = [str(Path(prefix) / part) for part in found.bin_dirs or ("bin",)]
    path_dirs = [*own, *(part for found in dependencies for part in places.bin_dirs(found))]
    return Package(
        found.plan,
        _default(place, root),
        templates,
        hooks,
        directory,
        HabitatFacts(
            prefix,
            dependencies,
            tuple(dict.fromkeys(part for part in path_dirs if os.path.isdir(part))),
            found.environment,
        ),
        tuple(dict.fromkeys((*found.warnings, *warnings, *places.warnings()))),
    )


def _default(directory: Path, root: Path) -> dict[str, Any]:
    path = directory / "default.toml"
    if not _exists(path):
        return {}
    data, _ = _read(path, root, DEFAULT_BYTES_MAX)
    return parse_toml(data, str(path), bytes_max=DEFAULT_BYTES_MAX)


def _habitat_hooks(
    directory: Path, root: Path, budget: list[int], warnings: list[str]
) -> Iterator[TemplateFile]:
    """The hooks of a Habitat plan under our names for them."""
    entries = {entry.name: entry for entry in _entries(directory, root, budget)}
    taken: set[str] = set()
    # The plain name wins over the one with ``_``, and that over the one with a suffix.
    for name in sorted(entries, key=lambda name: ("." in name, "_" in name, name)):
        stem, dot, suffix = name.partition(".")
        hook = stem.replace("_", "-")
        path = directory / name
        if name.startswith(".") or name.endswith("~"):
            continue
        if hook not in HOOK_NAMES or (dot and dot + suffix not in SHELL_SUFFIXES):
            why = "a changed configuration restarts the service" if hook == "reload" else "no hook"
            if suffix not in ("ps1", "md"):
                warnings.append(f"{path} is passed over: {why}")
        elif hook in taken:
            warnings.append(f"{path} is passed over: hook {hook} has another file")
        else:
            taken.add(hook)
            file = _template(path, root, f"hooks/{hook}")
            yield TemplateFile(file.name, file.source, file.mode | 0o111, file.path)


def _hook_name(file: TemplateFile) -> str:
    return hook_of(file.name.removeprefix("hooks/"))


def _templates(
    directory: Path, root: Path, prefix: str, budget: list[int], depth: int
) -> Iterator[TemplateFile]:
    for entry in _entries(directory, root, budget):
        name = f"{prefix}/{entry.name}"
        path = directory / entry.name
        if entry.is_dir(follow_symlinks=False):
            if depth >= DIRECTORY_DEPTH_MAX:
                raise OperatorError(
                    f"{path}: directories nest deeper than {DIRECTORY_DEPTH_MAX}; flatten them"
                )
            yield from _templates(path, root, name, budget, depth + 1)
        else:
            yield _template(path, root, name)


def _hooks(directory: Path, root: Path, budget: list[int]) -> Iterator[TemplateFile]:
    seen: dict[str, str] = {}
    for entry in _entries(directory, root, budget):
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        path = directory / entry.name
        hook = hook_of(entry.name)
        if hook not in HOOK_NAMES:
            raise OperatorError(f"{path}: no hook is called {hook!r}{near(hook, [*HOOK_NAMES])}")
        if hook in seen:
            raise OperatorError(f"{path}: hook {hook!r} is also in {seen[hook]}; keep one")
        seen[hook] = entry.name
        template = _template(path, root, f"hooks/{entry.name}")
        if not template.mode & 0o111:
            raise OperatorError(
                f"hooks/{entry.name} has no execute permission; run: chmod +x {path}"
            )
        yield template


def _entries(directory: Path, root: Path, budget: list[int]) -> list[os.DirEntry[str]]:
    """The entries of ``directory`` by name; none when it does not exist. Takes them from
    ``budget``."""
    if not _exists(directory):
        return []
    _inside(directory, root)
    entries = []
    try:
        with os.scandir(directory) as found:
            for entry in found:
                budget[0] -= 1
                if budget[0] < 0:
                    raise OperatorError(
                        f"{directory}: more than {TEMPLATES_MAX} files in config/ and hooks/;"
                        " move static files elsewhere"
                    )
                entries.append(entry)
    except OSError as error:
        raise OperatorError(f"{directory}: {reason(error)}") from None
    return sorted(entries, key=lambda entry: entry.name)


def _template(path: Path, root: Path, name: str) -> TemplateFile:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise OperatorError(f"{name!r}: the file's name is not UTF-8; rename it") from None
    if not name.isprintable():  # names are written one per line, in lists and in errors
        raise OperatorError(f"{name!r}: the file's name has a control character; rename it")
    data, mode = _read(path, root, TEMPLATE_BYTES_MAX)
    return TemplateFile(
        name, decode_text(data, str(path), bytes_max=TEMPLATE_BYTES_MAX), mode, str(path)
    )


def _exists(path: Path) -> bool:
    """Whether something is at ``path``, if only a broken link; what can't be told is an error."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OperatorError(f"{path}: {reason(error)}") from None
    return True


def _inside(path: Path, root: Path) -> None:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise OperatorError(f"{path}: {reason(error)}") from None
    if not real.is_relative_to(root):
        raise OperatorError(f"{path} leads out of the package, to {real}; copy the file into it")


def _read(path: Path, root: Path, bytes_max: int) -> tuple[bytes, int]:
    """Contents and permission bits of a regular file inside ``root``."""
    _inside(path, root)
    return read_operator_file(path, bytes_max)
