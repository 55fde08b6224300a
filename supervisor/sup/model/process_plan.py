"""What a plan says about a service's process beyond its command: limits, resources, log (pure).

The tables ``[service.limits]``, ``[service.resources]`` and ``[service.log]`` of ``plan.toml``, and
the checks of single values that types can't express: signals, exit statuses, sizes, file modes.
Every check raises one line that names the file, the path of the value, the value and the bound.
Words and meanings follow systemd.exec(5), systemd.service(5) and systemd.resource-control(5).
Neighbours: ``plan`` (the whole file), ``restart`` (what exit statuses mean).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sup.errors import OperatorError
from sup.model.convert import near

INFINITY = -1
"""What ``infinity`` becomes: resource.RLIM_INFINITY, and "max" of a cgroup."""
LIMIT_MAX = (1 << 63) - 1
EXIT_STATUS_MAX = 255
VARIABLES_MAX = 256
"""Variables of a plan's environment; execve(2) bounds them all at a quarter of the stack limit."""
VARIABLE_BYTES_MAX = 32 * 1024
"""One value: a quarter of what the kernel allows for one string."""

ServiceType = Literal["simple", "notify", "oneshot"]
Condition = Literal["started", "ready", "healthy"]
KillMode = Literal["group", "mixed", "process"]
RestartWord = Literal[
    "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog", "no"
]

Size = int | str | None
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MODE = re.compile(r"0?[0-7]{1,3}")


class LimitsPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service.limits]``: resource limits of the process, as setrlimit(2) knows them.

    Each is an integer (soft and hard), ``"infinity"`` or ``"soft:hard"``; sizes are bytes and take
    K, M, G, T (powers of 1024). What is not given is inherited from the supervisor.
    """

    nofile: Size = None
    nproc: Size = None
    core: Size = None
    as_: Size = msgspec.field(default=None, name="as")
    memlock: Size = None
    stack: Size = None
    fsize: Size = None
    data: Size = None

    @property
    def given(self) -> dict[str, tuple[int, int]]:
        """Limit by name (``nofile`` …) to (soft, hard); -1 is infinity. For a checked plan."""
        return {name: _limit(value, name) for name, value in self.raw.items() if value is not None}

    @property
    def raw(self) -> dict[str, Size]:
        """All limits by the name in the plan, as they stand there."""
        return {
            field.encode_name: getattr(self, field.name) for field in msgspec.structs.fields(self)
        }


class ResourcesPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service.resources]``: bounds of the whole tree, by cgroup v2.

    Sizes are bytes and take K, M, G, T; ``"infinity"`` is none. Where there is no cgroup v2 that
    we may write to they are ignored, with one warning.
    """

    memory_max: Size = None
    memory_high: Size = None
    tasks_max: Size = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10000)] | None = None

    @property
    def given(self) -> dict[str, int]:
        """Name to number for what is set; -1 is infinity. For a checked plan."""
        found = {
            name: _size(value, name)
            for name in ("memory_max", "memory_high", "tasks_max")
            if (value := getattr(self, name)) is not None
        }
        return found if self.cpu_weight is None else found | {"cpu_weight": self.cpu_weight}


class LogPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service.log]``: when the log is rotated, how many files stay, where a line is cut."""

    max_bytes: Size = 10 * 1024 * 1024
    files: Annotated[int, Meta(ge=1, le=100)] = 3
    line_bytes_max: Annotated[int, Meta(ge=256, le=1024 * 1024)] = 16 * 1024

    @property
    def bytes_max(self) -> int:
        """``max_bytes`` as a number. For a checked plan."""
        return _size(self.max_bytes, "max_bytes")


def check_tables(limits: LimitsPlan, resources: ResourcesPlan, log: LogPlan, file: str) -> None:
    """Hold the three tables to their bounds. Raises ``OperatorError``: one line."""
    for name, value in limits.raw.items():
        if value is not None:
            _limit(value, f"{file}: service.limits.{name}")
    for name in ("memory_max", "memory_high", "tasks_max"):
        if (value := getattr(resources, name)) is not None:
            what = f"{file}: service.resources.{name}"
            if _size(value, what) == 0:
                raise OperatorError(f'{what} is 0, nothing could run; give more, or "infinity"')
    what = f"{file}: service.log.max_bytes"
    if _size(log.max_bytes, what) < 64 * 1024:
        raise OperatorError(f'{what} is {log.max_bytes!r}; give at least "64K"')


def check_signal(text: str, what: str) -> None:
    """Refuse what is no signal of this system. Raises ``OperatorError``."""
    if signal_name(text) not in signal.Signals.__members__:
        known = [s.name.removeprefix("SIG") for s in signal.Signals]
        hint = near(text.removeprefix("SIG").upper(), known)
        hint = hint if "mean" in hint else "; use TERM, INT, QUIT, HUP, USR1, …"
        raise OperatorError(f"{what} {text!r:.40} is not a signal{hint}")


def signal_name(text: str) -> str:
    """``TERM`` and ``SIGTERM`` are the same signal: its full name."""
    return text if text.startswith("SIG") else f"SIG{text}"


def check_statuses(statuses: list[int | str], what: str) -> None:
    """Refuse what is neither an exit code (0 to 255) nor a signal. Raises ``OperatorError``."""
    if len(statuses) > EXIT_STATUS_MAX:
        raise OperatorError(f"{what} has {len(statuses)} entries, limit is {EXIT_STATUS_MAX}")
    for status in statuses:
        if isinstance(status, str):
            check_signal(status, f"{what}:")
        elif not 0 <= status <= EXIT_STATUS_MAX:
            raise OperatorError(
                f"{what}: {status} is not an exit code; give 0 to {EXIT_STATUS_MAX} or a signal"
            )


def check_umask(text: str, what: str) -> None:
    """Refuse what is no file mode mask in octal. Raises ``OperatorError``."""
    if not _MODE.fullmatch(text):
        raise OperatorError(
            f'{what} {text!r:.40} is not a file mode; write it in octal, as in "027"'
        )


def check_environment(environment: Mapping[str, str], what: str) -> None:
    """Refuse names that no shell could say, and what is too large. Raises ``OperatorError``."""
    if len(environment) > VARIABLES_MAX:
        raise OperatorError(f"{what} has {len(environment)} entries, limit is {VARIABLES_MAX}")
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            raise OperatorError(
                f"{what}: {name!r:.60} is not a variable; use letters, digits and _"
            )
        if name.startswith("SUP_") or name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            raise OperatorError(f"{what}: {name} is set by the supervisor; use another name")
        size = len(value.encode("utf-8", "replace"))
        if "\0" in value or size > VARIABLE_BYTES_MAX:
            raise OperatorError(
                f"{what}: {name} has {size} bytes or a zero byte;"
                f" limit is {VARIABLE_BYTES_MAX}, put it into a file"
            )


def _limit(value: int | str, what: str) -> tuple[int, int]:
    """(soft, hard) of one limit. Raises ``OperatorError``."""
    if isinstance(value, str) and ":" in value:
        soft, hard = (_size(part, what) for part in value.split(":", 1))
    else:
        soft = hard = _size(value, what)
    if hard != INFINITY and (soft == INFINITY or soft > hard):
        raise OperatorError(f"{what}: {value!r}: the soft limit is above the hard one; swap them")
    return soft, hard


def _size(value: int | str | None, what: str) -> int:
    """A count or bytes; -1 for infinity. Raises ``OperatorError``."""
    if value == "infinity":
        return INFINITY
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        number = int(match[1]) * _UNITS[match[2]] if match else -1
    else:
        number = -1 if value is None else value
    if not 0 <= number <= LIMIT_MAX:
        raise OperatorError(
            f'{what}: {value!r:.40} is no limit; give a number (K, M, G or T after it), "infinity"'
        )
    return number
