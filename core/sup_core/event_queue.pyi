from typing import Final

SELF_NAMES: Final[tuple[str, ...]]
REASONS: Final[tuple[str, ...]]

class EventQueue: ...
