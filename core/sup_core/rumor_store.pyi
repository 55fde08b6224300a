from typing_extensions import disjoint_base

@disjoint_base
class RumorStore:
    def __new__(cls, salt: int, key0: int, key1: int) -> RumorStore: ...
