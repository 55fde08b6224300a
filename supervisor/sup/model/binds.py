"""Binds: which members of another group a service may use, and whether it may start without (pure).

A plan names what it needs (``[binds] db = ["port"]``), a spec says where that is
(``db = "postgres.default"``), and the census says who is there. ``look`` joins the three into one
``Bound`` per bind: the members that a template may see, and why a start would have to wait.

Who counts. A member is *usable* while its supervisor is not known to be dead or gone, its service
is neither down nor failed nor in maintenance, and it exports every name that the plan asks of the
bind. A process that is between two runs (starting, stopping, backoff) stays in the lists: its
supervisor brings it back within moments, and a list that loses and regains it would make every
dependant reconfigure twice for each restart. To *start* on, at least one usable member must be up.
With ``ready`` only members that are up and whose health is ok or warning are usable at all.

A bind that is given holds the start in the strict mode, be it required or optional; one that is
required and not given is an error, in both modes. Neighbours: ``render_context`` shows the members,
``sup.service_binds`` keeps the answer for a service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sup.errors import OperatorError
from sup.model.census import Census, CensusMember
from sup.model.convert import near
from sup.model.health import Health
from sup.model.plan import WRAPPED, Plan
from sup.model.service_group import ServiceGroup, check_name, parse_service_group

STRICT = "strict"
RELAXED = "relaxed"

REASONS_SHOWN = 3
"""Binds that a held start names, and members that one bind names; the rest is counted."""

_PASSING = (Health.OK, Health.WARNING)
_NOT_THERE = ("down", "failed")
_RUNNING = ("up", "adopted")


@dataclass(frozen=True, slots=True)
class Bound:
    """One bind at one moment."""

    name: str
    target: ServiceGroup
    members: tuple[CensusMember, ...] = ()
    """The usable ones, by member id; with none of them the bind is absent from templates."""
    problem: str = ""
    """Why a strict start waits for this bind, in one line; empty when it need not."""


def parse_binds(words: Iterable[str]) -> dict[str, str]:
    """Read ``name:service.group`` words of a command line.

    Raises:
        OperatorError: a word is not of that form, or a name comes twice.
    """
    binds: dict[str, str] = {}
    for word in words:
        name, colon, target = word.partition(":")
        if not colon:
            raise OperatorError(
                f"bind {word[:140]!r} is not NAME:SERVICE.GROUP;"
                " write it as in 'db:postgres.default'"
            )
        check_name(name, f"bind {word[:140]!r}: name")
        try:
            group = parse_service_group(target)
        except OperatorError as error:
            raise OperatorError(f"bind {name}: {error.message}") from None
        if name in binds:
            raise OperatorError(f"bind {name} is given twice; keep one")
        binds[name] = str(group)
    return binds


def check_binds(plan: Plan, binds: Mapping[str, str]) -> None:
    """Hold the binds of a spec to what the plan has; ``binds`` are well formed already.

    Raises:
        OperatorError: a name that the plan does not have, or a required bind that is not given.
    """
    known = sorted({**plan.binds, **plan.binds_optional})
    for name in binds:
        if name in known:
            continue
        if plan.ident == WRAPPED:
            raise OperatorError(
                f"bind {name}: a command has no binds; they belong to a package's plan"
            )
        if not known:
            raise OperatorError(f"bind {name}: {plan.ident} has no binds")
        raise OperatorError(f"{plan.ident} has no bind {name!r}{near(name, known)}")
    missing = [name for name in sorted(plan.binds) if name not in binds]
    if missing:
        wanted = " ".join(f"--bind {name}:SERVICE.GROUP" for name in missing[:REASONS_SHOWN])
        raise OperatorError(f"{plan.ident} needs bind {', '.join(missing)}; add {wanted}")


def look(
    plan: Plan, binds: Mapping[str, str], census: Census, *, ready: bool = False
) -> tuple[Bound, ...]:
    """Every bind of a spec as the census has it, by name. O(members of the bound groups)."""
    return tuple(
        _look(name, target, _exports(plan, name), census, ready)
        for name, target in sorted(binds.items())
    )


def held(bound: Sequence[Bound], mode: str) -> str:
    """Why the start waits, in one line, or empty: it may start. ``relaxed`` never waits."""
    if mode == RELAXED:
        return ""
    problems = [one.problem for one in bound if one.problem]
    return _first(problems, "; ", "binds")


def _exports(plan: Plan, name: str) -> Sequence[str]:
    return plan.binds.get(name) or plan.binds_optional.get(name) or ()


def _look(name: str, target: str, wanted: Sequence[str], census: Census, ready: bool) -> Bound:
    where = parse_service_group(target)
    group = census.group(where.service, where.group)

    def answer(problem: str, members: Iterable[CensusMember] = ()) -> Bound:
        return Bound(name, where, tuple(members), f"bind {name}: {problem}" if problem else "")

    if not group.members:
        return answer(f"nobody is in {where}")
    there = [member for member in group.members if _is_there(member)]
    if not there:
        return answer(f"no member of {where} is alive{_who(group.members, _absence)}")
    fit = [m for m in there if all(export in m.exports for export in wanted)]
    if not fit:
        # The member that lacks least is the one to speak about.
        lacking = min(([e for e in wanted if e not in m.exports] for m in there), key=len)
        return answer(f"{where} does not export {_first(lacking, ', ', 'exports')}")
    up = [member for member in fit if member.process in _RUNNING]
    if ready:
        passing = [member for member in up if member.health in _PASSING]
        if not passing:
            return answer(f"no member of {where} is ready{_who(fit, _unreadiness)}")
        return answer("", passing)
    if not up:
        return answer(f"no member of {where} is up{_who(fit, lambda m: m.process)}", fit)
    return answer("", fit)


def _is_there(member: CensusMember) -> bool:
    return member.present and member.process not in _NOT_THERE and not member.maintenance


def _absence(member: CensusMember) -> str:
    if not member.present:
        return member.state
    return "in maintenance" if member.maintenance else member.process


def _unreadiness(member: CensusMember) -> str:
    return member.health.word if member.process in _RUNNING else member.process


def _who(members: Sequence[CensusMember], how: Callable[[CensusMember], str]) -> str:
    rows = [f"{member.name or member.member_id[:8]} is {how(member)}" for member in members]
    return f" ({_first(rows, ', ', 'members')})"


def _first(parts: Sequence[str], separator: str, what: str) -> str:
    shown = separator.join(parts[:REASONS_SHOWN])
    more = len(parts) - REASONS_SHOWN
    return f"{shown}{separator}and {more} more {what}" if more > 0 else shown
