from typing_extensions import disjoint_base

from sup_core.anti_entropy import AntiEntropy
from sup_core.counters import Tally
from sup_core.dissemination import Dissemination
from sup_core.member_table import MemberTable
from sup_core.notices import Notices
from sup_core.pulls import Pulls
from sup_core.rumor_store import RumorStore
from sup_core.stamps import Stamps

@disjoint_base
class Rumors:
    def __new__(
        cls,
        table: MemberTable,
        store: RumorStore,
        stamps: Stamps,
        pulls: Pulls,
        dissemination: Dissemination,
        anti_entropy: AntiEntropy,
        notices: Notices,
        tally: Tally,
    ) -> Rumors: ...
