from typing import Final

from typing_extensions import disjoint_base

SELF_NAMES: Final[tuple[str, ...]]
REASONS: Final[tuple[str, ...]]

@disjoint_base
class EventQueue: ...
