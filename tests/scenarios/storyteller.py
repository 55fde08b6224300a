"""Tells stories: short scripts for the simulator, each with the output that it must have.

A story is a text file in ``stories``: why it exists, then commands, and after each command what the
ring said while it ran, as ``> `` lines. Times are virtual seconds since the story's first command;
equal lines of several members become one line. The whole is a function of the file:

    python -m tests.scenarios.storyteller             run all, show what differs
    python -m tests.scenarios.storyteller --rewrite   write what they say now

Commands: ``ring N`` forms a ring of N (first, once) · ``with KEY VALUE`` a field of `Config`, or
``loss``/``latency_us``/``seed``, before it · ``run S`` · ``crash M``, ``power M`` (the host too),
``restart M``, ``lose-disk M`` (restart as somebody new) · ``leave M`` · ``join`` (one more) ·
``pause M S``, ``deaf M S`` · ``cut M M … | M M …``, ``heal`` · ``deafen M``, ``silence M``,
``repair M`` (one-way links) · ``publish M KEY TEXT``, ``large M KEY BYTES``, ``retract M KEY`` ·
``move M`` (a new address) · ``show M`` what it holds of the others · ``why M M`` who accused ·
``rumors M``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from sup_core.config import Config
from sup_core.events import Event, MemberEvent, RumorEvent
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form
from sup_core.simulator_network import Network

STORIES = Path(__file__).parent / "stories"
KIND = 64  # last writer wins: every member may write every key
LINES_MAX = 200  # of output per story; more is no story


class Story:
    """One run of one file."""

    def __init__(self, text: str) -> None:
        self.lines = [line for line in text.splitlines() if not line.startswith("> ")]
        self.out: list[str] = []
        self.settings: dict[str, int] = {}
        self.network: dict[str, float] = {}
        self.seed = 1
        self.sim: Simulator | None = None
        self.start_us = 0
        self._heard: list[tuple[int, str, str]] = []  # time, what was said, by whom

    def tell(self) -> str:
        """Run it; return the file as it should be."""
        for number, line in enumerate(self.lines, 1):
            self.out.append(line)
            words = line.split()
            if not words or line.startswith("#"):
                continue
            command: Callable[..., None] | None = getattr(
                self, f"do_{words[0].replace('-', '_')}", None
            )
            if command is None:
                raise ValueError(f"line {number}: no command {words[0]!r}")
            command(*words[1:])
            self._flush()
            if len(self.out) > LINES_MAX:
                raise ValueError(f"over {LINES_MAX} lines by line {number}: cut the story")
        return "\n".join(self.out) + "\n"

    # before the ring

    def do_with(self, name: str, value: str) -> None:
        """Set the seed, a field of `Network` or one of `Config`."""
        if name == "seed":
            self.seed = int(value)
        elif name in {field.name for field in fields(Config)}:
            self.settings[name] = int(value)
        else:
            self.network[name] = float(value) if "." in value else int(value)

    def do_ring(self, count: str) -> None:
        """Form it; nobody drifts, so that the times are those of the rules."""
        network = Network(**{"tail": 0.0, **self.network})  # type: ignore[arg-type]
        self.sim = Simulator(seed=self.seed, config=Config(**self.settings), network=network)
        took = form(self.sim, int(count))
        self.sim.run(3.0)
        self.out.append(f"> all {count} know each other after {took:.1f} s")
        self.start_us = self.sim.now_us
        self.sim.watch(self._hear)

    # what happens

    def do_run(self, seconds: str) -> None:
        """Let time pass."""
        self.ring.run(float(seconds))

    def do_crash(self, who: str) -> None:
        """Kill a process."""
        self.ring.crash(self.index(who))

    def do_power(self, who: str) -> None:
        """Cut the power of a host."""
        self.ring.crash(self.index(who), host=True)

    def do_restart(self, who: str) -> None:
        """Start it again, with its disk."""
        self.ring.restart(self.index(who))

    def do_lose_disk(self, who: str) -> None:
        """Start it again as somebody new of the same name."""
        self.ring.restart(self.index(who), disk=False)

    def do_leave(self, who: str) -> None:
        """Leave for good."""
        self.ring.leave(self.index(who))

    def do_join(self) -> None:
        """One more member."""
        self.ring.add(1)

    def do_pause(self, who: str, seconds: str) -> None:
        """Stop a process and its timers (a stop signal, a garbage collection)."""
        self.ring.freeze(self.index(who), float(seconds))

    def do_deaf(self, who: str, seconds: str) -> None:
        """Stop only its reading."""
        self.ring.deafen(self.index(who), float(seconds))

    def do_cut(self, *words: str) -> None:
        """Partition."""
        sides = " ".join(words).split("|")
        self.ring.partition([[self.index(who) for who in side.split()] for side in sides])

    def do_heal(self) -> None:
        """End the partition."""
        self.ring.heal()

    def do_deafen(self, who: str) -> None:
        """Lose all that it receives."""
        self.ring.isolate(self.index(who), incoming=1.0, outgoing=0.0)

    def do_silence(self, who: str) -> None:
        """Lose all that it sends."""
        self.ring.isolate(self.index(who), incoming=0.0, outgoing=1.0)

    def do_repair(self, who: str) -> None:
        """End both."""
        self.ring.isolate(self.index(who), incoming=0.0, outgoing=0.0)

    def do_publish(self, who: str, key: str, *text: str) -> None:
        """Write a rumor."""
        self.ring.publish(self.index(who), KIND, key.encode(), " ".join(text).encode())

    def do_large(self, who: str, key: str, octets: str) -> None:
        """Write a rumor that no datagram holds."""
        self.ring.publish(self.index(who), KIND, key.encode(), b"x" * int(octets))

    def do_retract(self, who: str, key: str) -> None:
        """Retract a rumor."""
        self.ring.retract(self.index(who), KIND, key.encode())

    def do_move(self, who: str) -> None:
        """Give it another address."""
        self.ring.move(self.index(who))

    # what is held

    def do_show(self, who: str) -> None:
        """What one member holds of the others."""
        self._flush()
        seen: dict[str, list[str]] = {}
        for name, state in sorted(self.ring.view(self.index(who)).items()):
            seen.setdefault(state.name.lower(), []).append(name)
        text = ", ".join(f"{state} {' '.join(names)}" for state, names in sorted(seen.items()))
        self.out.append(f"> {who} holds {text or 'nobody'}")

    def do_why(self, viewer: str, who: str) -> None:
        """Who said what about a member; times are the viewer's own and are left out."""
        self._flush()
        node = self.ring.node_of(self.index(viewer))
        for line in node.why(self.ring.life(self.index(who)).id):
            self.out.append(f"> {viewer} on {who}: {self._named(line.partition(': ')[2])}")

    def do_rumors(self, who: str) -> None:
        """Which rumors a member holds."""
        self._flush()
        found = [
            f"{rumor.key.decode()}={_text(rumor.value or b'')}"
            for rumor in self.ring.node_of(self.index(who)).rumors(KIND)
        ]
        self.out.append(f"> {who} has {', '.join(found) or 'no rumor'}")

    # inside

    @property
    def ring(self) -> Simulator:
        """The simulator, once there is one."""
        if self.sim is None:
            raise ValueError("the first command is: ring N")
        return self.sim

    def index(self, who: str) -> int:
        """The host of ``mN``."""
        return int(who.removeprefix("m"))

    def _hear(self, viewer: int, event: Event) -> None:
        if isinstance(event, MemberEvent):
            name = self.ring.name_of(event.member.id)
            text = f"{name} {event.change.value} ({self._named(event.why)})"
        elif isinstance(event, RumorEvent):
            value = event.rumor.value
            held = "retracted" if value is None else _text(value)
            text = f"{event.rumor.key.decode()}={held}"
        else:
            text = f"{event.what}"
        self._heard.append((self.ring.now_us, text, self.ring.name(viewer)))

    def _named(self, text: str) -> str:
        # Short ids are drawn from the seed; a story names members by their names.
        for life in self.ring.lives():
            text = text.replace(life.id.hex()[:16], life.name)
        return text

    def _flush(self) -> None:
        # Members that say the same within a command are one line, at the times of the first and
        # last.
        said: dict[str, list[tuple[int, str]]] = {}
        for t_us, text, who in self._heard:
            said.setdefault(text, []).append((t_us, who))
        self._heard.clear()
        for text, by in said.items():
            first, last = ((t - self.start_us) / 1e6 for t in (by[0][0], by[-1][0]))
            when = f"{first:.2f}" if f"{first:.2f}" == f"{last:.2f}" else f"{first:.2f}..{last:.2f}"
            self.out.append(f"> {when} {' '.join(sorted({who for _, who in by}))}: {text}")


def _text(value: bytes) -> str:
    return value.decode() if len(value) <= 40 else f"{len(value)} bytes"


def stories() -> list[Path]:
    """All files, in order."""
    return sorted(STORIES.glob("*.txt"))


def main() -> int:
    """Run all; with ``--rewrite`` write them anew, else say which differ."""
    rewrite = "--rewrite" in sys.argv[1:]
    different = 0
    for path in stories():
        text = path.read_text()
        told = Story(text).tell()
        if told == text:
            continue
        different += 1
        if rewrite:
            path.write_text(told)
        sys.stdout.write(f"{path.name}: {'rewritten' if rewrite else 'differs'}\n")
    return 1 if different and not rewrite else 0


if __name__ == "__main__":
    sys.exit(main())
