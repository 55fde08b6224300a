"""From wanted to real: the actions that make the loaded services equal the specs (pure).

Level-triggered: it compares whole states and keeps no memory, so a lost or repeated call changes
nothing and a second call after the actions returns none. The order is total: what frees ports and
names comes before what takes them; within one kind, by service name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sup.model.spec import Spec


@dataclass(frozen=True, slots=True)
class Unload:
    """Stop the service and forget it."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Keep it loaded, take its process down."""

    name: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Replace the loaded service by one with ``spec``, which also says up or down."""

    name: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Load:
    """Load the service with ``spec``, which also says up or down."""

    name: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Start:
    """It is loaded and down; bring its process up."""

    name: str


Action = Unload | Stop | Reload | Load | Start


def reconcile(desired: Mapping[str, Spec], running: Mapping[str, Spec]) -> list[Action]:
    """The actions from ``running`` (loaded services, each with the spec it was loaded with) to
    ``desired``.

    A spec that differs in nothing but ``desired`` is started or stopped in place; any other
    difference is a reload.
    """
    unloads: list[Action] = [Unload(name) for name in sorted(running.keys() - desired.keys())]
    loads: list[Action] = [
        Load(name, desired[name]) for name in sorted(desired.keys() - running.keys())
    ]
    stops: list[Action] = []
    reloads: list[Action] = []
    starts: list[Action] = []
    for name in sorted(desired.keys() & running.keys()):
        want, have = desired[name], running[name]
        if want is have or want == have:
            continue
        if msgspec.structs.replace(have, desired=want.desired) != want:
            reloads.append(Reload(name, want))
        elif want.desired == "up":
            starts.append(Start(name))
        else:
            stops.append(Stop(name))
    return [*unloads, *stops, *reloads, *loads, *starts]
