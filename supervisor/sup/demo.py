"""``sup demo``: the main job of the project as a story in seven steps, each checked and timed.

Three supervisors form a ring and run the greeter; a ``config apply`` through one reaches all; one
is killed, declared dead, and comes back to its running service. Every step waits for what it
claims and fails with a reason when that does not come: a demo that ends with 0 has shown all of
it. The processes are in ``sup.demo_ring``, what it looks like in ``sup.demo_view``.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

import sup
from sup.demo_ring import DemoMember, DemoRing, EndedBySignal, ending_signals
from sup.demo_view import Step, View, make_view
from sup.edge.package_dir import load_package
from sup.errors import ConflictError, ExitCode, OperatorError

STEP_SECONDS = 25.0
"""A step that takes longer has failed. On a quiet machine the longest takes about five."""

LOOK_SECONDS = 0.15
IDLE_SECONDS = 1.0
"""How often to look at the members during a step, and after the last one."""

FIRST = "Good evening"
SECOND = "Good night"
PACKAGE = Path(sup.__file__).parent / "examples" / "greeter"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What ``sup demo`` was asked for."""

    members: int = 3
    state_dir: Path | None = None
    keep: bool = False
    package_dir: Path | None = None
    exit_after: bool = False
    as_json: bool = False


class StepFailed(Exception):
    """A step did not come to what it claims; the text says what was missing."""


def run(options: DemoOptions) -> int:
    """Tell the story; returns the exit code. Nothing is left behind, however it ends."""
    package = (options.package_dir or PACKAGE).absolute()
    name = load_package(package).plan.package.name
    directory = _directory(options.state_dir)
    view = make_view(as_json=options.as_json)
    started = time.monotonic()
    code = int(ExitCode.OK)
    with ending_signals():
        try:
            with DemoRing(
                options.members, directory, package=package, service=name, keep=options.keep
            ) as ring:
                try:
                    code = _tell(ring, view, options, started)
                finally:
                    view.ending()
        except EndedBySignal as ended:
            code = 128 + ended.number
        finally:
            if options.state_dir is None and not options.keep:
                shutil.rmtree(directory, ignore_errors=True)
            view.close()
    if options.keep:
        click.echo(f"the state and the logs are kept in {directory}", err=True)
    return code


def _tell(ring: DemoRing, view: View, options: DemoOptions, started: float) -> int:
    story = Story(ring, view)
    try:
        story.tell()
    except BrokenPipeError:
        raise  # Whoever read our output has gone: there is nobody to tell.
    except (StepFailed, OperatorError, OSError) as error:
        view.failed(str(error), [(m.name, m.last_words()) for m in ring.members])
        return ExitCode.FAILED
    view.finished(time.monotonic() - started)
    if options.exit_after:
        return ExitCode.OK
    view.hints(_hints(ring))
    with contextlib.suppress(EndedBySignal):
        while True:
            ring.look()
            view.show(ring.members, "Ctrl-C ends it all")
            time.sleep(IDLE_SECONDS)
    return ExitCode.OK


