"""Templates to files: compile a package once, render all of it in memory, write what differs.

If one template fails, nothing is written. A file whose bytes are already there is not touched. A
changed file is written beside its place, synced, given its mode and owner, then renamed, so that
a reader sees the old or the new file and never half of one. Files of templates that no longer
exist are removed; files that the service itself put there are not (the list of ours is kept in
``rendered``).

Modes: ``config/`` files 0640, with execute for owner and group where the source has it for its
owner; hooks 0750; directories 0750. Files belong to the service's user and group; directories
stay ours with the service's group, so that a service can't redirect what a privileged supervisor
writes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sup.edge.package_dir import Package, TemplateFile, hook_of
from sup.errors import ExitCode, OperatorError
from sup.handlebars import compile_template
from sup.model.plan import Plan
from sup.model.service_paths import ServicePaths
from sup.policies import Renderer, Template, TemplateError

logger = logging.getLogger("sup.service")

RENDERED_BYTES_MAX = 4 * 1024 * 1024
"""One rendered file; a template that loops over the census stays far below."""
DIRECTORY_MODE = 0o750
CONFIG_MODE = 0o640
HABITAT_CONFIG_MODE = 0o740
"""Habitat's: the service's user may execute what is in ``config/``, and plans do."""
HOOK_MODE = 0o750
TEMPORARY_SUFFIX = ".sup-new"
LIST_BYTES_MAX = 1024 * 1024
WARNINGS_MAX = 64
"""Different warnings of one loaded package; one more line says that there are others."""

RENDERED_DIRECTORIES = ("config", "config_install", "hooks")
"""Below the service's directory; ``config_install`` is of Habitat plans alone."""

PLUGIN_OF_SUFFIX: Mapping[str, str] = {".j2": "jinja", ".jinja": "jinja", ".jinja2": "jinja"}
"""Suffixes that are always meant as a template language, and the plugin that brings it."""

_INCLUDED = re.compile(r"""\{\{\{?~?#?>\s*["']?([^\s"'{}~]+)""")

Owner = tuple[int, int]
"""User and group id."""


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """One compiled template. ``target`` is relative to ``svc/NAME``: ``config/…`` or
    ``hooks/…``."""

    target: str
    source: str
    mode: int
    template: Template


@dataclass(frozen=True, slots=True)
class CompiledPackage:
    """A package whose templates compile; immutable, shared by every render."""

    package: Package
    files: tuple[CompiledFile, ...] = ()
    warned: set[str] = field(default_factory=set, compare=False, repr=False)
    """What lenient templates were warned of since the package was loaded."""

    @property
    def plan(self) -> Plan:
        return self.package.plan

    @property
    def default(self) -> Mapping[str, Any]:
        return self.package.default

    @property
    def hooks(self) -> frozenset[str]:
        """Names of the hooks the package has."""
        return frozenset(
            file.target.removeprefix("hooks/")
            for file in self.files
            if file.target.startswith("hooks/")
        )


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One file as it should be on disk."""

    target: str
    data: bytes
    mode: int
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class RenderResult:
    """What one render did, by target name (``config/redis.conf``, ``hooks/run``).

    ``reads`` are the dotted paths of the context that each file read: the input of
    ``needs_render``.
    """

    changed: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def config_changed(self) -> bool:
        """Whether anything in ``config/`` was written or removed."""
        return any(name.startswith("config/") for name in self.changed | self.removed)

    @property
    def hooks_changed(self) -> frozenset[str]:
        """Names of the hooks that were written or removed."""
        return frozenset(
            name.removeprefix("hooks/")
            for name in self.changed | self.removed
            if name.startswith("hooks/")
        )


class RenderError(OperatorError):
    """A template can't be rendered; ``name`` is the variable or helper it is about, or empty."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def compile_package(package: Package, renderers: Mapping[str, Renderer]) -> CompiledPackage:
    """Compile every template; ``renderers`` is by suffix, ``""`` being the default language.

    Raises:
        OperatorError: a template has a mistake (``file:line:column: …``), no renderer is there
        for a
            suffix, or two templates render to one file.
    """
    strict = package.plan.service.strict
    files: dict[str, CompiledFile] = {}
    for source in (*package.templates, *package.hooks):
        # In a Habitat plan every file is Handlebars and keeps its name.
        suffix = "" if package.habitat is not None else _suffix(source, renderers)
        target = source.name.removesuffix(suffix)
        other = files.get(target)
        if other is not None:
            raise OperatorError(
                f"{source.path}: renders to {target}, as {other.source} does; rename one of them"
            )
        try:
            template: Template
            if package.habitat is not None:
                template = compile_template(
                    source.source,
                    source.path,
                    strict=strict,
                    partials=_neighbours(source, package.templates),
                    keep_tilde_lines=True,
                )
            else:
                template = renderers[suffix].compile(source.source, source.path, strict=strict)
        except TemplateError as error:
            raise OperatorError(str(error)) from None
        if source.name.startswith("hooks/"):
            mode = HOOK_MODE
        elif package.habitat is not None:
            mode = HABITAT_CONFIG_MODE
        else:
            mode = CONFIG_MODE | (0o110 if source.mode & 0o100 else 0)
        files[target] = CompiledFile(target, source.name, mode, template)
    _check_tree(files)
    return CompiledPackage(package, tuple(files[target] for target in sorted(files)))


