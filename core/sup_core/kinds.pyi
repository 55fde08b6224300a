from typing import Final

SERVICE: Final[int]
CONFIG: Final[int]

def rule(kind: int) -> str: ...
