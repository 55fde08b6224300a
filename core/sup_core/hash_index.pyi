from typing_extensions import disjoint_base

@disjoint_base
class HashIndex:
    def __new__(cls, salt: int) -> HashIndex: ...
