"""The last events of a supervisor, numbered, in a ring of bounded size (pure).

An event is one line for people with a few fields for machines. Numbers begin at 1 with each
supervisor and never repeat within one; ``run`` tells two supervisors on one state directory apart,
so that who follows notices that the numbers have begun anew. What is too long is cut, never
refused: an event must not be lost by what it says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

EVENTS_MAX = 1024
"""Events kept: at some 400 bytes each half a megabyte at most, and the last hours of a quiet host.
"""
TEXT_CHARACTERS_MAX = 512
"""One line; the output of a hook is cut to its end before it comes here."""
FIELDS_MAX = 8
FIELD_CHARACTERS_MAX = 128
KIND_CHARACTERS_MAX = 32
PAGE_MAX = 256
"""Events in one answer; the next begins after its last number."""

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``service`` is empty for the supervisor itself."""

    seq: int
    time_s: float
    """Unix time, for people; the order is that of ``seq``."""
    kind: str
    service: str
    text: str
    fields: Mapping[str, Value] = field(default_factory=dict)


class EventLog:
    """A ring of the last ``size`` events."""

    def __init__(self, size: int = EVENTS_MAX) -> None:
        if size < 1:
            raise ValueError(f"event log of {size} events; need at least 1")
        self.last = 0
        """Number of the newest event; 0 before the first."""
        self._events: deque[Event] = deque(maxlen=size)

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept; ``last + 1`` when none is."""
        return self.last - len(self._events) + 1

    def add(
        self,
        time_s: float,
        kind: str,
        service: str,
        text: str,
        fields: Mapping[str, Value] | None = None,
    ) -> Event:
        """Number it and keep it; the oldest goes when there is no room."""
        self.last += 1
        kept = {
            _cut(str(name), KIND_CHARACTERS_MAX): _cut(value, FIELD_CHARACTERS_MAX)
            if isinstance(value, str)
            else value
            for name, value in list((fields or {}).items())[:FIELDS_MAX]
        }
        event = Event(
            self.last,
            time_s,
            _cut(kind, KIND_CHARACTERS_MAX),
            _cut(service, FIELD_CHARACTERS_MAX),
            _cut(" ".join(text.split()), TEXT_CHARACTERS_MAX),
            kept,
        )
        self._events.append(event)
        return event

    def since(
        self, seq: int, *, kinds: frozenset[str] = frozenset(), service: str = ""
    ) -> tuple[list[Event], int, int]:
        """Events after number ``seq``, oldest first, at most ``PAGE_MAX``; and two numbers.

        The first number is where the next question begins, the second how many events after
        ``seq`` are gone already. A ``seq`` from the future (of an earlier supervisor) is read as 0.
        Without ``kinds`` and ``service`` all events count.
        """
        if seq < 0 or seq > self.last:
            seq = 0
        lost = max(0, self.first - 1 - seq)
        found: list[Event] = []
        for event in self._events:
            if event.seq <= seq or (kinds and event.kind not in kinds):
                continue
            if service and event.service != service:
                continue
            found.append(event)
            if len(found) == PAGE_MAX:
                return found, event.seq, lost
        return found, self.last, lost


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"
