from typing import Final

NAMES: Final[tuple[str, ...]]

class Tally: ...
