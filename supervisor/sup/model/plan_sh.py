"""What a Habitat ``plan.sh`` says, from the records of its evaluation to a plan (pure).

The shell that evaluated it (``edge/plan_sh.bash``) gives fields that end in NUL; ``parse_records``
reads them into ``PlanFacts``, ``plan_from`` makes a ``Plan`` of these. Only what a running service
needs is taken; what is about building is ignored. Unusable details (an export without a path, an
unknown signal) cost a warning and not the plan, as Habitat forgives them too; what the service
can't do without (its name, a version) is an error. Variables and defaults: Habitat's plan settings.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from sup.errors import OperatorError
from sup.model.plan import ENTRIES_MAX, PackageMeta, Plan, ServicePlan, check_version
from sup.model.service_group import NAME_CHARACTERS_MAX, check_name

SERVICE_MARK = "@sup:svc@"
"""Stands for the service's directory in values that are evaluated before it is known."""
PREFIX_MARK = "@sup:prefix@"
"""Stands for the package's directory."""
TEXT_MAX = 1024
"""Characters of description and license: those of ``plan.toml``."""
COMMAND_BYTES_MAX = 16 * 1024
HABITAT_USER = "hab"
"""User and group of a plan that names none."""

_PACKAGE_MARK = re.compile(r"@sup:pkg:([^@\s]{1,256})@")
_ARITY = {"v": 2, "a": 2, "m": 3, "f": 1, "e": 3, "w": 4, "x": 4, "d": 0}


class Failure(NamedTuple):
    """A command of the plan that failed; ``what`` is the command, or what ``exit_with`` said."""

    file: str
    line: int
    status: int
    what: str

    def __str__(self) -> str:
        what = " ".join(self.what.split())[:120]
        return f"{self.file}:{self.line}: {what} (exit {self.status})"


class PlanFacts(msgspec.Struct, frozen=True):
    """Everything one evaluation said; kept as it is in the cache."""

    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    tables: dict[str, dict[str, str]] = {}
    files: list[str] = []
    environment: list[tuple[str, str, str]] = []
    """``set`` or ``push``, name, value."""
    failures: list[Failure] = []
    ended: Failure | None = None
    """Where the plan ended the shell, when it did."""
    complete: bool = False


class HabitatPlan(NamedTuple):
    """A plan, and what a package directory needs besides: marks are replaced but for
    ``SERVICE_MARK`` in the command and in ``environment``."""

    plan: Plan
    dependencies: tuple[str, ...]
    bin_dirs: tuple[str, ...]
    environment: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]


def parse_records(data: bytes) -> PlanFacts:
    """Read the records; stops at the first that makes no sense, which leaves it incomplete."""
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    tables: dict[str, dict[str, str]] = {}
    files: list[str] = []
    environment: list[tuple[str, str, str]] = []
    failures: list[Failure] = []
    ended: Failure | None = None
    complete = False
    for kind, fields in _records(data):
        match kind, fields:
            case "v", [name, value]:
                values[name] = value
            case "a", [name, value]:
                lists.setdefault(name, []).append(value)
            case "m", [name, key, value]:
                tables.setdefault(name, {})[key] = value
            case "f", [file]:
                files.append(file)
            case "e", [how, name, value]:
                environment.append((how, name, value))
            case "w", [file, line, status, what]:
                failure = Failure(file, _number(line), _number(status), what)
                # A command substitution and the command around it fail together: once.
                if all(failure[:2] != other[:2] for other in failures):
                    failures.append(failure)
            case "x", [file, line, status, what]:
                ended = Failure(file, _number(line), _number(status), what)
            case _:
                complete = True
    return PlanFacts(values, lists, tables, files, environment, failures, ended, complete)


