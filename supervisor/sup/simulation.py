"""What `sup simulate` asks of the simulator: a question, its runs in processes, and the figures.

A question names experiments, a ring's size, a network, settings of the protocol and seeds; each
(experiment, seed) is one run of `sup_core.simulator_experiments`, in a process of its own. Here is
which question can be asked at all, how runs are spread, and what several runs come to. Nothing is
measured here, and nothing of it touches a supervisor that runs.
"""

from __future__ import annotations

import inspect
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sup.errors import ExitCode, OperatorError
from sup_core.config import Config
from sup_core.simulator_experiments import EXPERIMENTS, Result, median, quantile, run_experiment
from sup_core.simulator_network import Network

MEMBERS_MIN = 3
"""Fewer have no third member that could tell a crash from a broken link."""

MEMBERS_MAX = 20_000
"""Full views of more are no sensible ring, and need more memory than machines have."""

RUNS_MAX = 10_000

PAIR_BYTES = 64
MEMBER_BYTES = 24_000
"""What a ring needs, about: each member's own, and what each holds of each; see the bench."""

DEFAULT = ("join", "steady", "rumor", "crash")
"""The tour: how fast does it form, what does it cost, how fast is news, how fast is a crash."""

TAIL_US = 20_000
"""The end of the latency's tail in a network that nobody says anything about."""

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Times in microseconds, probabilities 0..1.

    ``network`` holds arguments of `Network` that replace what an experiment comes with;
    ``settings`` those of the scripts, each for the experiments that know it.
    """

    members: int
    experiments: tuple[str, ...] = DEFAULT
    seeds: tuple[int, ...] = (1,)
    profile: str = "lan"
    pause_tolerance_us: int | None = None
    network: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure over all seeds and repetitions; ``inf`` is: not within the limit."""

    median: float
    least: float
    p99: float
    most: float
    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """All runs, by experiment in the order asked, and how long they took in real seconds."""

    question: Question
    results: Mapping[str, tuple[Result, ...]]
    real_s: float

    def figures(self, experiment: str) -> dict[str, Figure]:
        """Sum up one experiment: repetitions first, then what each run gives once."""
        runs = self.results[experiment]
        names = dict.fromkeys(name for run in runs for name in run.samples)
        pooled = {name: [x for run in runs for x in run.samples.get(name, ())] for name in names}
        for name in dict.fromkeys(name for run in runs for name in run.measures):
            values = [run.measures[name] for run in runs if name in run.measures]
            pooled.setdefault(name, [x for x in values if not math.isnan(x)])
        return {
            name: Figure(median(xs), min(xs), quantile(xs, 0.99), max(xs), len(xs))
            for name, xs in pooled.items()
            if xs
        }

    @property
    def virtual_s(self) -> float:
        """Virtual seconds of all runs together."""
        return sum(run.virtual_s for runs in self.results.values() for run in runs)


def check(question: Question) -> None:
    """Refuse what can't be simulated, before anything runs.

    Raises: OperatorError with the value, the bound and what to do.
    """
    if not MEMBERS_MIN <= question.members <= MEMBERS_MAX:
        raise OperatorError(f"members is {question.members}, allowed are 3..{MEMBERS_MAX}")
    runs = len(question.seeds) * len(question.experiments)
    if not 0 < runs <= RUNS_MAX:
        raise OperatorError(f"there are {runs} runs, allowed are 1..{RUNS_MAX}; ask fewer seeds")
    for name in question.experiments:
        if name not in EXPERIMENTS:
            raise OperatorError(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
        try:
            network_of(name, question)
            config_of(question)
        except ValueError as error:
            raise OperatorError(str(error)) from None
        settings_of(name, question.settings)
    for setting in question.settings:
        known = dict.fromkeys(knob for name in question.experiments for knob in knobs(name))
        if setting not in known:
            raise OperatorError(
                f"no setting {setting!r} of {', '.join(question.experiments)}; "
                f"there are {', '.join(known) or 'none'}"
            )
    wanted = memory_bytes(question.members) * min(question.jobs, runs)
    free = free_bytes()
    if free is not None and wanted > free:
        raise OperatorError(
            f"{question.members} members in {min(question.jobs, runs)} runs at once need about "
            f"{wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; ask fewer members or --jobs 1",
            ExitCode.CONFLICT,
        )


def config_of(question: Question) -> Config:
    """The protocol's settings that a question names. Raises: ValueError for what is no value."""
    make: Callable[..., Config] = getattr(Config, question.profile)
    if question.pause_tolerance_us is None:
        return make()
    return make(pause_tolerance_us=question.pause_tolerance_us)


def network_of(experiment: str, question: Question) -> Network:
    """The network of an experiment, with what the question says about it.

    A longer latency without a word about its tail gets one of ten times as much: a tail of the
    default's 20 ms would be none. Raises: ValueError for what is no value.
    """
    said = dict(question.network)
    if "latency_us" in said and "tail_us" not in said:
        said["tail_us"] = max(TAIL_US, 10 * said["latency_us"])
    values: dict[str, Any] = {**EXPERIMENTS[experiment].network, **said}
    return Network(**values)


def knobs(experiment: str) -> dict[str, Any]:
    """The settings of an experiment and their defaults, without those that are not one number."""
    parameters = inspect.signature(EXPERIMENTS[experiment].script).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and isinstance(p.default, bool | int | float)
    }


