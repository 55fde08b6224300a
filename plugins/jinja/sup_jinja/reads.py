"""Which values of its context a template may read, found in its syntax tree before it ever runs.

Every chain of constant names that starts at a name the template does not define itself is one path:
``cfg.redis.port``. A chain ends before a computed subscript, a call, and any name that is also a
method of a plain value, and then stands for the whole value: ``cfg.items()`` reads ``cfg``,
``cfg[key]`` too. A name that is both defined by the template and read from outside counts as read.
So the set is a superset of what any rendering reads, whatever the values are.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import meta, nodes

_METHODS = frozenset(
    name for kind in (dict, list, str, int, float, bool, type(None)) for name in dir(kind)
)


@dataclass(frozen=True, slots=True)
class Read:
    """One chain of names in the template."""

    path: str
    """What is recorded: the chain, or the part of it that is surely no method."""
    chain: str
    """What is written there."""
    line: int
    outside: bool
    """The first name is nowhere defined by the template itself."""

    @property
    def root(self) -> str:
        """The first name."""
        return self.chain.partition(".")[0]


def find_reads(tree: nodes.Template) -> tuple[Read, ...]:
    """All chains of names that the template reads, its own names included, in source order."""
    outside = meta.find_undeclared_variables(tree)
    found: list[Read] = []
    _visit(tree, outside, found)
    return tuple(found)


def _visit(node: nodes.Node, outside: set[str], found: list[Read]) -> None:
    if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
        names, rest = _unroll(node)
        if names is not None:
            is_outside = names[0] in outside
            found.append(Read(_recorded(names), ".".join(names), node.lineno, is_outside))
            return
        # A computed subscript reads what it is computed from and all that it may choose from.
        for child in rest:
            _visit(child, outside, found)
        return
    for child in node.iter_child_nodes():
        _visit(child, outside, found)


def _unroll(node: nodes.Node) -> tuple[list[str] | None, list[nodes.Node]]:
    """The constant names of a chain from its root, or None and the parts of its last link."""
    names: list[str] = []
    at: nodes.Node = node
    while True:
        if isinstance(at, nodes.Name):
            return [at.name, *reversed(names)], []
        if isinstance(at, nodes.Getattr):
            names.append(at.attr)
            at = at.node
        elif (
            isinstance(at, nodes.Getitem)
            and isinstance(at.arg, nodes.Const)
            and isinstance(at.arg.value, str)
            and "." not in at.arg.value
        ):
            names.append(at.arg.value)
            at = at.node
        elif isinstance(at, nodes.Getitem):
            return None, [at.node, at.arg]
        else:
            return None, [at]


def _recorded(names: list[str]) -> str:
    """Cut the chain before the first name that may be a method: then the whole value is read."""
    kept = [names[0]]
    for name in names[1:]:
        if name in _METHODS:
            break
        kept.append(name)
    return ".".join(kept)
