from typing_extensions import disjoint_base

from sup_core.effects import Effects
from sup_core.prng import Prng
from sup_core.timers import Timers

@disjoint_base
class Suspicion:
    def __new__(cls, timers: Timers, prng: Prng, effects: Effects) -> Suspicion: ...
