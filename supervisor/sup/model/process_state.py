"""States of a service's process, as one table (pure).

Theory of operation. The service task turns what happens (a spawn, an exit, a wish of the
operator) into events and looks the next state up here; it never computes a state by itself.
``STARTING`` covers the init hook, the spawn and, for ``type = "notify"``, the wait for READY.
``STOPPING`` lasts from the stop signal until the whole process tree is gone and the post-stop hook
has ended, so an exit in between does not leave it. A process that a former supervisor started and
that still lives is ``ADOPTED`` until its first health check has run, which shows that it is in hand
again: then it is ``UP`` like any other. ``BACKOFF`` waits before the next start; ``DONE`` has ended
well and is not wanted again (a oneshot); ``FAILED`` waits for the operator. A pair that is not in
the table is a programming error and says so. What to do next is decided in ``next_step``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class State(Enum):
    """State of the process; the value is the word in rumors, the API and the CLI."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"
    DONE = "done"
    ADOPTED = "adopted"

    @property
    def running(self) -> bool:
        """Whether the service's own process is there and wanted."""
        return self in (State.UP, State.ADOPTED)


class Event(Enum):
    """What happens to a process."""

    START = "start"
    """The service is wanted up and may start, or the operator says: now."""
    ADOPT = "adopt"
    """A live process of an earlier supervisor has been found."""
    CHECKED = "checked"
    """The first health check after an adoption has run."""
    SPAWNED = "spawned"
    """The init hook succeeded, and the process exists and is ready as its type has it."""
    START_FAILED = "start_failed"
    """The init hook or the spawn failed."""
    EXITED = "exited"
    """The process ended, and the restart policy starts it again."""
    ENDED = "ended"
    """The supervisor ended it for a fault (watchdog, time-out, liveness) and starts it again."""
    COMPLETED = "completed"
    """It ended well, or has in this boot, and the restart policy does not start it again."""
    RETRY = "retry"
    """The backoff time is over."""
    GIVE_UP = "give_up"
    """It ended badly and the restart policy does not start it again, or it can't be started."""
    STOP = "stop"
    """The service is wanted down, or goes down to be started anew."""
    STOPPED = "stopped"
    """The process tree is gone and the post-stop hook has ended."""


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.DOWN, Event.START): State.STARTING,
        (State.DOWN, Event.ADOPT): State.ADOPTED,
        (State.DOWN, Event.STOP): State.DOWN,
        (State.STARTING, Event.SPAWNED): State.UP,
        (State.STARTING, Event.START_FAILED): State.BACKOFF,
        (State.STARTING, Event.EXITED): State.BACKOFF,
        (State.STARTING, Event.COMPLETED): State.DONE,
        (State.STARTING, Event.GIVE_UP): State.FAILED,
        (State.STARTING, Event.STOP): State.STOPPING,
        (State.UP, Event.EXITED): State.BACKOFF,
        (State.UP, Event.COMPLETED): State.DONE,
        (State.UP, Event.GIVE_UP): State.FAILED,
        (State.UP, Event.STOP): State.STOPPING,
        (State.ADOPTED, Event.CHECKED): State.UP,
        (State.ADOPTED, Event.EXITED): State.BACKOFF,
        (State.ADOPTED, Event.COMPLETED): State.DONE,
        (State.ADOPTED, Event.GIVE_UP): State.FAILED,
        (State.ADOPTED, Event.STOP): State.STOPPING,
        (State.STOPPING, Event.EXITED): State.STOPPING,
        (State.STOPPING, Event.ENDED): State.BACKOFF,
        (State.STOPPING, Event.GIVE_UP): State.FAILED,
        (State.STOPPING, Event.STOP): State.STOPPING,
        (State.STOPPING, Event.STOPPED): State.DOWN,
        (State.BACKOFF, Event.RETRY): State.STARTING,
        (State.BACKOFF, Event.START): State.STARTING,
        (State.BACKOFF, Event.GIVE_UP): State.FAILED,
        (State.BACKOFF, Event.STOP): State.DOWN,
        (State.DONE, Event.START): State.STARTING,
        (State.DONE, Event.STOP): State.DOWN,
        (State.FAILED, Event.START): State.STARTING,
        (State.FAILED, Event.STOP): State.DOWN,
    }
)
"""Every legal pair; all others are refused."""


class IllegalTransitionError(Exception):
    """An event in a state that has no place for it: a mistake in the caller."""

    def __init__(self, state: State, event: Event) -> None:
        legal = ", ".join(sorted(e.value for s, e in TRANSITIONS if s is state))
        super().__init__(f"event {event.value} in state {state.value}; legal there: {legal}")
        self.state = state
        self.event = event


def next_state(state: State, event: Event) -> State:
    """The state after ``event`` in ``state``.

    Raises:
        IllegalTransitionError: the pair is not in ``TRANSITIONS``.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(state, event) from None


def states_document() -> str:
    """The text of ``docs/process-states.md``, made from the table."""
    lines = [
        "# States of a service's process",
        "",
        "Made from `supervisor/sup/model/process_state.py`; a test holds this page to it.",
        "An empty cell is an event that can't happen in that state.",
        "",
        "| state | " + " | ".join(event.value for event in Event) + " |",
        "|---" * (len(Event) + 1) + "|",
    ]
    for state in State:
        cells = [TRANSITIONS.get((state, event)) for event in Event]
        row = " | ".join(cell.value if cell else "" for cell in cells)
        lines.append(f"| **{state.value}** | {row} |")
    lines += ["", "```mermaid", "stateDiagram-v2", "    [*] --> down"]
    for (state, event), after in TRANSITIONS.items():
        if after is not state:
            lines.append(f"    {state.value} --> {after.value}: {event.value}")
    lines += ["```", ""]
    return "\n".join(lines)
