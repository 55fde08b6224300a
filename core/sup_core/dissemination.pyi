from sup_core.member_table import MemberTable
from sup_core.prng import Prng

class Dissemination:
    def __new__(cls, table: MemberTable, prng: Prng) -> Dissemination: ...
