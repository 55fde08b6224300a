"""From text to tree: what tags mean, how blocks nest, which whitespace disappears.

Grammar and whitespace rules are those of handlebars-rust 6, quirks included, because existing
packages were written against its output: a ``~`` strips text on its side; a block, comment or
partial tag alone on its line takes the line with it. Wider than Rust on purpose, where Rust has a
syntax error: ``~`` on comments, ``{{^name}}`` as a block, ``list[0]``, a quoted partial name,
``@root`` alone.

One pass over the tags with an explicit stack of open blocks; only expressions recurse, to a bound.
"""

from __future__ import annotations

import re
from collections.abc import Container

from sup.handlebars.blocks import Branch, OpenBlock, Run, to_program, to_statement
from sup.handlebars.lexer import SPACE, Cursor, nested
from sup.handlebars.limits import NESTING_MAX, SOURCE_CHARS_MAX
from sup.handlebars.syntax import (
    Call,
    Expression,
    Literal,
    Partial,
    Path,
    Print,
    Program,
    Source,
    Text,
)

_CLOSE_NAME = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s~}'"]*)""")
# What Rust's `str::trim` takes: the Unicode property White_Space (Python's default also takes
# \x1c-\x1f).
_BLANKS = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
_BLANKS += "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


def parse(source: Source, helpers: Container[str], *, keep_tilde_lines: bool = False) -> Program:
    """Parse ``source``. ``helpers`` are the known helper names. Raises ``TemplateError``.

    ``keep_tilde_lines``: a tag that has a ``~`` takes what that says, and never its line.
    """
    if len(source.text) > SOURCE_CHARS_MAX:
        raise source.error(
            f"template is {len(source.text)} characters, limit is {SOURCE_CHARS_MAX}; "
            "split it into several files",
            0,
        )
    return _Parser(source, helpers, keep_tilde_lines).run()


