"""The launcher's rules without a launcher: restarts, dead-man timers, ends, and the saved state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.launcher import state
from sup.launcher.restarts import BURST, READY_US, REFILL_US, WAIT_MAX_US, WAIT_MIN_US, Restarts
from sup.launcher.state import Killing, Service, State
from sup.launcher.wire import unpack

SECOND = 1_000_000


def half() -> float:
    return 0.5


def with_service(name: str = "db") -> State:
    one = State()
    one.services[name] = Service(name, 10, 100, "mark")
    return one


# Restarts of the supervisor


def test_restarts_ready_for_a_while_is_at_once() -> None:
    """A supervisor that was killed while it worked is back without a wait."""
    assert Restarts().wait_us(SECOND, READY_US, half) == 0


def test_restarts_ready_for_a_moment_waits_the_rest() -> None:
    """One that comes up and dies at once takes at least ``READY_US`` a turn."""
    assert Restarts().wait_us(SECOND, READY_US // 5, half) == READY_US - READY_US // 5


def test_restarts_never_ready_backs_off_to_the_longest_wait() -> None:
    """The waits of a supervisor that never comes up grow to a minute and stay there."""
    one = Restarts()
    waits = [one.wait_us(n, None, half) for n in range(60)]
    assert WAIT_MIN_US <= waits[0] <= 3 * WAIT_MIN_US
    assert waits[-1] > WAIT_MAX_US / 3
    assert max(waits) <= WAIT_MAX_US


def test_restarts_ready_ends_the_row_of_failures() -> None:
    """After a good life the next failure is the first again."""
    one = Restarts()
    for n in range(30):
        one.wait_us(n, None, half)
    one.wait_us(100, READY_US, half)
    assert one.wait_us(101, None, half) <= 3 * WAIT_MIN_US


@given(st.lists(st.one_of(st.none(), st.integers(0, 2 * SECOND)), max_size=400), st.floats(0, 0.99))
def test_restarts_any_lives_never_make_a_hot_loop(lives: list[int | None], chance: float) -> None:
    """No sequence of lives starts more often than the burst and one per ``REFILL_US``."""
    one, now = Restarts(), SECOND
    starts: list[int] = []
    for ready in lives:
        now += ready or 0
        wait = one.wait_us(now, ready, lambda: chance)
        assert wait >= 0
        assert (ready or 0) + wait >= WAIT_MIN_US
        now += wait
        starts.append(now)
    ready_lives = [n for n, ready in zip(starts, lives, strict=True) if ready is not None]
    if len(ready_lives) > BURST:
        assert ready_lives[-1] - SECOND >= (len(ready_lives) - BURST - 1) * REFILL_US


@given(st.floats(0, 0.999999))
def test_restarts_never_ready_is_at_most_a_dozen_and_a_half_in_a_minute(chance: float) -> None:
    """A supervisor that can't start costs little, whatever the generator says."""
    one, now, starts = Restarts(), 0, 0
    while now < 60 * SECOND:
        now += one.wait_us(now, None, lambda: chance)
        starts += 1
    assert starts <= 20


# The supervisor's life


def test_exit_first_start_that_fails_is_passed_on() -> None:
    """Never ready, with a code, and nothing to hold: whoever started us is told."""
    one = State()
    one.handle_started(5, 0)
    assert one.handle_supervisor_exit(2, None, 1, half) == state.EXIT
    assert one.final_code == 2


@pytest.mark.parametrize("ready", [True, False])
def test_exit_by_signal_is_never_the_end(ready: bool) -> None:
    """A killed supervisor is started again, also before it ever was ready."""
    one = State()
    one.handle_started(5, 0)
    if ready:
        one.handle_ready("1", 1)
    assert one.handle_supervisor_exit(None, 9, 2, half) == state.RESTART
    assert one.start_at_us > 0


def test_exit_never_ready_with_services_goes_on() -> None:
    """After an upgrade to code that does not start, the services are not left alone."""
    one = with_service()
    one.handle_started(5, 0)
    assert one.handle_supervisor_exit(1, None, 1, half) == state.RESTART


def test_exit_while_ending_makes_the_launcher_stop_the_services() -> None:
    """Told to end, and the supervisor died before it had said that it is done."""
    one = with_service()
    one.handle_started(5, 0)
    one.handle_ready("1", 1)
    one.handle_end_asked(2)
    assert one.handle_supervisor_exit(None, 15, 3, half) == state.STOP_SERVICES


def test_exit_told_to_end_during_an_upgrade_ends() -> None:
    """SIGTERM that comes while the supervisor makes way is not forgotten over the exec."""
    one = with_service()
    one.handle_started(5, 0)
    one.handle_ready("1", 1)
    one.handle_upgrade(2)
    one.handle_end_asked(3)
    assert one.handle_supervisor_exit(0, None, 4, half) == state.STOP_SERVICES


def test_end_asked_hung_supervisor_is_killed_after_a_bound() -> None:
    """The bound covers the longest stop time-out and the hooks at the end."""
    one = with_service()
    one.services["db"].stop_timeout_us = 30 * SECOND
    one.handle_started(5, 0)
    one.handle_end_asked(SECOND)
    at = one.next_us()
    assert at == SECOND + 30 * SECOND + state.END_MARGIN_US
    assert one.due(at) == [(state.HUNG, "")]
    assert one.due(at + 1) == []


