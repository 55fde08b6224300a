"""What happened here lately: one bounded list for the whole supervisor (floor 8).

``tell`` is called from everywhere and must cost nothing that matters: it appends to a ring in
memory and wakes who follows; it never raises, waits or writes. The list is this process's own, as
its log is: a supervisor is one process. It ends with the process; the log stays.

Kinds: ``process`` (state of a service's process), ``health``, ``config`` (applied or refused),
``hook`` (ran badly), ``bind``, ``file`` (gossiped files), ``maintenance``, ``supervisor``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time

from sup.model.event_log import Event, EventLog, Value

log = logging.getLogger("sup.events")

FOLLOWERS_MAX = 32
"""Questions that wait at once; one more is answered without waiting."""

run = secrets.token_hex(4)
"""Tells this process's numbers from those of the one before it."""
kept = EventLog()
_waiting: set[asyncio.Future[None]] = set()
_holds = True


def tell(kind: str, service: str, text: str, **fields: Value) -> None:
    """Note that something happened; ``service`` is empty for the supervisor itself.

    ``text`` is one line for people, without the service's name; ``fields`` are for machines. Too
    long ones are cut. Never raises. Call it from the event loop's thread.
    """
    try:
        kept.add(time.time(), kind, service, text, fields)
        for waiter in tuple(_waiting):
            if not waiter.done():
                waiter.set_result(None)
    except Exception:  # an event is never worth what it tells of
        log.exception("event lost kind=%r", kind)


def hold(questions: bool) -> None:
    """Whether questions may wait for what has not happened yet; False answers those that do.

    A supervisor that ends gives its requests in progress some seconds: these must not use them up.
    """
    global _holds
    _holds = questions
    for waiter in tuple(_waiting):
        if not waiter.done():
            waiter.set_result(None)


async def since(
    seq: int, *, wait_s: float = 0.0, kinds: frozenset[str] = frozenset(), service: str = ""
) -> tuple[list[Event], int, int]:
    """As ``EventLog.since``; with ``wait_s`` wait that long for an event when there is none."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        answer = kept.since(seq, kinds=kinds, service=service)
        left = deadline - loop.time()
        if answer[0] or left <= 0 or not _holds or len(_waiting) >= FOLLOWERS_MAX:
            return answer
        seq = answer[1]
        waiter = loop.create_future()
        _waiting.add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await waiter
        finally:
            _waiting.discard(waiter)
