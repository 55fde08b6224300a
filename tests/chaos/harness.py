"""One ``sup run`` under attack: who is who, what must hold at any moment, and a sure end.

A ``Tree`` starts the real program on a state directory of its own, knows launcher, supervisor and
services from outside (``launcher.json``, ``/proc``, the marks of the processes), and checks:

- every service that is wanted has exactly one process tree, of one start; stopped ones have none;
- nobody is a zombie below launcher or supervisor for longer than a moment;
- memory and descriptors of launcher and supervisor stay where they were;
- a counter's numbers are in its log, each once and in order.

Nothing here is trusted to end by itself: ``Tree.close`` stops the launcher first, so that nothing
is started anew, then kills all that carries the marks of the services, wherever it went.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.supervisors import Supervisor

from sup.cli.client import Client
from sup.edge.process_tree import all_stats, find_marked, read_stat, tag_of
from sup.edge.service_dir import mark_prefix
from sup.errors import OperatorError
from sup.model.service_paths import ServicePaths

LONG = os.environ.get("SUP_CHAOS_LONG", "") not in ("", "0")
"""Set by ``make chaos``: the numbers of the issue instead of those that CI has time for."""
COUNTER = """
import sys, time
n = 0
while True:
    n += 1
    sys.stdout.write(f"n={n}\\n")
    sys.stdout.flush()
    time.sleep(0.002)
"""
COUNT_LINE = re.compile(rb"\S{27}(?: n=(\d+)|!.*)")


def seeded() -> random.Random:
    """The dice of a test; the seed is printed, ``SUP_CHAOS_SEED`` gives it again."""
    given = os.environ.get("SUP_CHAOS_SEED")
    seed = int(given) if given else (int(time.time()) if LONG else 20261122)
    sys.stdout.write(f"replay with SUP_CHAOS_SEED={seed}\n")
    return random.Random(seed)


def until(
    what: str, condition: Callable[[], Any], seconds: float = 20.0, every_s: float = 0.02
) -> Any:
    """Wait until ``condition`` holds and return its value; AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} (last: {value!r})"
        time.sleep(every_s)
    return value


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    stat = read_stat(pid) if pid else None
    return stat is not None and not stat.dead


@dataclass(frozen=True)
class Size:
    """What one process of ours holds at a moment."""

    fds: int
    anonymous_kb: int


def size(pid: int) -> Size:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous:\s+(\d+)", text, re.M)
    assert found is not None
    return Size(len(os.listdir(f"/proc/{pid}/fd")), int(found[1]))


