from typing_extensions import disjoint_base

from sup_core.card_pool import CardPool

def outranks(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool: ...

@disjoint_base
class MemberTable:
    def __new__(cls, salt: int, pool: CardPool) -> MemberTable: ...
