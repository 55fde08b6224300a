"""``sup simulate``: what would a ring of this size do on such a network?"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sup.cli.options import json_option
from sup.cli.output import echo_json, table

if TYPE_CHECKING:
    from sup.simulation import Answer, Question

EPILOG = """
\b
Examples:
  sup simulate --members 1000                    the tour: join, steady, rumor, crash
  sup simulate crash --members 200 --loss 5% --seeds 20
  sup simulate stalls -n 100 --set slow=10 --pause-tolerance 4s
  sup simulate crash rumor -n 500 --latency 40ms --profile wan --plot wan.svg
  sup simulate mass-crash -n 200 --set percent=50 --json
  sup simulate --list                            all experiments and their settings

\b
The simulator runs the real protocol code in virtual time. The same question gives the same
answer, but for what is called CPU; --seed and --seeds choose which of the possible runs.

\b
Exit codes:
  0  answered
  2  bad input: an option, an experiment or a setting that is not there
  4  the ring does not fit into this machine's free memory
"""

UNITS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "min": 60_000_000}

LABELS = {
    "join_s": "until all know all",
    "cpu_s": "CPU of the simulation",
    "bytes_member": "sent per member",
    "packets_member": "packets per member",
    "bytes_s": "sent per member and second",
    "packets_s": "packets per member and second",
    "cpu_ms_s": "CPU per member and second",
    "first_s": "until the first knows",
    "median_s": "until half of all know",
    "last_s": "until the last knows",
    "copies": "copies per member",
    "unreached": "members never reached",
    "false_deaths": "healthy members declared dead",
    "false_declarations": "such declarations, viewers counted",
    "faulty_deaths": "faulty members declared dead",
    "suspicions": "suspicions refuted",
    "suspicions_hour": "suspicions per member and hour",
    "heal_s": "until all agree again",
    "settle_s": "until all agree again",
    "back_s": "until the lost are back",
    "out_s": "until all hold the faulty dead",
    "distinct_sizes": "distinct ring sizes seen",
}
"""Measures in words; others are shown by their names."""


class Share(click.ParamType):  # type: ignore[type-arg]
    """A probability: ``5%`` or ``0.05``."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip()
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{value!r} is no share; write 5% or 0.05", param, ctx)
        if not 0.0 <= share <= 1.0:
            self.fail(f"{value!r} is outside 0..100%; write 5% or 0.05", param, ctx)
        return share


class Span(click.ParamType):  # type: ignore[type-arg]
    """A length of time, ``300us``, ``40ms``, ``2s`` or ``5m``; a bare number is in seconds."""

    name = "time"

    def __init__(self, least_us: int, most_us: int) -> None:
        self.least_us, self.most_us = least_us, most_us

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        unit = next((u for u in sorted(UNITS, key=len, reverse=True) if text.endswith(u)), "")
        try:
            us = float(text[: len(text) - len(unit)]) * UNITS[unit or "s"]
        except ValueError:
            self.fail(f"{value!r} is no time; write 40ms, 2s or 5m", param, ctx)
        if not self.least_us <= us <= self.most_us:
            low, high = span(self.least_us / 1e6), span(self.most_us / 1e6)
            self.fail(f"{value!r} is outside {low}..{high}", param, ctx)
        return round(us)


class Setting(click.ParamType):  # type: ignore[type-arg]
    """``NAME=VALUE``."""

    name = "setting"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not equals or not name or not text:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name.strip(), text.strip()


