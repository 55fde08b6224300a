"""Charts are numbers in, SVG text out: what is drawn is where it should be."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from sup.model import charts
from sup.model.charts import Axis, Line, render


def paths(svg: str) -> list[list[tuple[float, float]]]:
    """The points of every drawn line."""
    found = re.findall(r'<path d="([^"]*)"', svg)
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) ([-\d.e]+)", d)] for d in found
    ]


def test_chart_is_well_formed_and_escapes_words() -> None:
    """Titles, labels and names may hold any character."""
    svg = render("a < b & c", Axis("x > 0"), Axis('"y"'), [Line("<one>", [(0, 0), (1, 2)])])
    root = ElementTree.fromstring(svg)
    words = [node.text for node in root.iter() if node.text and node.text.strip()]
    assert {"a < b & c", "x > 0", '"y"', "<one>"} <= set(words)


def test_chart_line_spans_the_axes() -> None:
    """The smallest point is at the lower left, the largest at the upper right."""
    [points] = paths(render("t", Axis("x"), Axis("y"), [Line("l", [(0, 5), (10, 15)])]))
    assert points[0] == (charts.LEFT, charts.HEIGHT - charts.BOTTOM)
    assert points[-1] == (charts.WIDTH - charts.RIGHT, charts.TOP)


def test_chart_log_axis_places_by_factor() -> None:
    """On a logarithmic axis the geometric mean is in the middle, and zero has no place."""
    line = Line("l", [(0, 1), (1, 1), (10, 2), (100, 3)])
    [points] = paths(render("t", Axis("x", log=True), Axis("y"), [line]))
    assert len(points) == 3
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.2)


def test_chart_leaves_out_what_is_not_finite() -> None:
    """A point that was never reached is not drawn."""
    line = Line("l", [(0, 1), (1, math.inf), (2, math.nan), (3, 4)])
    [points] = paths(render("t", Axis("x"), Axis("y"), [line]))
    assert len(points) == 2


def test_chart_steps_keep_the_value_until_the_next_point() -> None:
    """A step goes right, then up."""
    [points] = paths(render("t", Axis("x"), Axis("y"), [Line("l", [(0, 0), (1, 1)], stepped=True)]))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert (y0, x1) == (y1, x2)
    assert x0 < x1
    assert y2 < y1


@pytest.mark.parametrize("points", [[], [(1, 1)], [(0, 0), (0, 0)]])
def test_chart_of_nothing_or_one_value_is_drawn(points: list[tuple[float, float]]) -> None:
    """An empty range has no width to divide by."""
    ElementTree.fromstring(render("t", Axis("x"), Axis("y"), [Line("l", points)]))


def test_chart_draws_a_bounded_number_of_points() -> None:
    """A long curve is thinned; its end stays."""
    line = Line("l", [(n, n) for n in range(10_000)])
    [points] = paths(render("t", Axis("x"), Axis("y"), [line]))
    assert len(points) <= charts.POINTS_MAX + 1
    assert points[-1] == (charts.WIDTH - charts.RIGHT, charts.TOP)
