"""The bind gate of one service: what its binds resolve to now, and whether its start waits
(floor 8).

It keeps the last answer of ``sup.model.binds`` and tells the events when it becomes another one. It
never stops anything: a bind that goes away from a running service changes what templates render,
and holds only the next start.
"""

from __future__ import annotations

from sup import events
from sup.model import binds
from sup.model.binds import Bound
from sup.model.census import Census
from sup.model.plan import Plan
from sup.model.spec import Spec


class BindGate:
    """Holds a start while a strict bind has no member to use."""

    def __init__(self, spec: Spec, plan: Plan) -> None:
        self.bound: tuple[Bound, ...] = ()
        """The binds as of the last ``look``, by name."""
        self._spec = spec
        self._plan = plan
        self._problems: tuple[str, ...] = ()

    def held(self) -> str:
        """Why a start waits, in one line, or empty."""
        return binds.held(self.bound, self._spec.binding_mode)

    def look(self, census: Census) -> tuple[Bound, ...]:
        """Resolve the binds in this census."""
        spec = self._spec
        self.bound = binds.look(self._plan, spec.binds, census, ready=spec.bind_ready)
        problems = tuple(one.problem for one in self.bound if one.problem)
        if problems != self._problems:
            for one in self.bound:
                if one.problem and one.problem not in self._problems:
                    events.tell("bind", spec.name, one.problem, bind=one.name)
                elif not one.problem and any(
                    p.startswith(f"bind {one.name}: ") for p in self._problems
                ):
                    text = f"bind {one.name}: {one.target} is there"
                    events.tell("bind", spec.name, text, bind=one.name)
            self._problems = problems
        return self.bound
