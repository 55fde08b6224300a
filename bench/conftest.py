"""What every benchmark run does: ask each question in words, and write ``bench/RESULTS.md``."""

from __future__ import annotations

from typing import Any

import pytest
from bench import report


@pytest.fixture(autouse=True)
def _question(request: pytest.FixtureRequest) -> None:
    """The first line of a benchmark's docstring is its question, unless it sets another."""
    if "benchmark" not in request.fixturenames:
        return
    words = (request.function.__doc__ or request.node.name).strip().splitlines()[0]
    callspec = getattr(request.node, "callspec", None)
    case = f" [{callspec.id}]" if callspec is not None else ""
    request.getfixturevalue("benchmark").extra_info["question"] = words + case


def pytest_benchmark_update_json(
    config: Any, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Called when results are saved, so not by a trial run."""
    report.write(output_json)
