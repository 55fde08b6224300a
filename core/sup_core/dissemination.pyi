from typing_extensions import disjoint_base

from sup_core.member_table import MemberTable
from sup_core.prng import Prng

@disjoint_base
class Dissemination:
    def __new__(cls, table: MemberTable, prng: Prng) -> Dissemination: ...
