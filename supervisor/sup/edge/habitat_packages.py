"""Where Habitat packages are on this host, for ``pkg.path``, ``pkgPathFor`` and ``PATH``.

A plan that is started from its directory was not built and installed, so its package and those it
depends on are looked for in this order: the operator's map (``$SUP_PACKAGES``, by default
``/etc/sup/packages.toml``: ``"core/redis" = "/opt/redis"``), packages that Habitat installed
(``/hab/pkgs``, the newest release), for the plan's own package its directory, and at last the
system prefix ``/usr``, with a warning. Reads names of directories and small metafiles only.
"""

from __future__ import annotations

import getpass
import grp
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sup.edge.operator_files import read_operator_file
from sup.errors import OperatorError
from sup.model.config_layers import parse_toml
from sup.model.plan_sh import HABITAT_USER, SERVICE_MARK, service_environment

MAP_VARIABLE = "SUP_PACKAGES"
MAP_FILE = Path("/etc/sup/packages.toml")
MAP_BYTES_MAX = 64 * 1024
PACKAGES_ROOT = Path("/hab/pkgs")
SERVICES_ROOT = Path("/hab/svc")
SYSTEM_PREFIX = "/usr"
BIN_DIRS = ("bin", "sbin")
PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
METAFILE_BYTES_MAX = 64 * 1024

_IDENT = re.compile(r"(?:[A-Za-z0-9_+.-]+/){0,3}[A-Za-z0-9_+.~-]+")


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that a plan needs, and its directory here."""

    origin: str
    name: str
    version: str
    release: str
    path: str

    @property
    def ident(self) -> str:
        return "/".join(filter(None, (self.origin, self.name, self.version, self.release)))

    def row(self) -> dict[str, str]:
        """As templates see it in ``pkg.deps``."""
        parts = {"origin": self.origin, "name": self.name}
        more = {"version": self.version, "release": self.release, "path": self.path}
        return parts | more | {"ident": self.ident}


@dataclass(frozen=True, slots=True)
class HabitatFacts:
    """What ``plan.sh`` adds to a package: its place, its dependencies, its environment."""

    path: str
    dependencies: tuple[Dependency, ...] = ()
    path_dirs: tuple[str, ...] = ()
    changes: tuple[tuple[str, str, str], ...] = ()

    def environment(self, base: Mapping[str, str], service_dir: str) -> dict[str, str]:
        """``base`` with what the plan puts into the environment of its service."""
        return service_environment(self.changes, self.path_dirs, base, service_dir)

    def argv(self, words: Iterable[str], service_dir: str) -> list[str]:
        """A command of the plan with the service's directory in its place."""
        return [word.replace(SERVICE_MARK, service_dir) for word in words]