def complete_experiment(_ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Names for the shell."""
    from sup_core.simulator_experiments import EXPERIMENTS

    return [name for name in EXPERIMENTS if name.startswith(incomplete)]


@click.command(epilog=EPILOG)
@click.argument(
    "experiments", nargs=-1, metavar="[EXPERIMENT]...", shell_complete=complete_experiment
)
@click.option("--list", "list_them", is_flag=True, help="List the experiments, and end.")
@click.option(
    "-n",
    "--members",
    type=int,
    default=100,
    show_default=True,
    metavar="NUMBER",
    help="Members of the ring, 3 to 20000.",
)
@click.option(
    "--profile",
    type=click.Choice(["lan", "wan", "local"]),
    default="lan",
    show_default=True,
    help="Settings of the protocol, as for 'sup run'.",
)
@click.option(
    "--pause-tolerance",
    "pause_tolerance_us",
    type=Span(0, 3_600_000_000),
    metavar="TIME",
    show_default="the profile's",
    help="A member that stops for less is never declared dead.",
)
@click.option(
    "--loss", type=Share(), metavar="SHARE", help="Each packet is lost with this probability."
)
@click.option(
    "--latency",
    "latency_us",
    type=Span(1, 10_000_000),
    metavar="TIME",
    help="Median one-way latency; half to one and a half times that.  [default: 300us]",
)
@click.option(
    "--tail",
    type=Share(),
    metavar="SHARE",
    help="Packets with a heavy-tailed latency.  [default: 1%]",
)
@click.option(
    "--tail-latency",
    "tail_us",
    type=Span(1, 60_000_000),
    metavar="TIME",
    help="The longest that those take.  [default: 20ms, or ten times the latency]",
)
@click.option(
    "--burst",
    type=Share(),
    metavar="SHARE",
    help="Per packet: its receiver falls into half a second of 90 % loss.",
)
@click.option("--duplicate", type=Share(), metavar="SHARE", help="Packets that arrive twice.")
@click.option(
    "--corrupt",
    type=Share(),
    metavar="SHARE",
    help="Packets that are damaged; the receiver's kernel drops them.",
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the experiment, as '--list' names them. Repeatable.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63), default=1, show_default=True, help="The first seed."
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    metavar="NUMBER",
    help="How many seeds: each is another run of the same question.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=lambda: os.cpu_count() or 1,
    show_default="the number of CPUs",
    help="Runs at once.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the curves as .png or .svg. Needs matplotlib: pip install 'sup-ring[plot]'.",
)
@json_option
def command(
    experiments: tuple[str, ...],
    list_them: bool,
    members: int,
    profile: str,
    pause_tolerance_us: int | None,
    settings: Sequence[tuple[str, str]],
    seed: int,
    seeds: int,
    jobs: int,
    plot: Path | None,
    as_json: bool,
    **network: float | None,
) -> None:
    """Simulate a ring: how fast, how much traffic, how many false alarms?

    Without an EXPERIMENT, four of them: how fast the ring forms, what it costs when nothing
    happens, how fast a rumor spreads and how fast a crash is known to all.
    """
    from sup import simulation

    if list_them:
        _list(as_json)
        return
    question = simulation.Question(
        members=members,
        experiments=tuple(dict.fromkeys(experiments)) or simulation.DEFAULT,
        seeds=tuple(range(seed, seed + seeds)),
        profile=profile,
        pause_tolerance_us=pause_tolerance_us,
        network={name: value for name, value in network.items() if value is not None},
        settings=dict(settings),
        jobs=jobs,
    )
    simulation.check(question)
    if plot is not None:
        from sup import simulation_plot

        simulation_plot.check_target(plot)
    with _progress(question) as watch:
        answer = simulation.answer(question, watch)
    if as_json:
        echo_json(as_data(answer))
    else:
        click.echo(view(answer))
    if plot is not None:
        simulation_plot.draw(answer, plot, headline(question))
        click.echo(f"drawn: {plot}", err=True)


@contextmanager
def _progress(question: Question) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, running: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(question.experiments) * len(question.seeds))

        def watch(done: int, running: dict[str, float]) -> None:
            text = ", ".join(f"{name}: {span(t)}" for name, t in list(running.items())[:3])
            bar.update(task, completed=done, description=text)

        yield watch


def _list(as_json: bool) -> None:
    from sup.simulation import knobs
    from sup_core.simulator_experiments import EXPERIMENTS

    about = {
        name: " ".join((experiment.script.__doc__ or "").partition("\n\n")[0].split())
        for name, experiment in EXPERIMENTS.items()
    }
    if as_json:
        rows = [{"name": name, "about": about[name], "settings": knobs(name)} for name in about]
        echo_json({"experiments": rows})
        return
    for name, words in about.items():
        click.echo(f"{name}: {words}")
        told = ", ".join(f"{key}={_plain(value)}" for key, value in knobs(name).items())
        click.echo(f"    {told or 'no settings'}")


def headline(question: Question) -> str:
    """The question in a line."""
    parts = [f"{question.members:,} members", f"profile {question.profile}"]
    if question.pause_tolerance_us is not None:
        parts.append(f"pause tolerance {span(question.pause_tolerance_us / 1e6)}")
    for name, value in question.network.items():
        if name.endswith("_us"):
            parts.append(f"{name[:-3].replace('_', ' ')} {span(value / 1e6)}")
        else:
            parts.append(f"{name} {100 * value:g} %")
    parts += [f"{name} {text}" for name, text in question.settings.items()]
    first, last = question.seeds[0], question.seeds[-1]
    parts.append(f"seed {first}" if first == last else f"seeds {first} to {last}")
    return ", ".join(parts)


def view(answer: Answer) -> str:
    """The figures in a table for each experiment."""
    lines = [headline(answer.question)]
    for experiment in answer.results:
        rows = []
        for name, figure in answer.figures(experiment).items():
            values = (figure.median, figure.least, figure.p99, figure.most)
            shown = [quantity(name, value) for value in values]
            if figure.count == 1:
                shown[1:] = ["", "", ""]
            rows.append((LABELS.get(name, name.replace("_", " ")), *shown, str(figure.count)))
        lines += ["", table((experiment.upper(), "MEDIAN", "LEAST", "P99", "MOST", "OF"), rows)]
    real_s = max(answer.real_s, 1e-3)
    pace = answer.virtual_s / real_s
    lines += ["", f"simulated {span(answer.virtual_s)} in {span(real_s)}: {pace:,.0f} × real time"]
    return "\n".join(lines)


def as_data(answer: Answer) -> dict[str, Any]:
    """The whole answer for machines; ``null`` where something never happened."""
    q = answer.question
    return {
        "members": q.members,
        "profile": q.profile,
        "pause_tolerance_us": q.pause_tolerance_us,
        "network": dict(q.network),
        "settings": dict(q.settings),
        "seeds": list(q.seeds),
        "virtual_s": answer.virtual_s,
        "real_s": round(answer.real_s, 3),
        "experiments": {
            name: {
                "figures": {
                    key: {
                        "median": _finite(f.median),
                        "least": _finite(f.least),
                        "p99": _finite(f.p99),
                        "most": _finite(f.most),
                        "count": f.count,
                    }
                    for key, f in answer.figures(name).items()
                },
                "runs": [
                    {
                        "seed": run.seed,
                        "trace": f"{run.trace:016x}",
                        "events": run.events,
                        "virtual_s": run.virtual_s,
                        "measures": {k: _finite(v) for k, v in run.measures.items()},
                        "samples": {k: [_finite(x) for x in v] for k, v in run.samples.items()},
                        "series": {k: [list(p) for p in v] for k, v in run.series.items()},
                    }
                    for run in runs
                ],
            }
            for name, runs in answer.results.items()
        },
    }


def quantity(name: str, value: float) -> str:
    """A measure in the unit that its name ends in."""
    if math.isinf(value):
        return "never"
    if math.isnan(value):
        return ""
    if name == "cpu_ms_s":
        return f"{value:.3f} ms"
    if name in ("bytes_s", "bytes", "bytes_member", "heal_bytes_member"):
        return size(value)
    if name.endswith("_share"):
        return f"{100 * value:.1f} %"
    if name.endswith("_s") and name != "packets_s":
        return span(value)
    return _plain(value)


def span(seconds: float) -> str:
    """A length of time with three digits: ``310 µs``, ``20.5 ms``, ``3.21 s``, ``12.4 min``."""
    for unit, scale in (("h", 7200.0), ("min", 120.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            length = {"h": 3600.0, "min": 60.0}.get(unit, scale)
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs" if seconds else "0 s"


def size(octets: float) -> str:
    """Bytes with three digits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if octets >= scale:
            return f"{octets / scale:.3g} {unit}"
    return f"{octets:.3g} B"


def _plain(value: float) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