def render(compiled: CompiledPackage, context: Mapping[str, Any]) -> tuple[RenderedFile, ...]:
    """Render every template in memory; touches no disk.

    Raises:
        OperatorError: a template fails (``file:line:column: …``) or its result is too large.
    """
    rendered = []
    for file in compiled.files:
        try:
            result = file.template.render(context)
            data = result.text.encode()
            _warn(compiled, result.warnings)
        except TemplateError as error:
            raise RenderError(str(error), error.name) from None
        except UnicodeEncodeError:
            raise OperatorError(
                f"{file.source}: a value is not valid text (lone surrogate)"
            ) from None
        if len(data) > RENDERED_BYTES_MAX:
            raise OperatorError(
                f"{file.source}: renders to {len(data)} bytes, limit is {RENDERED_BYTES_MAX}"
            )
        rendered.append(RenderedFile(file.target, data, file.mode, result.reads))
    return tuple(rendered)


def render_all(
    compiled: CompiledPackage,
    context: Mapping[str, Any],
    paths: ServicePaths,
    owner: Owner | None = None,
) -> RenderResult:
    """Render every template, then make the files below ``paths.root`` equal to the result.

    ``owner`` None leaves the files to the supervisor's own user. Blocks on the disk: call it
    outside the event loop when the disk is slow.

    Raises:
        OperatorError: a template fails (nothing has been written), or the disk does (each file is
            the old or the new one; the next call mends the rest).
    """
    rendered = render(compiled, context)
    try:
        return write_rendered(rendered, paths, owner)
    except OSError as error:
        where = error.filename2 or error.filename or paths.root  # of a rename: its target
        raise OperatorError(
            f"{where}: can't write rendered file: {error.strerror}", ExitCode.FAILED
        ) from error


def write_rendered(
    rendered: Iterable[RenderedFile], paths: ServicePaths, owner: Owner | None = None
) -> RenderResult:
    """Make the files below ``paths.root`` equal to ``rendered``; see ``render_all``.

    Raises:
        OSError: the disk refuses.
    """
    files = {file.target: file for file in rendered}
    _make_directory(paths.root, owner)
    for directory in (paths.config, paths.hooks):
        _make_directory(directory, owner)
    if any(target.startswith("config_install/") for target in files):
        _make_directory(paths.config_install, owner)
    before = _read_list(paths.rendered)
    if not before >= files.keys():  # written first: a crash must not leave a file that nobody knows
        _write_list(paths.rendered, before | files.keys())
    # Before the writes: what was a file may have to become a directory.
    removed = _remove_stale(before - files.keys(), paths.root)
    changed, unchanged = set(), set()
    touched: set[Path] = set()
    for target, file in files.items():
        path = paths.root / target
        for parent in _parents(target):
            _make_directory(paths.root / parent, owner)
        if _same(path, file.data):
            _set_mode(path, file.mode, owner)
            unchanged.add(target)
            continue
        _replace(path, file.data, file.mode, owner)
        touched.add(path.parent)
        changed.add(target)
    for directory in sorted(touched):
        _sync_directory(directory)
    if before != files.keys():
        _write_list(paths.rendered, set(files))
    return RenderResult(
        frozenset(changed),
        frozenset(unchanged),
        frozenset(removed),
        {target: file.reads for target, file in files.items()},
    )


def needs_render(
    reads: Mapping[str, frozenset[str]], old: Mapping[str, Any], new: Mapping[str, Any]
) -> bool:
    """Whether a value that some file read differs between two contexts.

    Errs on the side of rendering: where a path can't be followed to its end, the deepest value that
    both have is compared; a path that begins outside the context compares all of it.
    """
    if old is new:
        return False
    paths = frozenset().union(*reads.values())
    return any(_differs(path, old, new) for path in sorted(paths))


def _differs(path: str, old: Any, new: Any) -> bool:
    for key in path.split("."):
        before, after = _step(old, key), _step(new, key)
        if before is _NOTHING or after is _NOTHING:
            return bool(old != new)
        old, new = before, after
    return bool(old != new)


_NOTHING = object()


