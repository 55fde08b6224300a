"""The built-in policies keep the contracts that every plugin must keep."""

from sup.builtin.at_once import AtOnce
from sup.builtin.none import NoUpdates
from sup.builtin.standalone import Standalone
from sup.policies import Change, StrategyDecision, TopologyDecision
from sup.testing import StrategyContract, TopologyContract, make_group, make_member

ME = make_member(1)


class TestStandaloneContract(TopologyContract):
    """Pure, and decides every view."""

    def make(self) -> Standalone:
        return Standalone()


class TestNoUpdatesContract(StrategyContract):
    """Pure, and decides every view."""

    def make(self) -> NoUpdates:
        return NoUpdates()


class TestAtOnceContract(StrategyContract):
    """Pure, and decides every view."""

    def make(self) -> AtOnce:
        return AtOnce()


def test_standalone_never_leads_and_never_waits() -> None:
    """A service of it starts with nobody else around."""
    assert Standalone().decide(make_group(ME), ME.member_id, 0) == TopologyDecision()


def test_none_lets_configuration_through_and_holds_the_package() -> None:
    """What an operator applies is meant for now; a new package waits for the next start."""
    strategy = NoUpdates()
    assert strategy.decide(make_group(ME), ME.member_id, Change.CONFIG, 0).go
    held = strategy.decide(make_group(ME), ME.member_id, Change.PACKAGE, 0)
    assert not held.go
    assert held.reason


def test_at_once_holds_nothing() -> None:
    """Not even while all others are down."""
    for change in Change:
        decision = AtOnce().decide(make_group(ME), ME.member_id, change, 0)
        assert decision == StrategyDecision(go=True)
