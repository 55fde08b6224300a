"""``sup simulate``: real experiments on small rings, and every way to ask for what is not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Sup
from tests.source.house import ROOT

from sup import simulation
from sup.cli import simulate
from sup.cli.simulate import quantity, size, span
from sup.errors import ExitCode
from sup_core.simulator_experiments import EXPERIMENTS, run_experiment

RING = ("-n", "8", "--jobs", "1")
SMALL = (*RING, "--set", "rounds=2")


def test_simulate_tour_answers_the_four_questions(sup: Sup) -> None:
    """Without an experiment: join, steady, rumor and crash, each with its table, and the pace."""
    done = sup("simulate", *SMALL, "--set", "seconds=5")
    assert done.code == 0, done.err
    for text in ("JOIN", "STEADY", "RUMOR", "CRASH", "until the last knows", "× real time"):
        assert text in done.out
    assert "8 members, profile lan, rounds 2, seconds 5, seed 1" in done.out


def test_simulate_json_is_what_the_experiment_measured(sup: Sup) -> None:
    """The figures are those of `run_experiment` with the same seed, trace hash included."""
    done = sup("simulate", "crash", *SMALL, "--seed", "7", "--loss", "2%", "--json")
    assert done.code == 0, done.err
    run = done.json["experiments"]["crash"]["runs"][0]
    network = simulation.network_of("crash", simulation.Question(8, network={"loss": 0.02}))
    direct = run_experiment("crash", seed=7, members=8, network=network, rounds=2)
    assert run["trace"] == f"{direct.trace:016x}"
    assert run["samples"]["last_s"] == list(direct.samples["last_s"])
    figure = done.json["experiments"]["crash"]["figures"]["last_s"]
    assert figure["count"] == 2
    assert figure["most"] == max(direct.samples["last_s"])
    assert done.json["network"] == {"loss": 0.02}


def test_simulate_seeds_in_processes_give_the_same_as_alone(sup: Sup) -> None:
    """Two runs at once, and the order of their ends, change nothing."""
    both = sup(
        "simulate", "rumor", "-n", "6", "--set", "rounds=1", "--seeds", "3", "--jobs", "2", "--json"
    )
    one = sup(
        "simulate", "rumor", "-n", "6", "--set", "rounds=1", "--seed", "3", "--jobs", "1", "--json"
    )
    assert both.code == one.code == 0, both.err + one.err
    runs = both.json["experiments"]["rumor"]["runs"]
    assert [run["seed"] for run in runs] == [1, 2, 3]
    assert runs[2] == one.json["experiments"]["rumor"]["runs"][0]


def test_simulate_tolerance_slows_detection_by_as_much(sup: Sup) -> None:
    """The dial does what its help says: three seconds more tolerance, three seconds later."""
    found = []
    for tolerance in ("2s", "5s"):
        done = sup("simulate", "crash", *SMALL, "--pause-tolerance", tolerance, "--json")
        assert done.code == 0, done.err
        found.append(done.json["experiments"]["crash"]["figures"]["last_s"]["median"])
    assert 2.0 < found[1] - found[0] < 4.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["crahs"], "no experiment 'crahs'"),
        (["-n", "2"], "members is 2, allowed are 3..20000"),
        (["-n", "20001"], "members is 20001"),
        (["--loss", "5"], "'5' is outside 0..100%"),
        (["--loss", "nan%"], "outside"),
        (["--latency", "11s"], "'11s' is outside"),
        (["--latency", "soon"], "'soon' is no time"),
        (["--latency", "50ms", "--tail-latency", "1ms"], "tail_us is 1000"),
        (["--set", "rounds"], "is not NAME=VALUE"),
        (["crash", "--set", "tempo=3"], "no setting 'tempo' of crash; there are rounds"),
        (["crash", "--set", "rounds=many"], "setting rounds is 'many', not a number"),
        (["crash", "--set", "rounds=-1"], "setting rounds is -1"),
        (["heal", "--set", "seeds=maybe"], "not true or false"),
        (["--seeds", "0"], "--seeds"),
        (["--profile", "moon"], "--profile"),
        (["--plot", "curve.pdf"], ".png or .svg"),
        (["--plot", "/nowhere/at/all/curve.svg"], "there is no directory"),
    ],
)
def test_simulate_bad_input_is_one_line(sup: Sup, arguments: list[str], words: str) -> None:
    """What, the value, what is allowed; exit 2, and nothing was simulated."""
    done = sup("simulate", *arguments)
    assert done.code == ExitCode.BAD_INPUT
    assert words in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_simulate_too_large_for_the_machine_says_so(
    sup: Sup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring that would not fit is refused before it takes the machine down."""
    monkeypatch.setattr(simulation, "free_bytes", lambda: 100_000_000)
    done = sup("simulate", "-n", "5000")
    assert done.code == ExitCode.CONFLICT
    assert "5000 members in" in done.err
    assert "0.1 GB are free" in done.err


