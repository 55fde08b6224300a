from typing_extensions import disjoint_base

from sup_core.doubts import Doubts
from sup_core.exchanges import Exchanges
from sup_core.member_table import MemberTable
from sup_core.membership import Membership
from sup_core.packets import Packets
from sup_core.rumor_store import RumorStore

@disjoint_base
class Comparisons:
    def __new__(
        cls,
        table: MemberTable,
        store: RumorStore,
        packets: Packets,
        membership: Membership,
        exchanges: Exchanges,
        doubts: Doubts,
    ) -> Comparisons: ...
