from typing_extensions import disjoint_base

from sup_core.anti_entropy import AntiEntropy
from sup_core.counters import Tally
from sup_core.dissemination import Dissemination
from sup_core.failure_detector import FailureDetector
from sup_core.flaps import Flaps
from sup_core.local_health import LocalHealth
from sup_core.member_table import MemberTable
from sup_core.notices import Notices
from sup_core.suspicion import Suspicion

@disjoint_base
class Membership:
    def __new__(
        cls,
        table: MemberTable,
        detector: FailureDetector,
        suspicion: Suspicion,
        flaps: Flaps,
        health: LocalHealth,
        dissemination: Dissemination,
        anti_entropy: AntiEntropy,
        notices: Notices,
        tally: Tally,
        ring: int,
    ) -> Membership: ...