def plan_from(
    facts: PlanFacts,
    file: str,
    *,
    account: Callable[[str, str], tuple[str, str]],
    path_of: Callable[[str], str],
    prefix_of: Callable[[str], str],
    has_run_hook: bool,
) -> HabitatPlan:
    """Make a plan; ``file`` is what errors call it.

    ``account`` turns the plan's user and group into those of this host, ``path_of`` a package's
    ident into its directory, and ``prefix_of`` this package's own ident into its own.

    Raises:
        OperatorError: one line: no name, no version, or nothing to run.
    """
    warnings = [str(failure) for failure in facts.failures]
    values, lists, tables = facts.values, facts.lists, facts.tables
    why = f"; {warnings[0]}" if warnings else ""
    name, version = values.get("pkg_name", ""), values.get("pkg_version", "")
    for what, value in (("pkg_name", name), ("pkg_version", version)):
        if not value:
            raise OperatorError(f"{file}: {what} is empty; a plan has to set it{why}")
    check_name(name, f"{file}: pkg_name")
    origin = check_name(values.get("pkg_origin", "") or "local", f"{file}: pkg_origin")
    check_version(version, f"{file}: pkg_version")
    prefix = prefix_of(f"{origin}/{name}/{version}")

    def filled(text: str) -> str:
        text = text.replace(PREFIX_MARK, prefix)
        return _PACKAGE_MARK.sub(lambda mark: path_of(mark[1]), text)

    command = filled(values.get("pkg_svc_run", "")).strip()
    if not command and not has_run_hook:
        raise OperatorError(
            f"{file} has neither pkg_svc_run nor hooks/run; there is nothing to run, and a library"
            " is no service"
        )
    if len(command.encode()) > COMMAND_BYTES_MAX:
        raise OperatorError(
            f"{file}: pkg_svc_run is {len(command.encode())} bytes, limit is {COMMAND_BYTES_MAX}"
        )
    exports = _exports(tables.get("pkg_exports", {}), file, warnings)
    binds = _binds(tables.get("pkg_binds", {}), file, warnings)
    optional = _binds(tables.get("pkg_binds_optional", {}), file, warnings)
    exposes = []
    for export in _words(lists.get("pkg_exposes", [])):
        if export in exports:
            exposes.append(export)
        else:
            warnings.append(f"{file}: pkg_exposes: {export!r:.80} is not in pkg_exports; ignored")
    user, group = account(
        values.get("pkg_svc_user", "") or HABITAT_USER,
        values.get("pkg_svc_group", "") or HABITAT_USER,
    )
    plan = Plan(
        package=PackageMeta(
            name=name,
            origin=origin,
            version=version,
            description=" ".join(values.get("pkg_description", "").split())[:TEXT_MAX],
            license=", ".join(lists.get("pkg_license", []))[:TEXT_MAX],
        ),
        exports=exports,
        binds=binds,
        binds_optional={key: names for key, names in optional.items() if key not in binds},
        service=ServicePlan(
            user=user,
            group=group,
            stop_signal=_signal(values.get("pkg_shutdown_signal", ""), file, warnings),
            stop_timeout=_timeout(values.get("pkg_shutdown_timeout_sec", ""), file, warnings),
            command=None if not command else _run_line(command, prefix),
            strict=False,
            exposes=exposes,
        ),
    )
    environment = [
        *(("set", key, value) for key, value in sorted(tables.get("pkg_env", {}).items())),
        *facts.environment,
    ]
    return HabitatPlan(
        plan=plan,
        dependencies=tuple(dict.fromkeys(_words(lists.get("pkg_deps", [])))),
        bin_dirs=tuple(lists.get("pkg_bin_dirs", [])),
        environment=tuple((how, key, filled(value)) for how, key, value in environment),
        warnings=tuple(warnings[:ENTRIES_MAX]),
    )


def service_environment(
    changes: tuple[tuple[str, str, str], ...],
    path_dirs: tuple[str, ...],
    base: Mapping[str, str],
    service_dir: str,
) -> dict[str, str]:
    """``base`` with the plan's runtime environment; ``path_dirs`` come first in ``PATH``."""
    environment = dict(base)
    for how, name, value in changes:
        value = value.replace(SERVICE_MARK, service_dir)
        old = environment.get(name, "")
        environment[name] = f"{value}:{old}" if how == "push" and old else value
    path = [*path_dirs, *filter(None, environment.get("PATH", "").split(":"))]
    environment["PATH"] = ":".join(dict.fromkeys(path))
    return environment


def _records(data: bytes) -> Iterator[tuple[str, list[str]]]:
    fields = data.decode("utf-8", "replace").split("\0")
    fields.pop()  # what follows the last NUL: nothing, or a field that was cut
    place = 0
    while place < len(fields):
        arity = _ARITY.get(fields[place])
        if arity is None or place + arity >= len(fields):
            return
        yield fields[place], fields[place + 1 : place + 1 + arity]
        place += arity + 1


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _words(items: list[str]) -> list[str]:
    return [word for item in items for word in item.split()]


def _run_line(command: str, prefix: str) -> str:
    """The shell's line for ``pkg_svc_run``: a program named by a relative path is the package's."""
    program = command.split(maxsplit=1)[0]
    if "/" in program and not program.startswith(("/", "$", "@", "'", '"', ".")):
        command = f"{prefix}/{command}"
    return f"exec {command}"


def _exports(table: Mapping[str, str], file: str, warnings: list[str]) -> dict[str, str]:
    exports: dict[str, str] = {}
    for name, path in sorted(table.items()):
        if not path or "" in path.split(".") or not _is_key(name):
            warnings.append(f"{file}: pkg_exports: [{name:.80}]={path:.80} is no export; ignored")
        elif len(exports) == ENTRIES_MAX:
            warnings.append(f"{file}: pkg_exports: only the first {ENTRIES_MAX} are kept")
            break
        else:
            exports[name] = path
    return exports


def _binds(table: Mapping[str, str], file: str, warnings: list[str]) -> dict[str, list[str]]:
    binds: dict[str, list[str]] = {}
    for name, wanted in sorted(table.items()):
        if not _is_key(name) or len(binds) == ENTRIES_MAX:
            warnings.append(f"{file}: bind {name!r:.80} is ignored; it is no name, or one too many")
        else:
            binds[name] = wanted.split()
    return binds


def _is_key(name: str) -> bool:
    return 0 < len(name) <= NAME_CHARACTERS_MAX and name.isprintable() and " " not in name


def _signal(text: str, file: str, warnings: list[str]) -> str:
    name = text.strip().upper().removeprefix("SIG")
    if not name or f"SIG{name}" in signal.Signals.__members__:
        return name or "TERM"
    warnings.append(f"{file}: pkg_shutdown_signal {text!r:.40} is not a signal; TERM is used")
    return "TERM"


def _timeout(text: str, file: str, warnings: list[str]) -> float:
    if not text.strip():
        return ServicePlan().stop_timeout
    seconds = _number(text.strip())
    if seconds or text.strip() == "0":
        return float(min(seconds, 86400))
    warnings.append(f"{file}: pkg_shutdown_timeout_sec {text!r:.40} is not a number; 8 is used")
    return ServicePlan().stop_timeout
