"""Names of services and groups: ``redis.default`` is service ``redis``, group ``default`` (pure).

Names travel in gossip, become file names and environment variables, so the alphabet is small:
letters, digits, ``_`` and ``-``, at most 64 of them. A dot always separates service and group,
never part of a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sup.errors import OperatorError

NAME_CHARACTERS_MAX = 64
"""Characters in a service or group name: short enough for file names, metrics and one packet."""

NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z"
"""What a service or group name looks like; ``-`` can't be first, so that it is never taken for an
option."""

_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True, order=True)
class ServiceGroup:
    """All members of the ring that run ``service`` under the same ``group`` name."""

    service: str
    group: str

    def __str__(self) -> str:
        return f"{self.service}.{self.group}"


def is_name(text: str) -> bool:
    """Whether ``text`` may name a service, a group, a topology, a strategy or a bind."""
    return _NAME.match(text) is not None


def check_name(text: str, what: str) -> str:
    """Return ``text`` when it is a name; ``what`` begins the error line (``service name``).

    Raises:
        OperatorError: it is empty, too long, or has a character outside the alphabet.
    """
    if is_name(text):
        return text
    if len(text) > NAME_CHARACTERS_MAX:
        raise OperatorError(
            f"{what} is {len(text)} characters, limit is {NAME_CHARACTERS_MAX}; shorten it"
        )
    raise OperatorError(
        f"{what} {text!r} is not a name; use letters, digits, '_' and '-', not beginning with '-'"
    )


def parse_service_group(text: str) -> ServiceGroup:
    """Read ``service.group``.

    Raises:
        OperatorError: there is not exactly one dot, or a part is not a name.
    """
    service, dot, group = text.partition(".")
    if not dot:
        hint = f"{text}.default" if is_name(text) else "redis.default"
        raise OperatorError(f"service group {text!r} has no group; write it as in {hint!r}")
    return ServiceGroup(
        check_name(service, f"service group {text[:140]!r}: service name"),
        check_name(group, f"service group {text[:140]!r}: group name"),
    )
