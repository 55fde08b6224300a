"""What every benchmark run does at its end: write ``bench/RESULTS.md``."""

from __future__ import annotations

from typing import Any

from bench import report


def pytest_benchmark_update_json(
    config: Any, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Called when results are saved, so not by a trial run."""
    report.write(output_json)