class _Parser:
    def __init__(self, source: Source, helpers: Container[str], keep_tilde_lines: bool) -> None:
        self.cursor = Cursor(source)
        self.text = source.text
        self.helpers = helpers
        self.open = [OpenBlock("template", "", (), 0)]
        self.depth = 0
        self.keep_tilde_lines = keep_tilde_lines
        self.tilde = False  # the present tag has one, on either side
        self.trim_next = False  # the last tag ended in `~`
        self.trim_line = False  # the last tag stood alone on its line: drop the rest of that line
        self.unfound: set[str] = set()

    def run(self) -> Program:
        cursor, end = self.cursor, len(self.text)
        while True:
            self.read_text()
            if cursor.pos >= end:
                break
            self.read_tag()
        if len(self.open) > 1:
            block = self.open[-1]
            raise cursor.error(f"`{block.shown}` is never closed", block.at)
        return to_program(self.open[0].items)

    # -- text and whitespace -------------------------------------------------------------------

    def read_text(self) -> None:
        cursor = self.cursor
        start = cursor.pos
        text = cursor.take_text("{{")
        if cursor.pos == start:
            return
        if not self.text[start : cursor.pos].strip(SPACE):
            # Only whitespace. After `~` it is gone and, as in Rust, does not end a standalone line.
            if self.trim_next:
                return
            if self.trim_line:
                text = _without_line_end(text)
        elif self.trim_next:
            text = text.lstrip(_BLANKS)
        elif self.trim_line:
            text = _without_line_end(text)
        self.trim_line = False
        self.open[-1].items.append(Run(text))

    def trim_before(self) -> None:
        items = self.open[-1].items
        if items and isinstance(items[-1], Run):
            items[-1].text = items[-1].text.rstrip(_BLANKS)

    def standalone(self, start: int) -> bool:
        """Tell whether the tag from ``start`` to here is alone on its line; strip its indent."""
        if self.tilde and self.keep_tilde_lines:
            self.trim_line = False
            return False
        text, end = self.text, self.cursor.pos
        after = end
        while after < len(text) and text[after] in " \t":
            after += 1
        before = start
        while before > 0 and text[before - 1] in " \t":
            before -= 1
        ends = end == len(text) or (after < len(text) and text[after] in "\r\n")
        begins = before == 0 or text[before - 1] in "\r\n"
        self.trim_line = ends and begins
        if self.trim_line:
            items = self.open[-1].items
            if items and isinstance(items[-1], Run):
                items[-1].text = items[-1].text.rstrip(" \t")
        return self.trim_line

    def finish(self, start: int, left: bool, close: str = "}}") -> bool:
        """Read the end of a tag and apply its tildes."""
        cursor = self.cursor
        cursor.skip_space()
        right = cursor.take("~")
        cursor.skip_space()
        if not cursor.take(close):
            what = "the end of the template" if cursor.pos >= len(self.text) else cursor.found()
            raise cursor.error(f"expected `{close}` to end the tag, found {what}")
        if left:
            self.trim_before()
        self.trim_next = right
        self.tilde = left or right
        return right

    # -- tags ----------------------------------------------------------------------------------

    def read_tag(self) -> None:
        cursor = self.cursor
        start = cursor.pos
        if cursor.take("{{{{"):
            self.read_raw_block(start)
            return
        if cursor.at("{{!"):
            self.read_comment(start, False)
            return
        if cursor.take("{{{"):
            cursor.skip_space()
            left = cursor.take("~")
            self.read_print(start, left, "}}}")
            return
        cursor.take("{{")
        cursor.skip_space()
        left = cursor.take("~")
        if left and cursor.at("!"):
            self.read_comment(start, True)
            return
        cursor.skip_space()
        if cursor.take("{"):
            self.read_print(start, left, "}}", braced=True)
        elif cursor.take("#"):
            cursor.skip_space()
            if cursor.take("*"):
                self.open_inline(start, left)
            elif cursor.take(">"):
                self.read_partial(start, left, block=True)
            else:
                self.open_block(start, left)
        elif cursor.take("/"):
            self.close_block(start, left)
        elif cursor.take(">"):
            self.read_partial(start, left, block=False)
        elif cursor.at("*"):
            raise cursor.error(
                'a decorator needs a block: `{{#*inline "name"}}…{{/inline}}`', start
            )
        elif cursor.take("^"):
            self.read_else(start, left, caret=True)
        elif cursor.at_keyword() and cursor.take("else"):
            self.read_else(start, left, caret=False)
        else:
            cursor.take("&")
            self.read_print(start, left, "}}")

    def read_comment(self, start: int, left: bool) -> None:
        cursor, text = self.cursor, self.text
        inside = text.index("!", start) + 1
        end, right = -1, False
        if text.startswith("--", inside):
            plain, tilde = self.find("--}}", inside + 2), self.find("--~}}", inside + 2)
            right = tilde >= 0 and (plain < 0 or tilde < plain)
            end = tilde + 5 if right else plain + 4 if plain >= 0 else -1
        if end < 0:
            close = self.find("}}", inside)
            if close < 0:
                raise cursor.error("comment is never closed", start)
            end, right = close + 2, close > inside and text[close - 1] == "~"
        cursor.pos = end
        if left:
            self.trim_before()
        # Without a tilde of its own a comment leaves that of the tag before it in force, as in
        # Rust.
        self.trim_next = self.trim_next or right
        self.tilde = left or right
        self.standalone(start)
        self.open[-1].items.append(Text(""))

    def find(self, needle: str, pos: int) -> int:
        """Find ``needle``; once it is missing it is not searched again: this stays linear."""
        if needle in self.unfound:
            return -1
        found = self.text.find(needle, pos)
        if found < 0:
            self.unfound.add(needle)
        return found

    def read_print(self, start: int, left: bool, close: str, *, braced: bool = False) -> None:
        cursor = self.cursor
        cursor.skip_space()
        value: Expression
        if cursor.at("("):
            value = self.read_subexpression()
            cursor.skip_space()
        else:
            at = cursor.pos
            path = cursor.take_path()
            if path is None:
                if cursor.at("else") or cursor.at("as"):
                    raise cursor.error(f"{cursor.found()} is a keyword", at)
                raise cursor.error(f"expected a value or a helper, found {cursor.found()}")
            args, options = self.read_arguments()
            if args or options:
                value = Call(self.helper_name(path), args, options, at)
            else:
                value = path
        if braced:
            cursor.skip_space()
            if not cursor.take("}"):
                raise cursor.error(f"expected `}}` to end the expression, found {cursor.found()}")
        self.finish(start, left, close)
        self.open[-1].items.append(Print(value, start))

    def read_else(self, start: int, left: bool, *, caret: bool) -> None:
        cursor = self.cursor
        block = self.open[-1]
        cursor.skip_space()
        if cursor.at("~") or cursor.at("}}"):
            if block.kind != "block":
                raise cursor.error("`else` outside a block", start)
            if block.last is not None:
                raise cursor.error(f"second `else` in `{block.shown}`", start)
            self.finish(start, left)
            self.standalone(start)
            block.items = block.last = []
            return
        head = cursor.peek_word()
        if caret and (block.kind != "block" or head not in self.helpers):
            self.open_inverse(start, left)
            return
        if block.kind != "block":
            raise cursor.error("`else` outside a block", start)
        if block.last is not None:
            raise cursor.error(f"`else {head}` after the last `else` of `{block.shown}`", start)
        call, names = self.read_head()
        self.finish(start, left)
        indent_first = self.standalone(start) and not left
        branch = Branch(call, names, start, indent_first)
        block.branches.append(branch)
        block.items = branch.items
        self.enter(start)

    def enter(self, at: int) -> None:
        """Count one more level of nesting; an ``else if`` is one too."""
        self.depth += 1
        if self.depth > NESTING_MAX:
            raise self.cursor.error(f"blocks are nested deeper than {NESTING_MAX}", at)

    def push(self, block: OpenBlock) -> None:
        self.enter(block.at)
        self.open.append(block)

    def open_block(self, start: int, left: bool) -> None:
        cursor = self.cursor
        cursor.skip_space()
        call, names = self.read_head()
        self.finish(start, left)
        indent_first = self.standalone(start) and not left
        branch = Branch(call, names, start, indent_first)
        shown = "{{#" + call.name + "}}"
        self.push(OpenBlock("block", shown, (call.name,), start, branch.items, [branch]))

    def open_inverse(self, start: int, left: bool) -> None:
        """``{{^name}}``: a block whose arms are swapped; a plain value counts as ``unless``."""
        cursor = self.cursor
        at = cursor.pos
        path = cursor.take_path()
        if path is None:
            raise cursor.error(f"expected a value or a helper, found {cursor.found()}")
        args, options = self.read_arguments()
        names = self.read_names()
        if args or options or path.raw in self.helpers:
            call = Call(self.helper_name(path), args, options, at)
            inverted = True
        else:
            call, inverted = Call("unless", (path,), (), at), False
        self.finish(start, left)
        indent_first = self.standalone(start) and not left
        branch = Branch(call, names, start, indent_first)
        shown = "{{^" + path.raw + "}}"
        self.push(
            OpenBlock("block", shown, (path.raw,), start, branch.items, [branch], inverted=inverted)
        )

    def open_inline(self, start: int, left: bool) -> None:
        cursor = self.cursor
        cursor.skip_space()
        at = cursor.pos
        name = cursor.take_word()
        if name != "inline":
            raise cursor.error(f"decorator `{name or ''}` is not defined; there is `inline`", at)
        args, _ = self.read_arguments()
        if not args:
            raise cursor.error('`inline` needs a name: `{{#*inline "name"}}`', start)
        self.finish(start, left)
        self.standalone(start)
        self.push(OpenBlock("inline", "{{#*inline}}", ("inline",), start, inline=args[0]))

    def read_partial(self, start: int, left: bool, *, block: bool) -> None:
        cursor = self.cursor
        cursor.skip_space()
        at = cursor.pos
        name: str | Expression
        if cursor.at("("):
            name, written = self.read_subexpression(), ""
        else:
            word = cursor.take_partial_word()
            if word is None:
                raise cursor.error(f"expected the name of a partial, found {cursor.found()}")
            name, written = word, self.text[at : cursor.pos]
        args, options = self.read_arguments()
        self.finish(start, left)
        indent: str | None = None
        if not block and not left:
            blank = start
            while blank > 0 and self.text[blank - 1] in " \t":
                blank -= 1
            indent = self.text[blank:start] or None
        indent_first = self.standalone(start) and not left
        partial = Partial(name, args, options, None, indent, indent_first, start)
        if block:
            shown = "{{#> " + (written or "(…)") + "}}"
            names = (written, name if isinstance(name, str) else "")
            self.push(OpenBlock("partial", shown, names, start, partial=partial))
        else:
            self.open[-1].items.append(partial)

    def close_block(self, start: int, left: bool) -> None:
        cursor = self.cursor
        cursor.skip_space()
        match = _CLOSE_NAME.match(self.text, cursor.pos)
        name = match.group() if match else ""
        cursor.pos += len(name)
        self.finish(start, left)
        block = self.open[-1]
        if block.kind == "template":
            raise cursor.error(f"`{{{{/{name}}}}}` closes a block that was not opened", start, name)
        if name not in block.close_names and not (name == "" and block.kind != "block"):
            opened = cursor.error("", block.at)
            raise cursor.error(
                f"`{{{{/{name}}}}}` closes `{block.shown}` of line {opened.line}", start, name
            )
        self.standalone(start)
        self.open.pop()
        self.depth -= max(1, len(block.branches))
        self.open[-1].items.append(to_statement(block))

    def read_raw_block(self, start: int) -> None:
        cursor = self.cursor
        cursor.skip_space()
        left = cursor.take("~")
        cursor.skip_space()
        call, names = self.read_head()
        self.finish(start, left, "}}}}")
        indent_first = self.standalone(start) and not left
        cursor.skip_space()
        branch = Branch(call, names, start, indent_first)
        shown = "{{{{" + call.name + "}}}}"
        self.push(OpenBlock("block", shown, (call.name,), start, branch.items, [branch]))
        branch.items.append(Run(cursor.take_text("{{{{")))
        end = cursor.pos
        if not cursor.take("{{{{"):
            raise cursor.error(f"`{shown}` is never closed", start)
        cursor.skip_space()
        left = cursor.take("~")
        cursor.skip_space()
        cursor.take("/")
        cursor.skip_space()
        if cursor.take_word() != call.name:
            raise cursor.error(f"expected `{{{{{{{{/{call.name}}}}}}}}}`", end)
        self.finish(end, left, "}}}}")
        self.standalone(end)
        block = self.open.pop()
        self.depth -= 1
        self.open[-1].items.append(to_statement(block))

    # -- expressions ---------------------------------------------------------------------------

    def read_head(self) -> tuple[Call, tuple[str, ...]]:
        """Read ``helper args key=value as |names|``."""
        cursor = self.cursor
        at = cursor.pos
        path = cursor.take_path()
        if path is None:
            raise cursor.error(f"expected the name of a helper, found {cursor.found()}")
        args, options = self.read_arguments()
        return Call(self.helper_name(path), args, options, at), self.read_names()

    def helper_name(self, path: Path) -> str:
        if len(path.segments) == 1 and path.segments[0] == path.raw:
            return path.raw
        if "." in path.raw or "[" in path.raw or "/" in path.raw:
            hint = "a block over a value is `{{#with value}}` or `{{#each value}}`"
        else:
            hint = "it takes no arguments"
        raise self.cursor.error(f"`{path.raw}` is not a helper; {hint}", path.at, path.raw)

    def read_names(self) -> tuple[str, ...]:
        cursor = self.cursor
        if not (cursor.at_keyword() and cursor.take("as")):
            return ()
        cursor.skip_space()
        names: list[str] = []
        if cursor.take("|"):
            cursor.skip_space()
            while len(names) < 2 and (word := cursor.take_word()):
                names.append(word)
                cursor.skip_space()
            if names and cursor.take("|"):
                return tuple(names)
        raise cursor.error(f"expected one or two names as in `as |item|`, found {cursor.found()}")

    def read_arguments(self) -> tuple[tuple[Expression, ...], tuple[tuple[str, Expression], ...]]:
        cursor = self.cursor
        args: list[Expression] = []
        options: list[tuple[str, Expression]] = []
        while True:
            cursor.skip_space()
            if self.text[cursor.pos : cursor.pos + 1] in ("", "}", "~", ")") or cursor.at_keyword():
                return tuple(args), tuple(options)
            before = cursor.pos
            key = cursor.take_word()
            if key is not None:
                cursor.skip_space()
                if cursor.take("="):
                    cursor.skip_space()
                    options.append((key, self.read_value()))
                    continue
                cursor.pos = before
            args.append(self.read_value())

    def read_value(self) -> Expression:
        cursor = self.cursor
        if cursor.at("("):
            return self.read_subexpression()
        if not cursor.at_keyword():
            value: Literal | Path | None = cursor.take_literal()
            if value is None:
                value = cursor.take_path()
            if value is not None:
                return value
        raise cursor.error(f"expected an argument, found {cursor.found()}")

    def read_subexpression(self) -> Call:
        cursor = self.cursor
        at = cursor.pos
        cursor.take("(")
        with nested(cursor):
            cursor.skip_space()
            path = cursor.take_path()
            if path is None:
                raise cursor.error(f"expected the name of a helper, found {cursor.found()}")
            args, options = self.read_arguments()
        if not cursor.take(")"):
            raise cursor.error(f"expected `)`, found {cursor.found()}")
        return Call(self.helper_name(path), args, options, at)


def _without_line_end(text: str) -> str:
    """Drop blanks and one line break from the start."""
    text = text.lstrip(" \t")
    if text.startswith("\r\n"):
        return text[2:]
    return text.removeprefix("\n")
