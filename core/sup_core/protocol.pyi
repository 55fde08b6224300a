"""What a message, an effect and a deadline mean; cimported by the node."""

from typing_extensions import disjoint_base

@disjoint_base
class Protocol: ...
