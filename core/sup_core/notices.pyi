from typing_extensions import disjoint_base

from sup_core.event_queue import EventQueue

@disjoint_base
class Notices:
    def __new__(cls, events: EventQueue) -> Notices: ...
