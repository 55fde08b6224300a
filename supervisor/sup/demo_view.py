"""How the demo looks: a live table on a terminal, plain lines in a pipe, JSON lines for programs.

The three say the same; none of them knows what the demo does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from sup.demo_ring import DemoMember

STATE_STYLES = {
    "up": "green",
    "adopted": "green",
    "ok": "green",
    "critical": "red",
    "warning": "yellow",
}


@dataclass
class Step:
    """One step of the story; ``seconds`` is set when it is done."""

    title: str
    facts: list[str] = field(default_factory=list)
    seconds: float = 0.0


class View(Protocol):
    """Where the story is told to."""

    def begin(self, step: Step) -> None:
        """A step begins."""
        ...

    def show(self, members: Sequence[DemoMember], waiting: str) -> None:
        """Look at the members now; ``waiting`` says for what. Called several times a second."""
        ...

    def done(self, step: Step) -> None:
        """The step has come true."""
        ...

    def failed(self, reason: str, logs: Sequence[tuple[str, list[str]]]) -> None:
        """It did not; ``logs`` are the last lines of each supervisor."""
        ...

    def finished(self, seconds: float) -> None:
        """All steps are done."""
        ...

    def hints(self, hints: Sequence[tuple[str, str]]) -> None:
        """What to try next: a description and a command each."""
        ...

    def ending(self) -> None:
        """Everything is being ended; this may take some seconds."""
        ...

    def close(self) -> None:
        """Nothing follows."""
        ...


def make_view(*, as_json: bool) -> View:
    """The view that fits where stdout goes."""
    if as_json:
        return JsonView()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return LiveView()
    return PlainView()


class PlainView:
    """Lines in order, for pipes and logs."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self, step: Step) -> None:
        self._number += 1
        self._say(f"{self._number}. {step.title}")

    def show(self, members: Sequence[DemoMember], waiting: str) -> None:
        """Only what has come true is said here."""

    def done(self, step: Step) -> None:
        for fact in step.facts:
            self._say(f"     {fact}")
        self._say(f"   done in {step.seconds:.1f} s")

    def failed(self, reason: str, logs: Sequence[tuple[str, list[str]]]) -> None:
        for name, lines in logs:
            for line in lines:
                click.echo(f"{name} | {line}", err=True)
        click.echo(f"sup: the demo failed: {reason}", err=True)

    def finished(self, seconds: float) -> None:
        self._say(f"All of it in {seconds:.0f} s.")

    def hints(self, hints: Sequence[tuple[str, str]]) -> None:
        self._say("\nIt stays up until Ctrl-C. Try, in another terminal:")
        for text, command in hints:
            self._say(f"\n  # {text}\n  {command}")

    def ending(self) -> None:
        self._say("Ending all of it …")

    def close(self) -> None:
        self._say("No process and no file is left.")

    @staticmethod
    def _say(text: str) -> None:
        click.echo(text)
        sys.stdout.flush()


class JsonView:
    """One object a line: each step, then the result."""

    def __init__(self) -> None:
        self._result: dict[str, Any] = {"result": "interrupted"}

    def begin(self, step: Step) -> None:
        """A step is told when it is done."""

    def show(self, members: Sequence[DemoMember], waiting: str) -> None:
        """Programs read the steps."""

    def done(self, step: Step) -> None:
        self._say({"step": step.title, "seconds": round(step.seconds, 3), "facts": step.facts})

    def failed(self, reason: str, logs: Sequence[tuple[str, list[str]]]) -> None:
        self._result = {"result": "failed", "reason": reason, "logs": dict(logs)}

    def finished(self, seconds: float) -> None:
        self._result = {"result": "ok", "seconds": round(seconds, 3)}

    def hints(self, hints: Sequence[tuple[str, str]]) -> None:
        self._say({"hints": dict(hints)})

    def ending(self) -> None:
        """The result is said when everything has ended."""

    def close(self) -> None:
        self._say(self._result)

    @staticmethod
    def _say(value: dict[str, Any]) -> None:
        click.echo(json.dumps(value, ensure_ascii=False))
        sys.stdout.flush()


class LiveView(PlainView):
    """What has come true scrolls by above a table of the members that is always current."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__()
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def begin(self, step: Step) -> None:
        self._number += 1
        self._console.print(f"[bold]{self._number}. {_escape(step.title)}[/bold]")

    def show(self, members: Sequence[DemoMember], waiting: str) -> None:
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [_table(members), Text(f"  {waiting} …", style="dim")]
        self._live.update(Group(*parts), refresh=True)

    def done(self, step: Step) -> None:
        for fact in step.facts:
            self._console.print(f"     {_escape(fact)}")
        self._console.print(f"   [green]done in {step.seconds:.1f} s[/green]")

    def failed(self, reason: str, logs: Sequence[tuple[str, list[str]]]) -> None:
        self._live.stop()
        super().failed(reason, logs)

    def finished(self, seconds: float) -> None:
        self._console.print(f"[bold]All of it in {seconds:.0f} s.[/bold]")

    def hints(self, hints: Sequence[tuple[str, str]]) -> None:
        self._console.print("\nTry, in another terminal:")
        for text, command in hints:
            self._console.print(f"\n  [dim]# {_escape(text)}[/dim]")
            # Not wrapped: a command is there to be pasted.
            self._console.print(f"  {_escape(command)}", soft_wrap=True)
        self._console.print()

    def ending(self) -> None:
        self._live.stop()
        super().ending()


VERSION_TAIL = 8
"""Of a configuration's version: enough to tell one from another."""


def _table(members: Sequence[DemoMember]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    # On a terminal of 80 columns the last column alone is cut.
    for title, width in (("supervisor", 14), ("sees", 18), ("service", 7), ("health", 8)):
        table.add_column(title, no_wrap=True, min_width=width)
    table.add_column("config", no_wrap=True, min_width=VERSION_TAIL)
    table.add_column("over HTTP", no_wrap=True)
    for member in members:
        look = member.look
        seen = ", ".join(
            f"{count} {state}"
            for state in ("alive", "suspect", "dead", "left")
            if (count := sum(s == state for s in look.sees.values()))
        )
        word = "[green]running[/green]" if look.answers else "[red]not there[/red]"
        table.add_row(
            f"{member.name} {word}",
            seen or "-",
            _styled(look.process),
            _styled(look.health),
            look.config_version[-VERSION_TAIL:] or "-",
            _escape(look.greeting or "-"),
        )
    return table


def _styled(word: str) -> str:
    style = STATE_STYLES.get(word)
    return f"[{style}]{word}[/{style}]" if style else word or "-"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
