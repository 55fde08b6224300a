from typing import Final

from typing_extensions import disjoint_base

NAMES: Final[tuple[str, ...]]

@disjoint_base
class Tally: ...
