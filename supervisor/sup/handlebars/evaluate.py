"""From tree to closures: what each statement does when it is rendered.

Compiling once and calling closures is about three times as fast as walking the tree, and unknown
helpers are found before anything is rendered. A closure that raises leaves a ``State`` that nobody
uses again. Semantics are handlebars-rust 6.4's; ``docs/templates.md`` lists where we differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sup.handlebars.helpers import HELPERS, Kind
from sup.handlebars.state import Arg, Evaluate, Invocation, Keys, Render, Scope, State
from sup.handlebars.syntax import (
    Block,
    Call,
    Expression,
    Inline,
    Literal,
    Partial,
    Path,
    Print,
    Program,
    Source,
    Statement,
    Text,
)
from sup.handlebars.values import MISSING, is_list, is_table

PARTIAL_BLOCK = "@partial-block"


class Compiler:
    """Compiles the parts of one source file."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def program(self, program: Program) -> Render:
        """Compile a sequence of statements."""
        runs = tuple(self.statement(statement) for statement in program.statements)
        cost = max(1, len(runs))

        def render(state: State) -> None:
            state.step(cost)
            for run in runs:
                run(state)

        return render

    def arm(self, program: Program | None) -> Render | None:
        """Compile an optional arm of a block."""
        return None if program is None else self.program(program)

    def statement(self, statement: Statement) -> Render:
        """Compile one statement."""
        if isinstance(statement, Text):
            text = statement.text
            return lambda state: state.write(text)
        if isinstance(statement, Print):
            return self.print(statement)
        if isinstance(statement, Block):
            return self.block(statement)
        if isinstance(statement, Partial):
            return self.partial(statement)
        return self.inline(statement)

    def print(self, statement: Print) -> Render:
        """``{{expression}}``: a bare name that is a helper's calls the helper."""
        place = (self.source, statement.at)
        value = statement.value
        if isinstance(value, Path) and value.raw in HELPERS:
            value = Call(value.raw, (), (), value.at)
        evaluate = self.expression(value)

        def render(state: State) -> None:
            state.place = place
            arg = evaluate(state)
            if arg.value is MISSING:
                state.miss(arg)
                return
            state.write(state.text(arg.value))

        return render

    def block(self, block: Block) -> Render:
        """A block helper with its arms."""
        place = (self.source, block.at)
        call, names, indent_first = block.call, block.names, block.indent_first
        helper = self.helper(call)
        args, options = self.arguments(call.args, call.options)
        program, inverse = self.program(block.program), self.arm(block.inverse)
        name, run, kind = call.name, helper.run, helper.kind

        def render(state: State) -> None:
            state.place = place
            invocation = Invocation(
                state,
                name,
                [evaluate(state) for evaluate in args],
                {key: evaluate(state) for key, evaluate in options},
                program,
                inverse,
                names,
            )
            indent_next, content = state.indent_next, state.content
            state.content = False
            state.indent_next = indent_next or (indent_first and state.line_ended)
            state.enter(name)
            result = run(invocation)
            if kind is Kind.TRUTH:
                invocation.branch(bool(result))
            elif kind is Kind.VALUE:
                value = result.value if isinstance(result, Arg) else result
                if value is MISSING:
                    state.miss(result if isinstance(result, Arg) else Arg(value))
                state.write(state.text(value))
            state.depth -= 1
            if state.content:
                state.indent_next = state.line_ended
            else:
                state.content, state.indent_next = content, indent_next

        return render

    def helper(self, call: Call) -> Any:
        """Look a helper up. Raises ``TemplateError`` with the likely spelling if there is none."""
        helper = HELPERS.get(call.name)
        if helper is not None:
            return helper
        from difflib import get_close_matches

        close = get_close_matches(call.name, HELPERS, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise self.source.error(f"helper {call.name} is not defined{hint}", call.at, call.name)

    def arguments(
        self, args: Iterable[Expression], options: Iterable[tuple[str, Expression]]
    ) -> tuple[list[Evaluate], list[tuple[str, Evaluate]]]:
        """Compile arguments and hash arguments."""
        return (
            [self.expression(arg) for arg in args],
            [(key, self.expression(value)) for key, value in options],
        )

    # -- expressions ---------------------------------------------------------------------------

    def expression(self, expression: Expression) -> Evaluate:
        """Compile an expression."""
        if isinstance(expression, Literal):
            constant = Arg(expression.value)
            return lambda state: constant
        if isinstance(expression, Path):
            return self.path(expression)
        return self.call(expression)

    def call(self, call: Call) -> Evaluate:
        """A helper that is used for its value; one that only makes blocks gives empty text."""
        helper = self.helper(call)
        args, options = self.arguments(call.args, call.options)
        name, run, kind = call.name, helper.run, helper.kind
        cost = 1 + len(args) + len(options)

        def evaluate(state: State) -> Arg:
            state.step(cost)
            result = run(
                Invocation(
                    state,
                    name,
                    [argument(state) for argument in args],
                    {key: argument(state) for key, argument in options},
                )
            )
            if kind is Kind.BLOCK:
                return Arg("")
            return result if isinstance(result, Arg) else Arg(result)

        return evaluate

    def path(self, path: Path) -> Evaluate:
        """A reference: a variable, a block parameter, or a value in a scope."""
        raw, segments, ups = path.raw, path.segments, path.ups
        if path.local:
            first, rest = segments[0], segments[1:]

            def variable(state: State) -> Arg:
                index = len(state.scopes) - 1 - ups
                found = MISSING if index < 0 else state.scopes[index].variables.get(first, MISSING)
                return Arg(_descend(state, found, rest, raw) if rest else found, None, raw)

            return variable

        if path.root:

            def from_root(state: State) -> Arg:
                state.reads.add(segments)
                return Arg(_descend(state, state.root, segments, raw), segments, raw)

            return from_root

        head = segments[0] if segments else ""
        tail = segments[1:]

        def reference(state: State) -> Arg:
            scopes = state.scopes
            if head:
                for scope in reversed(scopes):
                    if head in scope.names:
                        named = scope.names[head]
                        return _below(state, named.value, named.keys, tail, raw)
            index = len(scopes) - 1 - ups
            # More `../` than there are scopes: Rust looks in the innermost one.
            scope = scopes[index if index >= 0 else -1]
            return _below(state, scope.value, scope.keys, segments, raw)

        return reference

    # -- partials ------------------------------------------------------------------------------

    def inline(self, inline: Inline) -> Render:
        """Define a partial for the present scope and those inside it."""
        place = (self.source, inline.at)
        evaluate, program = self.expression(inline.name), self.program(inline.program)

        def render(state: State) -> None:
            state.place = place
            name = evaluate(state).value
            if not isinstance(name, str):
                raise state.error("the name of an inline partial must be a string")
            state.scopes[-1].partials[name] = program

        return render

    def partial(self, partial: Partial) -> Render:
        """Render a partial in a scope of its own."""
        place = (self.source, partial.at)
        fixed = partial.name if isinstance(partial.name, str) else None
        dynamic = None if isinstance(partial.name, str) else self.expression(partial.name)
        args, options = self.arguments(partial.args, partial.options)
        program = self.arm(partial.program)
        indent, indent_first = partial.indent, partial.indent_first

        def render(state: State) -> None:
            state.place = place
            name = fixed if dynamic is None else state.text(dynamic(state).value)
            given = [argument(state) for argument in args]
            hashed = {key: argument(state) for key, argument in options}
            indent_next, content = state.indent_next, state.content
            state.indent_next = indent_first and (state.line_ended or indent is not None)
            state.content = False
            state.enter(f"partial {name}")
            if name == PARTIAL_BLOCK:
                _render_partial_block(state, program)
            else:
                whole = (state.indent or "") + (indent or "")
                _render_partial(state, name or "", given, hashed, program, whole or None)
            state.depth -= 1
            if state.content:
                state.indent_next = state.line_ended
            else:
                state.content, state.indent_next = content, indent_next

        return render


def _below(state: State, value: Any, keys: Keys | None, segments: Keys, raw: str) -> Arg:
    if keys is None:
        return Arg(_descend(state, value, segments, raw), None, raw)
    keys += segments
    state.reads.add(keys)
    return Arg(_descend(state, value, segments, raw), keys, raw)


def _descend(state: State, value: Any, segments: Keys, raw: str) -> Any:
    """Follow ``segments``; what isn't there is ``MISSING``, a name in a list is an error."""
    for segment in segments:
        if is_table(value):
            value = value.get(segment, MISSING)
        elif is_list(value):
            digits = segment.removeprefix("+")
            if not (digits.isascii() and digits.isdigit()):
                raise state.error(
                    f"`{segment}` is not an index of a list, in {raw}; loop over it with each", raw
                )
            index = int(digits) if len(digits) < 19 else len(value)
            value = value[index] if index < len(value) else MISSING
        else:
            return MISSING
    return value


def _render_partial_block(state: State, fallback: Render | None) -> None:
    content = state.partial_blocks[-1] if state.partial_blocks else None
    if content is not None:
        state.emit(content)
    elif fallback is not None:
        fallback(state)
    else:
        raise state.error(f"{PARTIAL_BLOCK} is only there in a partial called with a block")


def _find_partial(state: State, name: str) -> Render | None:
    for scope in reversed(state.scopes):
        if name in scope.partials:
            return scope.partials[name]
    return state.partials.get(name)


def _render_partial(
    state: State,
    name: str,
    given: list[Arg],
    hashed: Mapping[str, Arg],
    program: Render | None,
    indent: str | None,
) -> None:
    found = _find_partial(state, name)
    body = found or program
    if body is None:
        raise state.error(f"partial {name} is not defined", name)
    outer = state.scopes[-1]
    base = given[0] if given else Arg(outer.value, outer.keys)
    if base.value is MISSING and state.strict:
        raise state.undefined(base)
    value = None if base.value is MISSING else base.value
    if hashed:
        value = _merged(state, value, hashed)
    scope = Scope(value, base.keys, outer.variables)
    scope.names = dict(hashed)
    state.scopes.append(scope)
    state.partial_blocks.append(
        state.capture(program) if found is not None and program is not None else None
    )
    before, state.indent = state.indent, indent
    body(state)
    state.indent = before
    state.partial_blocks.pop()
    state.scopes.pop()


def _merged(state: State, base: Any, hashed: Mapping[str, Arg]) -> dict[str, Any]:
    """Put hash arguments over a context; lists and strings become tables by index."""
    merged: dict[str, Any] = {}
    if is_table(base):
        merged.update(base)
    elif is_list(base) or isinstance(base, str):
        merged.update((str(index), item) for index, item in enumerate(base))
    state.step(len(merged) >> 3)
    for key, arg in hashed.items():
        merged[key] = None if arg.value is MISSING else arg.value
    return merged