def test_watchdog_silent_supervisor_counts_as_hung_at_half_the_time() -> None:
    """Its successor is up before the service manager loses patience with us."""
    one = State(watchdog_us=10 * SECOND)
    one.handle_started(5, 0)
    assert one.next_us() == 0  # it may take its time until it is ready
    one.handle_ready("1", SECOND)
    one.handle_alive(3 * SECOND)
    assert one.next_us() == 8 * SECOND
    assert one.due(8 * SECOND - 1) == []
    assert one.due(8 * SECOND) == [(state.HUNG, "")]


# Dead-man timers


def test_deadman_not_extended_fires_once() -> None:
    """It kills when its time comes, and only once."""
    one = with_service()
    one.set_deadman("db", 5 * SECOND)
    assert one.next_us() == 5 * SECOND
    assert one.due(5 * SECOND - 1) == []
    assert one.due(9 * SECOND) == [(state.DEADMAN, "db")]
    assert one.due(9 * SECOND) == []


def test_deadman_extended_fires_later() -> None:
    """Extending moves it; the old time is forgotten."""
    one = with_service()
    one.set_deadman("db", 5 * SECOND)
    one.set_deadman("db", 8 * SECOND)
    assert one.due(6 * SECOND) == []
    assert one.due(8 * SECOND) == [(state.DEADMAN, "db")]


def test_deadman_survives_an_exec_and_the_death_of_the_supervisor() -> None:
    """It belongs to the launcher: neither a new supervisor nor new code stops it."""
    one = with_service()
    one.set_deadman("db", 5 * SECOND)
    one.handle_started(5, 0)
    one.handle_supervisor_exit(None, 9, SECOND, half)
    two = State()
    two.load(unpack_saved(one))
    assert two.due(5 * SECOND) == [(state.DEADMAN, "db")]


# Killing, stopping, saving


def test_killing_ends_when_nobody_is_left_or_the_time_is_up() -> None:
    """It looks again with growing pauses and never for ever."""
    one = Killing("db", 0, release=True)
    assert not one.handle_look([1, 2], 0)
    first = one.next_us
    assert not one.handle_look([1], first)
    assert one.next_us - first > first
    assert one.handle_look([], one.next_us)
    late = Killing("db", 0, release=True)
    assert late.handle_look([1], state.KILL_US)
    assert late.left == [1]


def test_begin_stop_kills_when_ended_or_when_the_time_is_up() -> None:
    """Of what ends early the rest is looked for, again and again, until the time is up."""
    one = with_service()
    one.services["db"].stop_timeout_us = 10 * SECOND
    one.begin_stop(SECOND)
    assert one.due(5 * SECOND) == []
    one.services["db"].exit = [0, None, False]
    assert one.due(5 * SECOND) == [(state.ENDED_SERVICE, "db")]
    assert one.due(5 * SECOND) == []
    assert one.next_us() == 5 * SECOND + state.LOOK_US
    assert one.due(one.next_us()) == [(state.ENDED_SERVICE, "db")]
    assert one.due(12 * SECOND) == [(state.SIGKILL_SERVICE, "db")]
    assert one.due(20 * SECOND) == []


def test_notes_keep_the_last_of_each_known_name_within_bounds() -> None:
    """What a service says is bounded however much it says."""
    service = Service("db", 10, 100, "mark")
    service.handle_note(b"READY=1\nSTATUS=" + b"x" * 5000 + b"\nFDSTORE=1\nnonsense", 1)
    service.handle_note(b"STATUS=later", 2)
    assert service.notes == {b"READY": (b"1", 1), b"STATUS": (b"later", 2)}
    service.handle_note(b"STATUS=" + b"y" * 5000, 3)
    assert len(service.notes[b"STATUS"][0]) == state.NOTE_BYTES_MAX


def unpack_saved(one: State) -> dict[str, object]:
    """As it comes out of the memfd."""
    from sup.launcher.wire import pack

    return unpack(pack(one.save()))


def test_save_and_load_give_the_same_state() -> None:
    """Everything that outlives an exec comes back as it was."""
    one = with_service()
    service = one.services["db"]
    service.exit = [None, 9, True]
    service.log = {"directory": "/x", "name": "db", "max_bytes": 1}
    service.handle_note(b"READY=1", 7)
    service.cgroup, service.notify, service.fingerprint = "/cg/sup-db", "/x/notify", "f"
    one.set_deadman("db", 99)
    one.handle_started(5, 0)
    one.handle_ready("1.2", 1)
    two = State()
    two.load(unpack_saved(one))
    assert two.save() == one.save()
    assert two.supervisor_pid == 0


def test_load_unknown_fields_of_a_newer_version_are_ignored() -> None:
    """Going back to older code keeps what that code knows."""
    saved = unpack_saved(with_service())
    saved["invented"] = 1
    services = saved["services"]
    assert isinstance(services, list)
    services[0]["invented_too"] = 2
    two = State()
    two.load(saved)
    assert list(two.services) == ["db"]
