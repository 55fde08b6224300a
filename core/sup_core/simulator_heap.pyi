from typing import final

EVENTS_MAX: int
PACKETS_MAX: int

@final
class EventHeap:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...

@final
class PacketPool:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