class PackagePlaces:
    """Finds packages, and remembers which had to be guessed."""

    def __init__(self, table: Mapping[str, str], root: Path = PACKAGES_ROOT) -> None:
        self._guessed: list[str] = []
        self._table = table
        self._root = root
        self._found: dict[str, Dependency] = {}

    @classmethod
    def of_host(cls) -> PackagePlaces:
        """With the operator's map. Raises ``OperatorError`` when that is unusable."""
        named = os.environ.get(MAP_VARIABLE, "")
        file = Path(named or MAP_FILE)
        if not named and not file.exists():
            return cls({})
        data, _ = read_operator_file(file, MAP_BYTES_MAX)
        table = parse_toml(data, str(file), bytes_max=MAP_BYTES_MAX)
        for ident, path in table.items():
            if not isinstance(path, str) or not path.startswith("/"):
                raise OperatorError(
                    f'{file}: "{ident}" is not an absolute directory; write "{ident}" = "/opt/x"'
                )
        return cls(table)

    def find(self, ident: str) -> Dependency:
        """The package ``[origin/]name[/version[/release]]``; never fails."""
        if ident not in self._found:
            self._found[ident] = self._find(ident)
        return self._found[ident]

    def warnings(self) -> list[str]:
        """One line about everything that is looked for in the system prefix."""
        if not self._guessed:
            return []
        return [
            f"looked for in {SYSTEM_PREFIX}, because Habitat has not installed it here:"
            f" {', '.join(self._guessed)[:400]}; if that is wrong, name the directory in"
            f' {MAP_FILE}: "{"/".join(self._guessed[0].split("/")[:2])}" = "/opt/…"'
        ]

    def path_of(self, ident: str) -> str:
        """Its directory."""
        return self.find(ident).path

    def prefix(self, ident: str, plan_dir: Path, bin_dirs: Iterable[str]) -> str:
        """The directory of the plan's own package ``origin/name/version``."""
        mapped = self._mapped(ident.split("/"))
        if mapped is not None:
            return mapped
        installed = self._installed(ident.split("/"))
        if installed is not None:
            return str(installed)
        dirs = [directory for directory in bin_dirs if not directory.startswith("/")]
        places = [plan_dir, *([plan_dir.parent] if plan_dir.name == "habitat" else [])]
        for place in places:
            if any((place / directory).is_dir() for directory in dirs or BIN_DIRS):
                return str(place)
        if not dirs:
            return str(plan_dir)
        self._guess(ident)
        return SYSTEM_PREFIX

    def bin_dirs(self, dependency: Dependency) -> list[str]:
        """Its directories of programs; none for what is of the system."""
        if dependency.path == SYSTEM_PREFIX:
            return []
        path = Path(dependency.path)
        listed = _metafile(path / "PATH")
        if listed:
            return [part for part in listed.split(":") if part.startswith("/")]
        return [str(path / part) for part in BIN_DIRS if (path / part).is_dir()]

    def _find(self, ident: str) -> Dependency:
        parts = ident.split("/")
        named = ["", *parts] if len(parts) == 1 else parts
        origin, name, version, release, *_ = [*named, "", "", ""]
        mapped = self._mapped(named)
        if mapped is not None:
            return Dependency(origin, name, version, release, mapped)
        place = self._installed(named) if _IDENT.fullmatch(ident) else None
        if place is not None:
            *_, origin, name, version, release = place.parts
            return Dependency(origin, name, version, release, str(place))
        self._guess(ident)
        return Dependency(origin, name, version, release, SYSTEM_PREFIX)

    def _mapped(self, parts: list[str]) -> str | None:
        for count in range(len(parts), 1, -1):
            path = self._table.get("/".join(parts[:count]).removeprefix("/"))
            if path is not None:
                return path
        return self._table.get(parts[1])

    def _installed(self, parts: list[str]) -> Path | None:
        """The newest installed release that ``parts`` names."""
        if not self._root.is_dir() or any(part in (".", "..") for part in parts):
            return None
        wanted = [part or "*" for part in parts] + ["*"] * (4 - len(parts))
        found = [path for path in self._root.glob("/".join(wanted)) if path.is_dir()]
        return max(found, key=lambda path: _age(path.parts[-2:]), default=None)

    def _guess(self, ident: str) -> None:
        if ident not in self._guessed:
            self._guessed.append(ident)


def account_of_host(user: str, group: str, warnings: list[str]) -> tuple[str, str]:
    """The user and group that a plan's stand for on this host.

    Only root can change user: anybody else runs everything as themselves, and templates are told
    so. ``hab`` is what plans have that name none; without it on this host, the supervisor's own
    user is taken, as Habitat does. Another user that is missing is an error at the start.
    """
    own = (_name_of_user(), _name_of_group())
    if os.geteuid() != 0:
        return own
    if user == HABITAT_USER and not _exists(pwd.getpwnam, user):
        warnings.append(
            f"user {HABITAT_USER} does not exist on this host, the service runs as {own[0]};"
            f" to change that: useradd --system --user-group {HABITAT_USER}"
        )
        return own
    if group == HABITAT_USER and not _exists(grp.getgrnam, group):
        try:
            group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
        except KeyError:
            group = ""
    return user, group


def link_service(name: str, service_dir: Path, root: Path = SERVICES_ROOT) -> str:
    """Make ``/hab/svc/NAME`` lead to the service's directory, for hooks that write that path out.

    Only where ``/hab/svc`` exists, which is the operator's wish for it; nothing but a broken link
    is replaced. Returns why it could not be done, or nothing.
    """
    link = root / name
    if not root.is_dir():
        return ""
    try:
        if os.path.lexists(link):
            if not link.is_symlink():
                return f"{link} is not a link; it stays, and hooks that use it find that"
            if os.readlink(link) == str(service_dir):
                return ""
            if link.exists():
                return f"{link} leads to {os.readlink(link)}; it stays"
        new = root / f".{name}.sup-new"
        new.unlink(missing_ok=True)
        new.symlink_to(service_dir)
        os.replace(new, link)
    except OSError as error:
        return f"{link}: {(error.strerror or str(error)).lower()}"
    return ""


def _age(parts: Iterable[str]) -> list[list[tuple[int, str]]]:
    """Version and release in their order: numbers as numbers, so that 1.10 follows 1.9."""
    return [
        [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"[.+~_-]", p)]
        for p in parts
    ]


def _metafile(path: Path) -> str:
    try:
        return read_operator_file(path, METAFILE_BYTES_MAX)[0].decode("utf-8", "replace").strip()
    except OperatorError:
        return ""


def _exists(look_up: object, name: str) -> bool:
    try:
        look_up(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def _name_of_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return getpass.getuser() if os.environ.get("USER") else str(os.geteuid())


def _name_of_group() -> str:
    try:
        return grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return str(os.getegid())
