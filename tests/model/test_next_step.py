"""What the task of a service does next: the rules by table, and a machine that lives any life."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sup.model.next_step import Facts, Fault, Process, Step, after_end, decide
from sup.model.process_state import Event, State, next_state
from sup.model.restart import Cause, Verdict

DOWN = Facts(state=State.DOWN, process=Process.NONE, wanted=True)
UP = Facts(state=State.UP, process=Process.RUNS, wanted=True)
BACKOFF = replace(DOWN, state=State.BACKOFF, retry_in_s=3.0)
FAILED = replace(DOWN, state=State.FAILED)
DONE = replace(DOWN, state=State.DONE)
STUCK = Fault(Cause.WATCHDOG, "silent")


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        (DOWN, Step.START),
        (replace(DOWN, viewed=False), Step.AWAIT_VIEW),
        (replace(DOWN, held="no quorum"), Step.HOLD),
        (replace(DOWN, wanted=False), Step.REST),
        (BACKOFF, Step.REST),
        (replace(BACKOFF, retry_in_s=0.0), Step.START),
        (replace(BACKOFF, restart_asked=True), Step.START),
        (replace(BACKOFF, restart_asked=True, held="x"), Step.HOLD),
        (replace(BACKOFF, wanted=False), Step.ENTER_DOWN),
        (FAILED, Step.REST),
        (replace(FAILED, mendable=True), Step.MEND),
        (replace(FAILED, restart_asked=True), Step.START),
        (replace(FAILED, held="x"), Step.REST),
        (DONE, Step.REST),
        (replace(DONE, mendable=True), Step.REST),
        (replace(DONE, restart_asked=True), Step.START),
        (replace(DONE, wanted=False), Step.ENTER_DOWN),
        (UP, Step.CONVERGE),
        (replace(UP, wanted=False), Step.TAKE_DOWN),
        (replace(UP, process=Process.EXITED, wanted=False, fault=STUCK), Step.HANDLE_EXIT),
        (replace(UP, fault=STUCK), Step.END_FAULTY),
        (replace(UP, fault=STUCK, wanted=False), Step.TAKE_DOWN),
        (replace(UP, restart_asked=True), Step.RESTART),
        (replace(UP, restart_asked=True, held="x"), Step.REFUSE_RESTART),
        (replace(UP, held="x"), Step.CONVERGE),
        (replace(UP, state=State.STARTING), Step.BECOME_UP),
        (replace(UP, state=State.STARTING, ready=False), Step.REST),
        (replace(UP, state=State.STARTING, ready=False, fault=STUCK), Step.END_FAULTY),
        (replace(UP, state=State.ADOPTED, viewed=False), Step.CONVERGE),
    ],
)
def test_decide_by_table(facts: Facts, step: Step) -> None:
    """Each rule, and what wins where two apply."""
    assert decide(facts).step is step


def test_decide_backoff_rests_for_what_is_left_and_then_retries() -> None:
    """The wait is the backoff's; after it the start is a retry, on request it is a start."""
    assert decide(BACKOFF).wait_s == 3.0
    assert decide(replace(BACKOFF, retry_in_s=-1.0)).event is Event.RETRY
    assert decide(replace(BACKOFF, restart_asked=True)).event is Event.START


@pytest.mark.parametrize(
    ("verdict", "ended", "limited", "event"),
    [
        (Verdict(Cause.EXIT, True), False, False, Event.EXITED),
        (Verdict(Cause.WATCHDOG, True), True, False, Event.ENDED),
        (Verdict(Cause.EXIT, True), False, True, Event.GIVE_UP),
        (Verdict(Cause.EXIT, False), False, False, Event.GIVE_UP),
        (Verdict(Cause.SUCCESS, False), False, False, Event.COMPLETED),
        (Verdict(Cause.SUCCESS, True), False, False, Event.EXITED),
        (Verdict(Cause.LIVENESS, False), True, False, Event.GIVE_UP),
    ],
)
def test_after_end_by_table(verdict: Verdict, ended: bool, limited: bool, event: Event) -> None:
    """Done, given up, or started again from where it ended."""
    assert after_end(verdict, ended=ended, limited=limited) is event


