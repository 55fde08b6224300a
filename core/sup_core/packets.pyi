from typing_extensions import disjoint_base

from sup_core.dissemination import Dissemination
from sup_core.member_table import MemberTable
from sup_core.outbox import Outbox
from sup_core.rumor_store import RumorStore
from sup_core.suspicion import Suspicion

@disjoint_base
class Packets:
    def __new__(
        cls,
        table: MemberTable,
        store: RumorStore,
        dissemination: Dissemination,
        suspicion: Suspicion,
        outbox: Outbox,
        ring: int,
    ) -> Packets: ...
