"""What can hold a service's start (floor 8): the question that a service asks before each start.

A gate decides nothing about the service; it says why a start would be wrong now. There are gates
for binds (``service_binds``) and for the services that a service comes after (``start_order``);
whether this member may start at all, the topology says. Whoever holds a gate calls
``Service.look`` when it may have opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class StartGate(Protocol):
    """One reason, or none, for a start to wait. Cheap: asked at every step of the service."""

    def held(self) -> str:
        """Why the start must wait, in one line for people; empty: it need not."""
        ...


def held_by(gates: Iterable[StartGate]) -> str:
    """The first reason, or empty: nothing holds the start."""
    for gate in gates:
        reason = gate.held()
        if reason:
            return reason
    return ""