def settings_of(experiment: str, said: Mapping[str, str]) -> dict[str, Any]:
    """Read those settings that an experiment has, as the types of their defaults.

    Raises: OperatorError for a value that is no number, or outside of 0..1,000,000.
    """
    read: dict[str, Any] = {}
    for name, default in knobs(experiment).items():
        if name not in said:
            continue
        text = said[name]
        try:
            if isinstance(default, bool):
                read[name] = {"true": True, "false": False}[text.lower()]
            else:
                read[name] = type(default)(text)
        except (ValueError, KeyError):
            kind = "true or false" if isinstance(default, bool) else "a number"
            raise OperatorError(f"setting {name} is {text!r}, not {kind}") from None
        if not isinstance(default, bool) and not 0 <= read[name] <= 1_000_000:
            raise OperatorError(f"setting {name} is {text}, allowed are 0..1000000")
    return read


def memory_bytes(members: int) -> int:
    """What a ring of full views needs, about."""
    return members * members * PAIR_BYTES + members * MEMBER_BYTES


def free_bytes() -> int | None:
    """Memory that can be had now, None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def answer(question: Question, watch: Callable[[int, dict[str, float]], None]) -> Answer:
    """Run everything that a question asks.

    ``watch(done, running)`` is called about ten times a second with the number of finished runs and
    the virtual seconds of those under way, by name.

    Raises: OperatorError when a run fails.
    """
    tasks = [(name, seed) for name in question.experiments for seed in question.seeds]
    found: dict[tuple[str, int], Result] = {}
    started = time.monotonic()
    with _pool(min(question.jobs, len(tasks)), len(tasks)) as (pool, clocks):
        futures: dict[Future[Result], int] = {
            pool.submit(_run, number, name, seed, question): number
            for number, (name, seed) in enumerate(tasks)
        }
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                task = tasks[futures[future]]
                try:
                    found[task] = future.result()
                except BrokenProcessPool:
                    raise OperatorError(
                        "a simulation was ended from outside, likely for want of memory; "
                        "ask fewer members or --jobs 1",
                        ExitCode.FAILED,
                    ) from None
            watch(
                len(found),
                {
                    f"{name} seed {seed}": clocks[number]
                    for number, (name, seed) in enumerate(tasks)
                    if clocks[number] > 0 and (name, seed) not in found
                },
            )
    return Answer(
        question,
        {
            name: tuple(found[name, seed] for seed in question.seeds)
            for name in question.experiments
        },
        time.monotonic() - started,
    )


@contextmanager
def _pool(jobs: int, tasks: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    # Started afresh, not forked: a fork of a process with threads may hang. An interrupt ends the
    # workers at once: a run has nothing to lose.
    context = multiprocessing.get_context("spawn")
    clocks = context.Array("d", tasks, lock=False)
    pool = ProcessPoolExecutor(jobs, context, _begin, (clocks,))
    try:
        yield pool, clocks
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


_clocks: Any = None


def _begin(clocks: Any) -> None:
    global _clocks
    import signal

    _clocks = clocks
    # Ctrl-C reaches the whole foreground group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(number: int, name: str, seed: int, question: Question) -> Result:
    def progress(virtual_s: float) -> None:
        _clocks[number] = virtual_s

    return run_experiment(
        name,
        seed=seed,
        members=question.members,
        config=config_of(question),
        network=network_of(name, question),
        clock=time.process_time,
        progress=progress,
        **settings_of(name, question.settings),
    )
