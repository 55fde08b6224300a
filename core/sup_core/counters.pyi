from typing import Final

NAMES: Final[tuple[str, ...]]
