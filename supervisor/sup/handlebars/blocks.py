"""Blocks that are still open while a template is parsed, and how they become statements.

Text stays changeable until its block closes, because the tag after it may strip it. An ``else if``
is an arm here and a block inside the inverse in the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from sup.handlebars.syntax import (
    Block,
    Call,
    Expression,
    Inline,
    Partial,
    Program,
    Statement,
    Text,
)


@dataclass(slots=True)
class Run:
    """Text that a later tag may still strip."""

    text: str


Items: TypeAlias = "list[Run | Statement]"


@dataclass(slots=True)
class Branch:
    """One arm of a block: the opening tag or an ``else if``, and what follows it."""

    call: Call
    names: tuple[str, ...]
    at: int
    indent_first: bool
    items: Items = field(default_factory=list)


@dataclass(slots=True)
class OpenBlock:
    """A block that waits for its closing tag."""

    kind: str
    shown: str
    close_names: tuple[str, ...]
    at: int
    items: Items = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    last: Items | None = None
    inverted: bool = False
    partial: Partial | None = None
    inline: Expression | None = None


def to_program(items: Items) -> Program:
    statements: list[Statement] = []
    for item in items:
        if isinstance(item, Run):
            if item.text:
                statements.append(Text(item.text))
        elif not isinstance(item, Text):  # an empty Text marks where a comment was
            statements.append(item)
    return Program(tuple(statements))


def to_statement(block: OpenBlock) -> Statement:
    """Close a block."""
    if block.inline is not None:
        return Inline(block.inline, to_program(block.items), block.at)
    if block.partial is not None:
        partial = block.partial
        return Partial(
            partial.name,
            partial.args,
            partial.options,
            to_program(block.items),
            None,
            partial.indent_first,
            block.at,
        )
    inverse = None if block.last is None else to_program(block.last)
    for branch in reversed(block.branches[1:]):
        arm = Block(
            branch.call,
            branch.names,
            to_program(branch.items),
            inverse,
            branch.indent_first,
            branch.at,
        )
        inverse = Program((arm,))
    first = block.branches[0]
    program: Program = to_program(first.items)
    if block.inverted:
        program, inverse = inverse or Program(), program
    return Block(first.call, first.names, program, inverse, first.indent_first, block.at)
