"""Line charts as SVG text: what a benchmark or a simulation shows, without a plotting library.

Pure: numbers in, text out. Axes are linear or logarithmic; ticks are round numbers. Lines get
colours that are told apart by most eyes, and a legend. Not a general plotting tool: no bars, no
dates, no interaction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
TICKS = 6
POINTS_MAX = 600
"""Points drawn per line; more than pixels say nothing more."""


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


def render(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Return the chart as an SVG document.

    Points that are not finite, or not positive on a logarithmic axis, are left out.
    """
    kept = [(line, _usable(line.points, x, y)) for line in lines]
    across = _Scale(x, [px for _, points in kept for px, _ in points], LEFT, WIDTH - RIGHT)
    up = _Scale(y, [py for _, points in kept for _, py in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{WIDTH / 2:g}" y="18" text-anchor="middle" font-size="14">'
        f"{escape(title)}</text>",
    ]
    for value in across.ticks():
        at = across.place(value)
        parts.append(_stroke(at, TOP, at, HEIGHT - BOTTOM, "#dddddd"))
        parts.append(_text(at, HEIGHT - BOTTOM + 16, _number(value), "middle"))
    for value in up.ticks():
        at = up.place(value)
        parts.append(_stroke(LEFT, at, WIDTH - RIGHT, at, "#dddddd"))
        parts.append(_text(LEFT - 6, at + 4, _number(value), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x.label, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="16" y="{middle:g}" text-anchor="middle" '
        f'transform="rotate(-90 16 {middle:g})">{escape(y.label)}</text>'
    )
    for number, (line, points) in enumerate(kept):
        colour = COLOURS[number % len(COLOURS)]
        parts += _drawn(line, points, across, up, colour)
        at = TOP + 14 + 16 * number
        parts.append(_stroke(WIDTH - RIGHT - 170, at - 4, WIDTH - RIGHT - 150, at - 4, colour, 2))
        parts.append(_text(WIDTH - RIGHT - 144, at, line.name, "start"))
    return "\n".join([*parts, "</svg>\n"])


def _usable(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[tuple[float, float]]:
    kept = [
        (px, py)
        for px, py in points
        if math.isfinite(px)
        and math.isfinite(py)
        and (px > 0 or not x.log)
        and (py > 0 or not y.log)
    ]
    step = max(1, math.ceil(len(kept) / POINTS_MAX))
    return [*kept[::step], *kept[-1:]] if step > 1 else kept


class _Scale:
    """Maps values to pixels."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        self.log = axis.log
        low = axis.low if axis.low is not None else min(values, default=0.0)
        high = axis.high if axis.high is not None else max(values, default=1.0)
        if self.log:
            low, high = max(low, 1e-12), max(high, 1e-12)
        if high <= low:
            low, high = (low / 2, low * 2) if self.log else (low - 0.5, low + 0.5)
        self.low, self.high, self.start, self.end = low, high, start, end

    def place(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values within the bounds."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            tens = [10.0**power for power in range(first, last + 1)]
            if len(tens) > 2:
                return tens
            fine = [n * 10.0**power for power in range(first - 1, last + 1) for n in (1, 2, 5)]
            return [value for value in fine if self.low <= value <= self.high]
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(n * power for n in (1, 2, 5, 10) if n * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _drawn(
    line: Line, points: list[tuple[float, float]], across: _Scale, up: _Scale, colour: str
) -> list[str]:
    path, last = [], 0.0
    for number, (px, py) in enumerate(points):
        x, y = across.place(px), up.place(py)
        if line.stepped and number:
            path.append(f"L{x:g} {last:g}")
        path.append(f"{'L' if number else 'M'}{x:g} {y:g}")
        last = y
    parts = [f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2"/>']
    if line.marks:
        parts += [
            f'<circle cx="{across.place(px):g}" cy="{up.place(py):g}" r="3.5" fill="{colour}"/>'
            for px, py in points
        ]
    return parts if points else []


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def _number(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}"
    return f"{value:.4g}"