@dataclass
class Story:
    """The seven steps. Each method waits for what it tells."""

    ring: DemoRing
    view: View
    pids: dict[str, int | None] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    """Members whose supervisor may be absent now."""

    def tell(self) -> None:
        """All steps in order. Raises ``StepFailed``, and ``OperatorError`` of a refused command."""
        self._start()
        self._form()
        self._serve()
        self._apply()
        self._kill()
        self._apply_while_away()
        self._return()

    @property
    def _last(self) -> DemoMember:
        return self.ring.members[-1]

    @property
    def _others(self) -> list[DemoMember]:
        return self.ring.members[:-1]

    def _start(self) -> None:
        count = len(self.ring.members)
        with self._step(f"Start {count} supervisors, each with its own state directory") as step:
            self.ring.prepare()
            for member in self.ring.members:
                member.start(self.ring.arguments(member))
            self._until(
                "every supervisor answers", lambda: all(m.look.answers for m in self.ring.members)
            )
            step.facts += [
                f"{m.name}: gossip on 127.0.0.1:{m.gossip_port}, HTTP on 127.0.0.1:{m.http_port}"
                for m in self.ring.members
            ]

    def _form(self) -> None:
        count = len(self.ring.members)
        with self._step("They find each other and form a ring; there is no server") as step:
            self._until(
                f"everybody sees {count} alive",
                lambda: all(m.look.alive() == count for m in self.ring.members),
            )
            step.facts.append(f"everybody sees {count} members alive")

    def _serve(self) -> None:
        count = len(self.ring.members)
        with self._step(f"Each runs the same package, the {self.ring.service}") as step:
            self._until(
                "every service is up, healthy, and knows all of its group",
                lambda: all(
                    m.look.process == "up"
                    and m.look.health == "ok"
                    and m.look.greeting
                    and m.look.peers == count
                    for m in self.ring.members
                ),
            )
            step.facts += self._greetings(self.ring.members)
            self.pids = {m.name: m.look.pid for m in self.ring.members}

    def _apply(self) -> None:
        through = self.ring.members[0]
        title = f'Configure all through one: greeting = "{FIRST}", told to {through.name} alone'
        with self._step(title) as step:
            answer = self.ring.apply(through, f'greeting = "{FIRST}"\n')
            self._until(
                "every greeting is the new one, and every page shows the new version",
                lambda: all(
                    m.look.greeting.startswith(FIRST) and m.look.config_version == answer["version"]
                    for m in self.ring.members
                ),
            )
            step.facts += self._greetings(self.ring.members)
            step.facts.append(f"configuration version {answer['version']}; no process restarted")
            self._same_processes()

    def _kill(self) -> None:
        last = self._last
        with self._step(
            f"SIGKILL the supervisor and the launcher of {last.name}: the others notice"
        ) as step:
            self.away.add(last.name)
            last.kill()
            self._until(
                f"the others declare {last.name} dead",
                lambda: all(m.look.sees.get(last.name) == "dead" for m in self._others),
            )
            if not last.look.greeting:
                raise StepFailed(f"the service of {last.name} went down with its supervisor")
            step.facts.append(f"{_names(self._others)} say: {last.name} is dead")
            step.facts.append(f"its service has not noticed: {last.look.greeting}")

    def _apply_while_away(self) -> None:
        through = self._others[-1]
        title = f'Configure while it is away: greeting = "{SECOND}", told to {through.name}'
        with self._step(title) as step:
            self.ring.apply(through, f'greeting = "{SECOND}"\n')
            self._until(
                "every other greeting is the new one",
                lambda: all(m.look.greeting.startswith(SECOND) for m in self._others),
            )
            step.facts += self._greetings(self.ring.members)

    def _return(self) -> None:
        count, last = len(self.ring.members), self._last
        with self._step(f"Start {last.name} again: it takes over its service, and catches up") as s:
            last.start(self.ring.arguments(last))
            self.away.discard(last.name)
            self._until(
                f"everybody sees {count} alive again, and {last.name} has what it missed",
                lambda: (
                    all(m.look.alive() == count for m in self.ring.members)
                    and last.look.process in ("up", "adopted")
                    and last.look.greeting.startswith(SECOND)
                ),
            )
            self._same_processes()
            s.facts.append(last.look.greeting)
            s.facts.append(f"the same process as before, pid {last.look.pid}: it never stopped")

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        self.view.begin(step)
        start = time.monotonic()
        yield step
        step.seconds = time.monotonic() - start
        self.view.done(step)

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            self.ring.look()
            self.view.show(self.ring.members, f"waiting until {what}")
            if condition():
                return
            for member in self.ring.members:
                if member.name not in self.away and not member.running:
                    code = member.process.returncode if member.process else None
                    raise StepFailed(f"the supervisor of {member.name} ended with exit code {code}")
            if time.monotonic() > deadline:
                seen = "; ".join(f"{m.name} {m.look.text()}" for m in self.ring.members)
                raise StepFailed(f"not within {STEP_SECONDS:.0f} s: {what} ({seen})")
            time.sleep(LOOK_SECONDS)

    def _same_processes(self) -> None:
        for member in self.ring.members:
            if member.look.pid != self.pids[member.name]:
                raise StepFailed(
                    f"the service of {member.name} is process {member.look.pid},"
                    f" it was {self.pids[member.name]}: it should have gone on"
                )

    @staticmethod
    def _greetings(members: list[DemoMember]) -> list[str]:
        return [
            f"http://127.0.0.1:{m.service_port}/  {m.look.greeting or 'no answer'}" for m in members
        ]


def _names(members: list[DemoMember]) -> str:
    return " and ".join(member.name for member in members)


def _directory(asked: Path | None) -> Path:
    """The directory of the demo, made if need be.

    Raises:
        ConflictError: something is in the directory that was asked for.
    """
    if asked is None:
        return Path(tempfile.mkdtemp(prefix="sup-demo-"))
    directory = asked.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ConflictError(f"{directory} is not empty; choose another --state-dir")
    except OSError as error:
        raise OperatorError(f"{directory}: {error.strerror}") from None
    return directory


def _program() -> str:
    """How to call this very installation from another terminal."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{sys.executable} -m sup"
    found = shutil.which("sup")
    return "sup" if found is not None and Path(found).samefile(called) else str(called)


def _hints(ring: DemoRing) -> list[tuple[str, str]]:
    """What to try next: what it shows, and the command to paste."""
    first, last = ring.members[0], ring.members[-1]
    program = _program()
    group = f"{ring.service}.default"
    here = f"--state-dir {first.state_dir}"
    again = " ".join(ring.arguments(last))
    pid = last.process.pid if last.process else 0
    return [
        ("the page of one greeter", f"curl http://127.0.0.1:{first.service_port}/greeting.json"),
        ("the supervisor at a glance", f"{program} status {here}"),
        ("who is in the group", f"{program} census {group} {here} --watch"),
        (
            "a greeting of your own, everywhere",
            "echo 'greeting = \"Hello, world\"' |"
            f" {program} config apply {group} - --wait 10 {here}",
        ),
        ("the same over HTTP", f"curl http://127.0.0.1:{first.http_port}/v1/groups/{group}/config"),
        ("a crash of one supervisor: it is back at once", f"kill -9 {last.supervisor_pid}"),
        ("a host that goes", f"kill {pid}"),
        ("bring it back", f"{program} {again}"),
    ]
