from sup_core.node import Node

def fuzz(
    node: Node, corpus: list[bytes], count: int, seed: int, now: int, random_share: int = 8
) -> int: ...