def _step(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(key, _NOTHING)
    if isinstance(value, (list, tuple)) and key.isdigit() and int(key) < len(value):
        return value[int(key)]
    return _NOTHING


def _neighbours(source: TemplateFile, templates: Iterable[TemplateFile]) -> dict[str, str]:
    """The files of ``config/`` that a Habitat template includes, and those that they include.

    Habitat registers every file of ``config/`` under its relative path for the others.
    """
    place = source.name.partition("/")[0] + "/"
    if place == "hooks/" or "{{" not in source.source:
        return {}
    named = {t.name.removeprefix(place): t.source for t in templates if t.name.startswith(place)}
    found: dict[str, str] = {}
    todo = [source.source]
    while todo:
        for name in _INCLUDED.findall(todo.pop()):
            if name in named and name not in found:
                found[name] = named[name]
                todo.append(named[name])
    return found


def _warn(compiled: CompiledPackage, warnings: Iterable[str]) -> None:
    """Log each mistake once per load, up to a bound."""
    for warning in warnings:
        if warning in compiled.warned or len(compiled.warned) > WARNINGS_MAX:
            continue
        compiled.warned.add(warning)
        if len(compiled.warned) > WARNINGS_MAX:
            warning = "more undefined values follow, which are not logged"
        logger.warning("template lenient name=%s: %s", compiled.plan.package.name, warning)


def _suffix(source: TemplateFile, renderers: Mapping[str, Renderer]) -> str:
    """The longest suffix of the file that a renderer is there for, or ``""``."""
    name = source.name.rpartition("/")[2]
    for suffix in sorted(renderers, key=len, reverse=True):
        if suffix and name.endswith(suffix) and name != suffix:
            return suffix
    for suffix, plugin in PLUGIN_OF_SUFFIX.items():
        if name.endswith(suffix) and name != suffix:
            raise OperatorError(f"{source.path}: {suffix} needs --plugin {plugin}")
    if source.name.startswith("hooks/") and name != hook_of(name):
        suffix = name.removeprefix(hook_of(name))
        known = ", ".join(sorted(s for s in renderers if s)) or "none"
        raise OperatorError(
            f"{source.path}: no renderer for {suffix} (active: {known});"
            f" name a shell hook hooks/{hook_of(name)}"
        )
    return ""


def _check_tree(files: Mapping[str, CompiledFile]) -> None:
    """A target can't be a file and, for another one, a directory (``config/a.j2`` and
    ``config/a/b``)."""
    for target, file in files.items():
        for parent in _parents(target):
            if parent in files:
                raise OperatorError(
                    f"{file.source}: needs directory {parent}, which {files[parent].source} renders"
                    " as a file; rename one of them"
                )


def _parents(target: str) -> list[str]:
    """Directories below ``config/`` or ``hooks/`` that ``target`` needs, outermost first."""
    parents = [str(parent) for parent in PurePosixPath(target).parents]
    return [parent for parent in reversed(parents) if "/" in parent]


def _make_directory(path: Path, owner: Owner | None) -> None:
    """Make ``path`` a directory that the service may enter; other rights stay as they are."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(path, DIRECTORY_MODE)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):  # a link too: what is behind it is not ours
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if owner is not None and status.st_gid != owner[1]:
        os.chown(path, -1, owner[1])
    mode = stat.S_IMODE(status.st_mode)
    if mode & DIRECTORY_MODE != DIRECTORY_MODE:  # the umask, or a directory made by others
        os.chmod(path, mode | DIRECTORY_MODE)


def _same(path: Path, data: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # `open` does not close a descriptor that it refuses, such as a directory's.
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(len(data) + 1) == data
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _set_mode(path: Path, mode: int, owner: Owner | None) -> None:
    status = os.lstat(path)
    if status.st_mode & 0o7777 != mode:
        os.chmod(path, mode)
    if owner is not None and (status.st_uid, status.st_gid) != owner:
        os.chown(path, *owner, follow_symlinks=False)


def _replace(path: Path, data: bytes, mode: int, owner: Owner | None) -> None:
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    temporary.unlink(missing_ok=True)  # of a supervisor that was killed between open and rename
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)  # after chown, which may clear bits
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_stale(targets: Iterable[str], root: Path) -> set[str]:
    removed = set()
    for target in sorted(targets):
        path = root / target
        if any((root / parent).is_symlink() for parent in _parents(target)):
            continue  # the service has put a link there; what is behind it is not ours
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            continue
        removed.add(target)
        for parent in reversed(_parents(target)):
            try:
                (root / parent).rmdir()
            except OSError:  # not empty: the service keeps files of its own there
                break
        _sync_directory(next(p for p in path.parents if p.is_dir()))
    return removed


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_list(path: Path) -> set[str]:
    """Targets of the last render. A list that can't be read counts as empty: stale files then
    stay."""
    try:
        with open(path, "rb") as file:
            lines = file.read(LIST_BYTES_MAX).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {line for line in lines if _is_target(line)}


def _is_target(line: str) -> bool:
    """Whether a line of the list may be removed: never a path that leads anywhere else."""
    parts = line.split("/")
    return len(parts) > 1 and parts[0] in RENDERED_DIRECTORIES and not {"", ".", ".."} & set(parts)


def _write_list(path: Path, targets: set[str]) -> None:
    _replace(path, "".join(f"{target}\n" for target in sorted(targets)).encode(), 0o600, None)
    _sync_directory(path.parent)
