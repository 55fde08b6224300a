"""Contracts of the two policies, topology and update strategy: pure functions of the view.

A decision must depend on its arguments alone, for it is asked again whenever the view changes, on
every member, and by the simulator in a thousand members at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from sup.plugin_api import (
    CensusGroup,
    Change,
    StrategyDecision,
    Topology,
    TopologyDecision,
    UpdateStrategy,
)
from sup.testing.purity import forbid_effects
from sup.testing.views import sample_groups

_TIMES_US = (0, 1, 1_000_000, 2**53)
View = tuple[str, CensusGroup, str]


class _PolicyContract:
    def views(self) -> Sequence[View]:
        """What to decide on: (what it shows, group, me). Override to add views of your own."""
        return sample_groups()

    def _calls(self) -> list[tuple[str, Callable[[], Any], CensusGroup]]:
        raise NotImplementedError

    def test_decide_same_arguments_same_decision(self) -> None:
        """A decision is equal for equal arguments, asked again or asked of a fresh object."""
        again = {label: call for label, call, _ in self._calls()}
        for label, call, _ in self._calls():
            first = call()
            assert call() == first, f"{label}: asked twice, two decisions"
            assert again[label]() == first, f"{label}: two objects decide differently"

    def test_decide_changes_nothing_in_the_view(self) -> None:
        """The view belongs to the supervisor: the policy only reads it."""
        for label, call, group in self._calls():
            before = copy.deepcopy(group)
            call()
            assert group == before, f"{label}: decide changed the view"

    def test_decide_does_no_io_and_reads_no_clock(self) -> None:
        """Time is an argument; files, sockets, chance and clocks are out of reach."""
        for label, call, _ in self._calls():
            with forbid_effects(f"decide ({label})"):
                call()


class TopologyContract(_PolicyContract):
    """Subclass as ``Test…`` and define ``make``."""

    def make(self) -> Topology:
        """Return a fresh topology."""
        raise NotImplementedError("define make() in your test class")

    def _calls(self) -> list[tuple[str, Callable[[], Any], CensusGroup]]:
        topology = self.make()
        return [
            (f"{shows}, now_us={now}", _bind(topology.decide, group, me, now), group)
            for shows, group, me in self.views()
            for now in _TIMES_US
        ]

    def test_topology_decides_every_view(self) -> None:
        """Each view gets a ``TopologyDecision``; a leader is a member, a refusal has a reason."""
        for label, call, group in self._calls():
            decision = call()
            assert isinstance(decision, TopologyDecision), f"{label}: got {decision!r}"
            assert decision.leader is None or group.member(decision.leader), (
                f"{label}: leader {decision.leader!r} is not a member of the group"
            )
            _check_reason(label, decision.may_start, decision.reason)


class StrategyContract(_PolicyContract):
    """Subclass as ``Test…`` and define ``make``."""

    def make(self) -> UpdateStrategy:
        """Return a fresh strategy."""
        raise NotImplementedError("define make() in your test class")

    def _calls(self) -> list[tuple[str, Callable[[], Any], CensusGroup]]:
        strategy = self.make()
        return [
            (
                f"{shows}, {change.value} change, now_us={now}",
                _bind(strategy.decide, group, me, change, now),
                group,
            )
            for shows, group, me in self.views()
            for change in Change
            for now in _TIMES_US
        ]

    def test_strategy_decides_every_view(self) -> None:
        """Each view gets a ``StrategyDecision``; a change that is held has one line of reason."""
        for label, call, _ in self._calls():
            decision = call()
            assert isinstance(decision, StrategyDecision), f"{label}: got {decision!r}"
            _check_reason(label, decision.go, decision.reason)


def _bind(decide: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: decide(*arguments)


def _check_reason(label: str, allowed: bool, reason: str) -> None:
    assert isinstance(allowed, bool), f"{label}: {allowed!r} is not a bool"
    assert allowed or reason.strip(), f"{label}: refused without a reason for the operator"
    assert "\n" not in reason, f"{label}: the reason is more than one line"
