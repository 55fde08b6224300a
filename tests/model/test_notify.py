"""sd_notify's datagrams: what is understood, what is bounded, and that nothing is ever fatal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.model.notify import STATUS_CHARS_MAX, USEC_MAX, Notified, NotifyWords, apply, parse_notify


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"READY=1", NotifyWords(ready=True)),
        (b"READY=1\nSTATUS=serves 3 clients\n", NotifyWords(ready=True, status="serves 3 clients")),
        (b"STOPPING=1\nRELOADING=1", NotifyWords(stopping=True, reloading=True)),
        (b"WATCHDOG=1", NotifyWords(watchdog=True)),
        (b"WATCHDOG=trigger", NotifyWords(watchdog_trigger=True)),
        (b"WATCHDOG_USEC=2000000", NotifyWords(watchdog_us=2_000_000)),
        (b"EXTEND_TIMEOUT_USEC=5", NotifyWords(extend_us=5)),
        (b"EXTEND_TIMEOUT_USEC=" + b"9" * 19, NotifyWords(extend_us=USEC_MAX)),
        (b"MAINPID=77", NotifyWords(main_pid=77)),
        (b"MAINPID=0\nMAINPID=-3\nREADY=yes", NotifyWords(errors=3)),
        (b"READY=0", NotifyWords()),
        (b"FDSTORE=1\nERRNO=2\nX_OWN=1\nnonsense\n=\n\0", NotifyWords()),
        (b"STATUS=\x1b[31mred\x07", NotifyWords(status="\\u001b[31mred\\u0007")),
        (b"", NotifyWords()),
    ],
)
def test_parse_by_table(data: bytes, words: NotifyWords) -> None:
    """Known words, unknown ones, wrong values, and text that a terminal must not see."""
    assert parse_notify(data) == words


@given(st.binary(max_size=6000))
def test_parse_of_anything_is_bounded_and_never_raises(data: bytes) -> None:
    """The datagram comes from a program that may be broken or hostile."""
    words = parse_notify(data)
    assert len(words.status or "") <= STATUS_CHARS_MAX
    assert (words.watchdog_us or 0) <= USEC_MAX


@given(st.lists(st.sampled_from([b"READY=1", b"RELOADING=1", b"STOPPING=1", b"WATCHDOG=1"])))
def test_apply_ready_and_stopping_stay_and_reloading_ends_with_ready(said: list[bytes]) -> None:
    """What was said adds up, in the order it came."""
    state = Notified()
    for now, data in enumerate(said, 1):
        state = apply(state, parse_notify(data), float(now))
    assert state.ready == (b"READY=1" in said)
    assert state.stopping == (b"STOPPING=1" in said)
    if said and said[-1] == b"READY=1":
        assert not state.reloading
    alive = [n for n, data in enumerate(said, 1) if data in (b"READY=1", b"WATCHDOG=1")]
    assert state.watchdog_at_s == (alive[-1] if alive else 0.0)
    if state.stopping:
        assert state.stopping_at_s == said.index(b"STOPPING=1") + 1
