"""The contract-test kit for plugins: hold your policy, renderer or health check to what we rely on.

Subclass the contract of what your plugin gives and name what to test; pytest runs the rest::

    from sup.testing import StrategyContract

    class TestCautious(StrategyContract):
        def make(self):
            return Cautious()

``make_member`` and ``make_group`` build views for tests of your own; ``check_plugin`` does what the
supervisor does at start. The kit needs no pytest itself: contracts are plain classes that assert.
"""

from sup.testing.check import check_plugin
from sup.testing.health import HealthCheckContract
from sup.testing.policies import StrategyContract, TopologyContract
from sup.testing.purity import EffectError, forbid_effects
from sup.testing.renderers import RendererContract, covers, sample_context
from sup.testing.views import make_group, make_member, sample_groups

__all__ = [
    "EffectError",
    "HealthCheckContract",
    "RendererContract",
    "StrategyContract",
    "TopologyContract",
    "check_plugin",
    "covers",
    "forbid_effects",
    "make_group",
    "make_member",
    "sample_context",
    "sample_groups",
]