class Life(RuleBasedStateMachine):
    """A task that carries out whatever ``decide`` says, in a world that does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = replace(DOWN, viewed=False)
        self.processes = 0
        self.policy_restarts = True

    @rule(wanted=st.booleans())
    def wish(self, wanted: bool) -> None:
        """The operator changes his mind."""
        self.facts = replace(self.facts, wanted=wanted)

    @rule(held=st.sampled_from(["", "waits for db"]), mendable=st.booleans())
    def see(self, held: str, mendable: bool) -> None:
        """A new view of the ring."""
        self.facts = replace(self.facts, viewed=True, held=held, mendable=mendable)

    @rule()
    def ask_restart(self) -> None:
        """The operator restarts it."""
        self.facts = replace(self.facts, restart_asked=True)

    @rule()
    def pass_time(self) -> None:
        """The backoff is over."""
        self.facts = replace(self.facts, retry_in_s=0.0)

    @rule(restarts=st.booleans())
    def another_policy(self, restarts: bool) -> None:
        """Whether the next end is followed by a start."""
        self.policy_restarts = restarts

    @precondition(lambda self: self.facts.process is Process.RUNS)
    @rule(what=st.sampled_from(["exit", "fault", "ready"]))
    def happen(self, what: str) -> None:
        """Something happens to the process."""
        match what:
            case "exit":
                self.facts = replace(self.facts, process=Process.EXITED)
            case "fault":
                self.facts = replace(self.facts, fault=STUCK)
            case _:
                self.facts = replace(self.facts, ready=True)

    @rule(works=st.booleans(), ready=st.booleans())
    def step(self, works: bool, ready: bool) -> None:
        """The task takes one step."""
        before, decision = self.facts, decide(self.facts)
        match decision.step:
            case Step.REST | Step.AWAIT_VIEW:
                if not before.wanted:
                    self.facts = replace(self.facts, restart_asked=False)
            case Step.HANDLE_EXIT:
                self.end(faulty=False)
            case Step.END_FAULTY:
                self.enter(Event.STOP)
                self.end(faulty=True)
            case Step.TAKE_DOWN | Step.RESTART:
                self.enter(Event.STOP)
                self.let_go()
                self.enter(Event.STOPPED)
            case Step.ENTER_DOWN:
                self.enter(Event.STOP)
            case Step.HOLD:
                if before.state is not State.DOWN:
                    self.enter(Event.STOP)
                self.facts = replace(self.facts, restart_asked=False)
            case Step.MEND:
                self.facts = replace(self.facts, mendable=False)
            case Step.START:
                self.enter(decision.event)
                self.facts = replace(self.facts, restart_asked=False)
                if works:
                    self.processes += 1
                    self.facts = replace(self.facts, process=Process.RUNS, ready=ready)
                    if ready:
                        self.enter(Event.SPAWNED)
                else:
                    self.enter(Event.START_FAILED)
                    self.facts = replace(self.facts, retry_in_s=5.0)
            case Step.BECOME_UP:
                self.enter(Event.SPAWNED)
            case Step.REFUSE_RESTART:
                self.facts = replace(self.facts, restart_asked=False)
            case Step.CONVERGE:
                pass

    @invariant()
    def at_most_one_process(self) -> None:
        """Never two, and never one in a state that has none."""
        assert self.processes in (0, 1)
        assert (self.processes == 1) == (self.facts.process is not Process.NONE)
        waiting = (State.DOWN, State.BACKOFF, State.FAILED, State.DONE)
        assert not (self.processes and self.facts.state in waiting)

    @invariant()
    def it_comes_to_rest(self) -> None:
        """With the world at rest and the process well, a few steps lead to where nothing is left
        to do: no spinning, and what is not wanted is down.
        """
        saved = (self.facts, self.processes, self.policy_restarts)
        for _ in range(8):
            decision = decide(self.facts)
            if decision.step in (Step.REST, Step.AWAIT_VIEW, Step.CONVERGE):
                break
            self.step(True, True)
            if decision.step is Step.HOLD:
                break
        else:
            raise AssertionError(f"still busy: {self.facts}")
        if not self.facts.wanted:
            assert self.facts.state is State.DOWN
            assert self.processes == 0
        self.facts, self.processes, self.policy_restarts = saved

    def enter(self, event: Event) -> None:
        """An illegal event raises, and so fails the machine."""
        self.facts = replace(self.facts, state=next_state(self.facts.state, event))

    def let_go(self) -> None:
        self.processes -= 1
        self.facts = replace(self.facts, process=Process.NONE, fault=None, ready=True)

    def end(self, *, faulty: bool) -> None:
        self.let_go()
        event = after_end(Verdict(Cause.EXIT, self.policy_restarts), ended=faulty, limited=False)
        self.enter(event)
        self.facts = replace(self.facts, retry_in_s=5.0)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
