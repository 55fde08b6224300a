"""Which services of one supervisor start after which (pure): what a start waits for, circles, and
who must be gone before whom.

``after`` maps a service to the services it comes after, each with a condition (``started``,
``ready`` or ``healthy``). It orders starts and the end of the supervisor, and nothing else: a
service is not taken down because one it came after fails. Names that are not loaded are waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sup.errors import OperatorError
from sup.model.process_plan import Condition
from sup.model.process_state import State

After = Mapping[str, Condition]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a service has come."""

    state: State
    has_process: bool = False
    started: bool = False
    """Its process is ready as its type has it."""
    healthy: bool = False
    """Its health check says that it may be used."""

    def meets(self, condition: Condition) -> bool:
        """Whether a service that comes after this one may start. One that is done meets all."""
        if self.state is State.DONE:
            return True
        if not self.has_process or self.state is State.STOPPING:
            return False
        up = self.started and self.state.running
        return {"started": True, "ready": up, "healthy": up and self.healthy}[condition]


def parse_after(words: Iterable[str]) -> dict[str, Condition]:
    """``db:healthy`` (or ``db``, which means ready) of the command line.

    Raises:
        OperatorError: not of that form, or a service is named twice.
    """
    after: dict[str, Condition] = {}
    for word in words:
        name, _, condition = word.partition(":")
        if name in after:
            raise OperatorError(f"--after {word!r:.80}: {name} is named twice; keep one")
        match condition or "ready":
            case "started" | "ready" | "healthy" as known if name:
                after[name] = known
            case _:
                raise OperatorError(
                    f"--after {word!r:.80} is not NAME or NAME:CONDITION,"
                    " with started, ready or healthy"
                )
    return after


def waits_for(after: After, standings: Mapping[str, Standing]) -> str:
    """What a start waits for, in one line, or empty."""
    missing = []
    for name, condition in after.items():
        standing = standings.get(name)
        if standing is None:
            missing.append(f"{name} ({condition}), which is not loaded here")
        elif not standing.meets(condition):
            missing.append(f"{name} ({condition}), which is {standing.state.value}")
    return f"waits for {'; '.join(missing)}" if missing else ""


def circle(orders: Mapping[str, Collection[str]], name: str) -> tuple[str, ...]:
    """The shortest way from ``name`` back to itself, ``name`` at both ends; empty: there is none.

    Linear in services and their ``after`` entries.
    """
    came_from: dict[str, str] = {}
    queue = [name]
    for here in queue:
        for there in sorted(orders.get(here, ())):
            if there == name:
                way = [name, here]
                while way[-1] != name:
                    way.append(came_from[way[-1]])
                return (name, *reversed(way[1:-1]), name) if here != name else (name, name)
            if there not in came_from:
                came_from[there] = here
                queue.append(there)
    return ()


def circle_line(way: Collection[str]) -> str:
    """One line that names a circle."""
    return f"after forms a circle: {' -> '.join(way)}; remove one of them"


def dependants(orders: Mapping[str, Collection[str]], name: str) -> frozenset[str]:
    """Who comes after ``name`` and so must be gone before it; what is part of a circle has no
    order.
    """
    if circle(orders, name):
        return frozenset()
    return frozenset(other for other, after in orders.items() if name in after)
