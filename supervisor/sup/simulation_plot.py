"""Draws the curves of a simulation as PNG or SVG: one panel per curve, one line per seed.

matplotlib does the work and is an extra (``pip install 'sup-ring[plot]'``): nothing else needs it,
and it is larger than all the rest. The same answer gives the same bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sup.errors import ExitCode, OperatorError
from sup.simulation import Answer

FORMATS = (".png", ".svg")

LINES_MAX = 50
"""More seeds than this are one grey cloud anyway."""

Y_LABELS = {
    "knows": "share that knows of the crash",
    "heard": "share that has the rumor",
    "held_alive": "share that holds the faulty alive",
    "least": "smallest ring anybody sees",
    "median": "ring the middle member sees",
    "most": "largest ring anybody sees",
}


def check_target(path: Path) -> None:
    """Refuse a picture that could not be drawn, before anything is simulated.

    Raises: OperatorError for an unknown format, a missing directory or a missing matplotlib.
    """
    if path.suffix.lower() not in FORMATS:
        raise OperatorError(f"--plot {path}: the name must end in {' or '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise OperatorError(f"--plot {path}: there is no directory {path.absolute().parent}")
    _matplotlib()


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise OperatorError("--plot needs matplotlib: pip install 'sup-ring[plot]'") from None
    matplotlib.use("Agg")
    # Without these an SVG differs from run to run.
    matplotlib.rcParams["svg.hashsalt"] = "sup"
    matplotlib.rcParams["svg.fonttype"] = "none"
    return matplotlib


def draw(answer: Answer, path: Path, title: str) -> None:
    """Write the picture. Raises: OperatorError when there is no curve, or no room on the disk."""
    _matplotlib()
    from matplotlib.figure import Figure

    curves = [
        (experiment, name)
        for experiment, runs in answer.results.items()
        for name in dict.fromkeys(name for run in runs for name in run.series)
    ]
    if not curves:
        names = ", ".join(answer.results)
        raise OperatorError(
            f"nothing to draw: {names} have no curve; try crash, rumor or bootstrap"
        )
    columns = min(2, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5.5 * columns, 3.6 * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(rows, columns, squeeze=False)
    for number, (experiment, name) in enumerate(curves):
        panel = panels[number // columns][number % columns]
        runs = answer.results[experiment][:LINES_MAX]
        for run in runs:
            points = run.series.get(name, ())
            panel.plot(
                [x for x, _ in points],
                [y for _, y in points],
                drawstyle="steps-post",
                color="tab:blue",
                alpha=max(0.15, 1 / len(runs)),
            )
        panel.set_title(
            f"{experiment} ({len(runs)} seed{'s' if len(runs) > 1 else ''})", fontsize=9
        )
        panel.set_xlabel("seconds", fontsize=8)
        panel.set_ylabel(Y_LABELS.get(name, name.replace("_", " ")), fontsize=8)
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    for number in range(len(curves), rows * columns):
        panels[number // columns][number % columns].set_axis_off()
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
    try:
        figure.savefig(path, dpi=150, metadata=metadata)
    except OSError as error:
        raise OperatorError(f"can't write {path}: {error.strerror}", ExitCode.FAILED) from None