def test_simulate_without_matplotlib_says_what_to_install(
    sup: Sup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, before anything is simulated."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = sup("simulate", "crash", *SMALL, "--plot", str(tmp_path / "x.svg"))
    assert done.code == ExitCode.BAD_INPUT
    assert "pip install 'sup-ring[plot]'" in done.err


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_simulate_plot_is_drawn_the_same_twice(
    sup: Sup, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    """The same question, the same bytes."""
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        done = sup("simulate", "crash", *SMALL, "--plot", str(file))
        assert done.code == 0, done.err
    first, second = (file.read_bytes() for file in files)
    assert first.startswith(magic)
    assert first == second


def test_simulate_plot_without_a_curve_says_which_have_one(sup: Sup, tmp_path: Path) -> None:
    """An experiment that gives single figures has nothing to draw; no empty file is left."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "x.svg"
    done = sup("simulate", "join", *RING, "--plot", str(file))
    assert done.code == ExitCode.BAD_INPUT
    assert "try crash" in done.err
    assert not file.exists()


def test_simulate_list_names_every_experiment_and_setting(sup: Sup) -> None:
    """What can be asked can be found out."""
    done = sup("simulate", "--list")
    assert done.code == 0
    for name in EXPERIMENTS:
        assert f"{name}: " in done.out
    assert "percent=10" in done.out
    listed = sup("simulate", "--list", "--json").json["experiments"]
    assert [row["name"] for row in listed] == list(EXPERIMENTS)


def test_simulate_completes_experiments(sup: Sup) -> None:
    """The shell is told the names that begin so."""
    assert simulate.complete_experiment(None, None, "mass") == ["mass-crash", "mass-restart"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (3.1e-4, "310 µs"), (0.0205, "20.5 ms"), (3.214, "3.21 s"), (742.0, "12.4 min")],
)
def test_span_has_three_digits(seconds: float, text: str) -> None:
    """Times are shown in the unit that people would say."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("last_s", float("inf"), "never"),
        ("bytes_s", 131.4, "131 B"),
        ("packets_s", 2.0, "2"),
        ("cpu_ms_s", 0.0512, "0.051 ms"),
        ("kept_out_share", 0.25, "25.0 %"),
        ("false_deaths", 1200.0, "1,200"),
    ],
)
def test_quantity_knows_units_by_name(name: str, value: float, text: str) -> None:
    """A measure's name says what it is in; what never happened is said in words."""
    assert quantity(name, value) == text


def test_size_has_three_digits() -> None:
    """Bytes in decimal units, as networks count."""
    assert [size(x) for x in (12.0, 24_700.0, 5.56e6, 2e9)] == [
        "12 B",
        "24.7 KB",
        "5.56 MB",
        "2 GB",
    ]


def _documented() -> list[str]:
    text = (ROOT / "docs" / "gossip.md").read_text()
    return [
        line.partition("#")[0].strip() for line in text.splitlines() if line.startswith("sup s")
    ]


@pytest.mark.parametrize("line", _documented())
def test_simulate_as_documented_is_understood(
    sup: Sup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Every command of the page is one that can be asked; it is not run, it is checked."""
    asked: list[simulation.Question] = []

    def answer(question: simulation.Question, watch: object) -> simulation.Answer:
        asked.append(question)
        return simulation.Answer(question, {}, 0.0)

    monkeypatch.setattr(simulation, "answer", answer)
    monkeypatch.chdir(tmp_path)
    words = line.split()[1:]
    if "--plot" in words:
        pytest.importorskip("matplotlib")
        assert "nothing to draw" in sup(*words).err
    else:
        assert sup(*words).code == 0
    assert asked or "--list" in words
