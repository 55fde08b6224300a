from typing_extensions import disjoint_base

from sup_core.prng import Prng

@disjoint_base
class Pulls:
    def __new__(cls, prng: Prng) -> Pulls: ...
