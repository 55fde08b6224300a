from sup_core.event_queue import EventQueue

class Notices:
    def __new__(cls, events: EventQueue) -> Notices: ...
