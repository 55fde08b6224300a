"""What a service says about itself over ``NOTIFY_SOCKET``: one datagram into typed words (pure).

The protocol is sd_notify(3): lines ``NAME=value``, any number in one datagram. Names that are not
known here are ignored, as the protocol demands; what is not a legal value is ignored and counted.
The datagram is untrusted: it is bounded before it is looked at, text is made printable, numbers
have limits. ``NotifyWords`` is what one datagram says; ``apply`` adds it to what was said before.
Neighbours: ``edge/notify_socket`` and the launcher receive, ``sup.service_readiness`` acts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sup.model.plain_text import printable

DATAGRAM_BYTES_MAX = 4096
"""What is read of one datagram; systemd takes as much."""
LINES_MAX = 64
STATUS_CHARS_MAX = 256
"""STATUS is one line for people."""
USEC_MAX = 86_400_000_000
"""A day: nothing may push a deadline further away than that at a time."""
PID_MAX = 1 << 22


@dataclass(frozen=True, slots=True)
class NotifyWords:
    """One datagram. None and False: it does not say so."""

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    watchdog: bool = False
    """Alive: the watchdog's time begins anew."""
    watchdog_trigger: bool = False
    """The service found itself broken and asks to be treated as if the watchdog had run out."""
    watchdog_us: int | None = None
    """A new period for the watchdog; 0 switches it off."""
    extend_us: int | None = None
    """The start or the stop may take that much longer, from now on."""
    status: str | None = None
    main_pid: int | None = None
    errors: int = 0
    """Lines with a known name and a value that is none."""


@dataclass(frozen=True, slots=True)
class Notified:
    """Everything a service has said since its start. Times are of the receiver's monotonic clock.

    ``watchdog_at_s`` is when it last was heard of alive; ``extended_until_s`` is 0 when it asked
    for no more time.
    """

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    triggered: bool = False
    status: str = ""
    watchdog_at_s: float = 0.0
    watchdog_us: int | None = None
    extended_until_s: float = 0.0
    main_pid: int = 0
    stopping_at_s: float = 0.0


def parse_notify(data: bytes) -> NotifyWords:
    """Read one datagram; anything is legal, only what is understood counts. Never raises."""
    words = NotifyWords()
    for line in data[:DATAGRAM_BYTES_MAX].split(b"\n")[:LINES_MAX]:
        name, equals, value = line.partition(b"=")
        if equals:
            words = _word(words, name, value)
    return words


def apply(said: Notified, words: NotifyWords, now_s: float) -> Notified:
    """What was said by now. READY after RELOADING ends the reloading; STOPPING stays."""
    alive = words.watchdog or words.ready
    stopping = said.stopping or words.stopping
    return Notified(
        ready=said.ready or words.ready,
        reloading=(said.reloading or words.reloading) and not words.ready,
        stopping=stopping,
        triggered=said.triggered or words.watchdog_trigger,
        status=said.status if words.status is None else words.status,
        watchdog_at_s=now_s if alive or words.watchdog_us is not None else said.watchdog_at_s,
        watchdog_us=said.watchdog_us if words.watchdog_us is None else words.watchdog_us,
        extended_until_s=(
            said.extended_until_s
            if words.extend_us is None
            else max(said.extended_until_s, now_s + words.extend_us / 1_000_000)
        ),
        main_pid=said.main_pid if words.main_pid is None else words.main_pid,
        stopping_at_s=now_s if stopping and not said.stopping else said.stopping_at_s,
    )


def _word(words: NotifyWords, name: bytes, value: bytes) -> NotifyWords:
    match name:
        case b"READY" | b"RELOADING" | b"STOPPING" if value != b"1":
            return words if value == b"0" else _error(words)
        case b"READY":
            return replace(words, ready=True)
        case b"RELOADING":
            return replace(words, reloading=True)
        case b"STOPPING":
            return replace(words, stopping=True)
        case b"WATCHDOG":
            if value == b"1":
                return replace(words, watchdog=True)
            if value == b"trigger":
                return replace(words, watchdog_trigger=True)
            return _error(words)
        case b"WATCHDOG_USEC":
            number = _number(value, USEC_MAX)
            return _error(words) if number is None else replace(words, watchdog_us=number)
        case b"EXTEND_TIMEOUT_USEC":
            number = _number(value, USEC_MAX)
            return _error(words) if number is None else replace(words, extend_us=number)
        case b"MAINPID":
            number = _number(value, PID_MAX)
            return replace(words, main_pid=number) if number else _error(words)
        case b"STATUS":
            text = printable(value.decode("utf-8", "replace")).strip()
            return replace(words, status=text[:STATUS_CHARS_MAX])
    return words


def _number(value: bytes, top: int) -> int | None:
    if not value.isdigit() or len(value) > 20:
        return None
    return min(int(value), top)


def _error(words: NotifyWords) -> NotifyWords:
    return replace(words, errors=words.errors + 1)
