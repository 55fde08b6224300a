"""What the task of a service does next, from all that it knows (pure).

Theory of operation. The task gathers ``Facts`` (what is wanted, what is there, what holds it),
``decide`` names one ``Step``, the task carries it out and asks again. ``decide`` keeps nothing
between two calls, so no wish is lost by coming at a bad moment, and no order of events needs a
case of its own. The rules stand in order: an exit is looked at before anything else (its status
must not be lost), then what the operator wants down, then starts, then what runs.

``after_end`` turns the verdict of the restart policy into the event of ``process_state``. Neither
reads a clock: times are passed in, seconds of any monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sup.model.process_state import Event, State
from sup.model.restart import Cause, Verdict


class Process(Enum):
    """Whether the service's own process is there."""

    NONE = "none"
    RUNS = "runs"
    EXITED = "exited"
    """Ended, and what it left is not cleared yet."""


class Step(Enum):
    """One act of the service's task."""

    REST = "rest"
    """Nothing to do until there is news, or until ``wait_s`` is over."""
    HANDLE_EXIT = "handle exit"
    TAKE_DOWN = "take down"
    """Stop the process in good order."""
    ENTER_DOWN = "enter down"
    """There is no process; only the state changes."""
    AWAIT_VIEW = "await view"
    """Nothing is known of the ring yet, so nothing can be rendered."""
    HOLD = "hold"
    """The start must wait for something outside; go to DOWN and say for what."""
    START = "start"
    MEND = "mend"
    """See whether templates that could not be rendered now can."""
    END_FAULTY = "end faulty"
    """Stop the process because of its fault; the restart policy decides what comes then."""
    BECOME_UP = "become up"
    """The process has said that it is ready."""
    REFUSE_RESTART = "refuse restart"
    DEMOTE = "demote"
    """Stop the process because it must not lead any longer; what comes then is a start like any."""
    RESTART = "restart"
    CONVERGE = "converge"
    """Bring the running process to the configuration of the newest view."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a process that runs must not go on."""

    cause: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a decision depends on."""

    state: State
    process: Process
    wanted: bool
    """The operator wants it up and the supervisor does not end."""
    viewed: bool = True
    """A view of the ring has been seen."""
    held: str = ""
    """Why a start may not be now (topology, binds, services it comes after); empty: it may."""
    restart_asked: bool = False
    retry_in_s: float = 0.0
    """Time left of the backoff; 0 or less: it is over."""
    fault: Fault | None = None
    demoted: bool = False
    """It has lost the leadership and could not give it up by itself: it goes down, held or not."""
    ready: bool = True
    """The process counts as started by its type."""
    mendable: bool = False
    """It failed for what a new view can mend (a template), and there is a new view."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, and for ``REST`` the seconds until it is asked again (None: when there is news)."""

    step: Step
    wait_s: float | None = None
    event: Event = Event.START
    """For ``START``: whether it is a retry after a backoff."""


def decide(facts: Facts) -> Decision:
    """The next step. Total: every combination of facts has one."""
    if facts.process is Process.EXITED:
        return Decision(Step.HANDLE_EXIT)
    if not facts.wanted:
        if facts.process is Process.RUNS:
            return Decision(Step.TAKE_DOWN)
        return Decision(Step.REST if facts.state is State.DOWN else Step.ENTER_DOWN)
    return _come_up(facts) if facts.process is Process.NONE else _stay_up(facts)


def _come_up(facts: Facts) -> Decision:
    if not facts.viewed:
        return Decision(Step.AWAIT_VIEW)
    if not facts.restart_asked:
        if facts.state is State.BACKOFF and facts.retry_in_s > 0:
            return Decision(Step.REST, facts.retry_in_s)
        if facts.state is State.DONE:
            return Decision(Step.REST)
        if facts.state is State.FAILED:
            return Decision(Step.MEND if facts.mendable else Step.REST)
    if facts.held:
        return Decision(Step.HOLD)
    retry = facts.state is State.BACKOFF and not facts.restart_asked
    return Decision(Step.START, event=Event.RETRY if retry else Event.START)


def _stay_up(facts: Facts) -> Decision:
    if facts.fault is not None:
        return Decision(Step.END_FAULTY)
    if facts.demoted:
        return Decision(Step.DEMOTE)
    if facts.restart_asked:
        return Decision(Step.REFUSE_RESTART if facts.held else Step.RESTART)
    if facts.state is State.STARTING:
        return Decision(Step.BECOME_UP if facts.ready else Step.REST)
    return Decision(Step.CONVERGE)


def after_end(verdict: Verdict, *, ended: bool, limited: bool) -> Event:
    """The event of an end: ``ended`` says that the supervisor stopped it for a fault, ``limited``
    that it was started as often as it may be.
    """
    if verdict.done:
        return Event.COMPLETED
    if limited or not verdict.restart:
        return Event.GIVE_UP
    return Event.ENDED if ended else Event.EXITED
