"""Draw the pictures of ``docs/gossip.md``: ``python docs/pictures/draw.py`` (needs matplotlib).

Everything is simulated; the same code gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from sup import simulation, simulation_plot
from sup.cli.simulate import headline

HERE = Path(__file__).parent
TOLERANCES_S = (0.5, 1.0, 2.0, 4.0, 8.0)


def ask(question: simulation.Question) -> simulation.Answer:
    """Answer without a progress bar."""
    simulation.check(question)
    return simulation.answer(question, lambda done, running: None)


def tolerance() -> None:
    """When the last member knows of a crash, by the pause tolerance."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    panel = figure.subplots()
    for position, seconds in enumerate(TOLERANCES_S):
        found = ask(
            simulation.Question(
                100, ("crash",), (1, 2, 3), pause_tolerance_us=round(seconds * 1e6), jobs=2
            )
        )
        times = [t for run in found.results["crash"] for t in run.samples["last_s"]]
        panel.plot([position] * len(times), times, "o", color="tab:blue", alpha=0.3, markersize=4)
    panel.set_xticks(range(len(TOLERANCES_S)), [f"{s:g} s" for s in TOLERANCES_S])
    panel.set_xlabel("pause tolerance")
    panel.set_ylabel("the last of 100 knows, s")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    figure.savefig(HERE / "tolerance.svg", metadata={"Date": None})


def spread() -> None:
    """How news of a crash and a rumor spread."""
    question = simulation.Question(
        1000,
        ("crash", "rumor"),
        tuple(range(1, 6)),
        network={"loss": 0.05},
        settings={"rounds": "1"},
        jobs=2,
    )
    simulation_plot.draw(ask(question), HERE / "spread.svg", headline(question))


if __name__ == "__main__":
    simulation_plot.check_target(HERE / "spread.svg")
    tolerance()
    spread()
    sys.stdout.write("drawn\n")
