from typing_extensions import disjoint_base

from sup_core.effects import Effects
from sup_core.member_table import MemberTable
from sup_core.prng import Prng
from sup_core.timers import Timers

@disjoint_base
class Flaps:
    def __new__(cls, table: MemberTable, timers: Timers, prng: Prng, effects: Effects) -> Flaps: ...
