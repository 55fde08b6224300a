from sup_core.prng import Prng

class Pulls:
    def __new__(cls, prng: Prng) -> Pulls: ...