class Tree:
    """One launcher with its supervisor and services. ``place`` holds everything that it writes."""

    def __init__(
        self,
        place: Path,
        *,
        state_dir: Path | None = None,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        hidden: bool = False,
    ) -> None:
        """``hidden``: ``prefix`` mounts what the state directory is on for the launcher alone."""
        self.place = place
        self.state_dir = state_dir or place / "state"
        self.run = Supervisor(
            self.state_dir,
            *("--listen-gossip", "127.0.0.1:0", "--listen-http", "off", *options),
            prefix=prefix,
        )
        self.run.log = place / "sup.log"
        self.view = self.state_dir
        """The state directory as the test sees it."""
        self._hidden = hidden
        self.client = Client(self.state_dir / "control.sock")
        self.wanted: dict[str, bool] = {}
        """Services by name; False: it was stopped."""
        self._prefixes: dict[str, str] = {}
        self._held: set[int] = set()
        """Launchers and supervisors seen, to be killed at the end."""

    # Life

    def start(self) -> Tree:
        self.run.start()
        if self._hidden:
            self.view = self.run.state_dir = Path(f"/proc/{self.run.pid}/root{self.state_dir}")
            self.client = Client(self.view / "control.sock")
        until("the supervisor answers", self.answers, 60)
        return self

    def answers(self) -> bool:
        self.remember()
        try:
            self.client.request("GET", "/v1/services", timeout_s=5)
        except OperatorError:
            return False
        return True

    def remember(self) -> dict[str, Any]:
        """``launcher.json`` now; who is named there will be killed at the end."""
        facts = self.run.launcher()
        self._held.update(int(facts.get(key) or 0) for key in ("pid", "supervisor_pid"))
        return facts

    @property
    def launcher_pid(self) -> int:
        return int(self.remember().get("pid") or self.run.pid)

    @property
    def supervisor_pid(self) -> int:
        """0 while there is none."""
        return int(self.remember().get("supervisor_pid") or 0)

    def settled(self, seconds: float = 30.0) -> None:
        """Wait until launcher and supervisor live, the supervisor is ready and answers."""

        def ok() -> bool:
            facts = self.remember()
            return (
                facts.get("supervisor") == "up"
                and alive(int(facts["pid"]))
                and alive(int(facts["supervisor_pid"]))
                and self.answers()
            )

        until("launcher and supervisor are up", ok, seconds)

    def close(self) -> None:
        """The end of everything, whatever state it is in."""
        facts = self.run.launcher()
        self._held.update(int(facts.get(key) or 0) for key in ("pid", "supervisor_pid"))
        process = self.run.process
        if process is not None and process.poll() is None:
            self._held.add(process.pid)
        held = {pid for pid in self._held if pid and self._ours(pid)}
        # Launchers first: stopped, they start no supervisor while one is killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in held:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        if process is not None:
            process.wait(10)
        for found in self._strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)
        for prefix in self._prefixes.values():
            _end_all(prefix)

    def _ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(self.state_dir) in words

    def _strays(self) -> list[int]:
        return [s.pid for s in all_stats().values() if not s.dead and self._ours(s.pid)]

    # Services

    def add(self, name: str, command: Sequence[str], *, up: bool = True, **service: Any) -> None:
        """Load a service with a plan of its own; tables of the plan are given as dicts."""
        package = self.place / "packages" / name
        package.mkdir(parents=True, exist_ok=True)
        lines = ["[package]", f'name = "{name}"', "[service]", f"command = {_toml(list(command))}"]
        tables = {k: v for k, v in service.items() if isinstance(v, dict)}
        lines += [f"{k} = {_toml(v)}" for k, v in service.items() if k not in tables]
        for table, values in tables.items():
            lines += [f"[service.{table}]", *(f"{k} = {_toml(v)}" for k, v in values.items())]
        (package / "plan.toml").write_text("\n".join(lines) + "\n")
        specs = self.view / "specs"
        specs.mkdir(parents=True, exist_ok=True)
        spec = f'name = "{name}"\npackage_dir = "{package}"\ndesired = "{"up" if up else "down"}"\n'
        new = specs / f".{name}.new"
        new.write_text(spec)
        new.rename(specs / f"{name}.toml")
        self.wanted[name] = up
        self._prefixes[name] = mark_prefix(ServicePaths(self.state_dir / "svc" / name))

    def add_counter(self, name: str = "counter", **service: Any) -> None:
        script = self.place / "counter.py"
        script.write_text(COUNTER)
        self.add(
            name,
            [sys.executable, "-I", "-S", str(script)],
            log={"max_bytes": 64 << 20},
            restart_min=0.1,
            restart_max=1,
            **service,
        )

    def rows(self, timeout_s: float = 10.0) -> dict[str, dict[str, Any]]:
        """``sup services`` of the local ones by name; empty while nobody answers."""
        try:
            answer = self.client.request("GET", "/v1/services", timeout_s=timeout_s)
        except OperatorError:
            return {}
        return {row["service"]: row for row in answer["services"]}

    def row(self, name: str) -> dict[str, Any]:
        return self.rows().get(name, {})

    def up(self, name: str, seconds: float = 30.0) -> int:
        """The pid of a service once it is shown as up."""
        row = until(
            f"{name} is up", lambda: (r := self.row(name)).get("process") == "up" and r, seconds
        )
        return int(row["pid"])

    def stop(self, name: str, seconds: float = 30.0) -> None:
        self.client.request("POST", f"/v1/services/{name}/stop", b"{}", timeout_s=seconds)
        self.wanted[name] = False

    def pids(self, name: str) -> list[int]:
        """All live processes of a service, wherever they went."""
        return [stat.pid for stat in find_marked(self._prefixes[name])]

    # What must hold

    def starts_alive(self, name: str) -> int:
        """How many starts of a service have a live process: the tag differs for each."""
        return len({tag for pid in self.pids(name) if (tag := tag_of(pid))})

    def check_trees(self, seconds: float = 15.0) -> None:
        """One tree for each wanted service, none for the others. Restarts take a moment."""

        def wrong() -> dict[str, int]:
            counted = {name: self.starts_alive(name) for name in self.wanted}
            # Two at one moment are never right; none may be a restart under way.
            for name, count in counted.items():
                assert count <= 1, f"{name} has {count} process trees: {self.pids(name)}"
            return {n: c for n, c in counted.items() if c != int(self.wanted[n])}

        deadline = time.monotonic() + seconds
        while left := wrong():
            assert time.monotonic() < deadline, f"trees other than wanted: {left}"
            time.sleep(0.05)

    def zombies(self) -> list[int]:
        parents = {self.launcher_pid, self.supervisor_pid}
        return [s.pid for s in all_stats().values() if s.state == "Z" and s.ppid in parents]

    def check_no_zombies(self, seconds: float = 8.0) -> None:
        """The dead are reaped within a moment."""
        until(f"zombies are reaped: {self.zombies()}", lambda: not self.zombies(), seconds, 0.1)

    def sizes(self) -> dict[str, Size]:
        return {"launcher": size(self.launcher_pid), "supervisor": size(self.supervisor_pid)}

    def check_flat(
        self,
        before: dict[str, Size],
        *,
        kb: int = 3072,
        fds: int = 4,
        who: Sequence[str] = ("launcher", "supervisor"),
    ) -> None:
        """No more descriptors and memory than ``before``, but for what one pool or cache takes."""

        def grown() -> list[str]:
            now = self.sizes()
            return [
                f"{name}: {before[name]} -> {now[name]}"
                for name in who
                if now[name].fds > before[name].fds + fds
                or now[name].anonymous_kb > before[name].anonymous_kb + kb
            ]

        until(f"sizes are flat ({grown()})", lambda: not grown(), 10, 0.25)

    def end(self, seconds: float = 40.0) -> None:
        """SIGTERM to the launcher as it is now: it ends, and nothing of any service is left."""
        pid = self.launcher_pid
        stat = read_stat(pid)
        assert stat is not None
        os.kill(pid, signal.SIGTERM)
        process = self.run.process
        if process is not None and process.pid == pid:
            assert process.wait(seconds) == 0, self.said()
        else:
            until("the launcher ends", lambda: not alive(pid), seconds)
        left = {name: found for name in self.wanted if (found := self.pids(name))}
        assert not left, f"left after the end: {left}"
        assert not self._strays()

    def said(self, bytes_max: int = 4000) -> str:
        """The end of what launcher and supervisor have logged."""
        return self.run.log.read_text(errors="replace")[-bytes_max:]

    # Logs

    def log_lines(self, name: str) -> list[bytes]:
        """All lines of a service's log, oldest file first."""
        directory = self.view / "svc" / name / "logs"

        def age(file: Path) -> int:
            return int(file.suffix[1:]) if file.suffix != ".log" else 0

        files = sorted(directory.glob(f"{name}.log*"), key=age, reverse=True)
        return b"".join(file.read_bytes() for file in files).splitlines()

    def counts(self, name: str = "counter", *, torn: int = 0) -> list[list[int]]:
        """The numbers in a counter's log, one list for each start of it.

        As many lines may be ``torn``: a disk that is full takes a part of one.
        """
        runs: list[list[int]] = []
        for line in self.log_lines(name):
            found = COUNT_LINE.fullmatch(line)
            if found is None:
                torn -= 1
                assert torn >= 0, f"torn line: {line!r:.100}"
                continue
            number = found[1]
            if number is None:
                continue
            if number == b"1":
                runs.append([])
            assert runs, f"the first number is {number!r}"
            runs[-1].append(int(number))
        return runs

    def check_counts(self, name: str = "counter", *, starts: int | None = None) -> int:
        """Every number once and in order in every start; returns how many there are."""
        runs = self.counts(name)
        for run in runs:
            gaps = [(a, b) for a, b in itertools.pairwise(run) if b != a + 1]
            assert not gaps, f"{len(gaps)} gaps in {len(run)} numbers: {gaps[:5]}"
        if starts is not None:
            assert len(runs) == starts, f"{len(runs)} starts instead of {starts}"
        return sum(map(len, runs))


@contextlib.contextmanager
def tree(place: Path, **options: Any) -> Iterator[Tree]:
    """A tree that is not started yet; nothing of it is left afterwards."""
    one = Tree(place, **options)
    try:
        yield one
    except BaseException:
        with contextlib.suppress(OSError):
            sys.stdout.write(one.said())
        raise
    finally:
        one.close()


def _end_all(prefix: str) -> None:
    """Kill what carries the marks; stopped first, so that a fork bomb comes to an end, too."""
    deadline = time.monotonic() + 20
    while found := find_marked(prefix):
        running = [stat.pid for stat in found if stat.state in "RS"]
        number = signal.SIGSTOP if running and time.monotonic() < deadline else signal.SIGKILL
        for pid in running or [stat.pid for stat in found]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        assert time.monotonic() < deadline + 10, f"can't be killed: {found[:10]}"
        time.sleep(0.02)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
