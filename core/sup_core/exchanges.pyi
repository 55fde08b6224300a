from typing_extensions import disjoint_base

from sup_core.counters import Tally
from sup_core.member_table import MemberTable
from sup_core.packets import Packets
from sup_core.pulls import Pulls
from sup_core.rumor_store import RumorStore
from sup_core.timers import Timers

@disjoint_base
class Exchanges:
    def __new__(
        cls,
        table: MemberTable,
        store: RumorStore,
        packets: Packets,
        pulls: Pulls,
        timers: Timers,
        tally: Tally,
    ) -> Exchanges: ...
