"""Line charts of the results as SVG, drawn by matplotlib where it is installed.

matplotlib is an extra (``pip install 'sup-ring[plot]'``): without it a benchmark measures the same
and says in one line that its plots are left out. The same points give the same bytes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZE = (7.2, 4.0)
MISSING = "plots are left out: matplotlib is not installed (pip install 'sup-ring[plot]')"

_said: list[str] = []


@dataclass(frozen=True, slots=True)
class Line:
    """One named line; ``stepped`` lines keep their value until the next point."""

    name: str
    points: Sequence[tuple[float, float]]
    stepped: bool = False
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says and how it scales; bounds that are None come from the points."""

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False

    def takes(self, value: float) -> bool:
        """Return whether the axis has a place for the value."""
        return math.isfinite(value) and (value > 0 or not self.log)


def save(path: Path, title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> bool:
    """Draw the chart into an SVG file; return False, and say so once, without matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        if not _said:
            _said.append(MISSING)
            print(MISSING, file=sys.stderr)
        return False
    # Without these an SVG differs from run to run.
    with matplotlib.rc_context({"svg.hashsalt": "sup", "svg.fonttype": "none"}):
        figure = Figure(figsize=SIZE, layout="constrained")
        panel = figure.subplots()
        for line in lines:
            _draw(panel, line, x, y)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(x.label, fontsize=9)
        panel.set_ylabel(y.label, fontsize=9)
        if x.log:
            panel.set_xscale("log")
        if y.log:
            panel.set_yscale("log")
        panel.set_xlim(x.low, x.high)
        panel.set_ylim(y.low, y.high)
        panel.grid(alpha=0.3)
        if len(lines) > 1:
            panel.legend(fontsize=8)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
    return True


def _draw(panel: Any, line: Line, x: Axis, y: Axis) -> None:
    points = [(px, py) for px, py in line.points if x.takes(px) and y.takes(py)]
    panel.plot(
        [px for px, _ in points],
        [py for _, py in points],
        label=line.name,
        drawstyle="steps-post" if line.stepped else "default",
        marker="o" if line.marks else None,
        clip_on=not line.marks,
    )
