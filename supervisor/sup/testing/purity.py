"""Run code with the outside world shut: a clock read, chance or any I/O is an ``EffectError``.

Two nets, because neither sees all: a profile function sees every C function that Python code calls,
so ``from time import monotonic`` is caught as surely as ``time.monotonic``; an audit hook sees
files, sockets and processes even when C code opens them. What compiled plugins do in C is seen by
the second only.
"""

from __future__ import annotations

import _thread
import datetime
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_CLOCKS = (
    *("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime"),
    *("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns"),
    *("clock_gettime_ns", "sleep", "localtime", "gmtime", "ctime"),
)
_DATES = frozenset({"now", "utcnow", "today", "fromtimestamp"})
_EVENTS = (
    "open",
    "socket.",
    "subprocess.",
    "os.",
    "shutil.",
    "tempfile.",
    "urllib.",
    "http.",
    "sqlite3.",
    "mmap.",
    "signal.",
    "_thread.",
)
_FORBIDDEN: dict[Any, str] = {
    **{getattr(time, name): f"time.{name}" for name in _CLOCKS if hasattr(time, name)},
    **{
        getattr(_thread, name): "a thread"
        for name in ("start_new_thread", "start_joinable_thread", "_start_joinable_thread")
        if hasattr(_thread, name)
    },
    os.urandom: "os.urandom",
    print: "print",
    input: "input",
}
_shut = threading.local()
_hook_installed = False


class EffectError(AssertionError):
    """Pure code reached for the outside world."""


@contextmanager
def forbid_effects(what: str = "this code") -> Iterator[None]:
    """Fail with ``EffectError`` when the block reads a clock, draws at random or does I/O.

    Only this thread is watched. An import counts as I/O: do it at the top of your module. The block
    is failed even if it swallows the error. Garbage is not collected meanwhile: what finalizers of
    other code's objects do is not the block's doing.
    """
    _install_hook()
    seen: list[str] = []

    def refuse(effect: str) -> None:
        seen.append(effect)
        raise EffectError(f"{what} must be pure, it uses {effect}")

    def profile(_frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and (effect := _effect(function)):
            refuse(effect)

    before = sys.getprofile()
    collects = gc.isenabled()
    gc.disable()
    _shut.refuse = refuse
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)
        _shut.refuse = None
        if collects:
            gc.enable()
    if seen:
        raise EffectError(f"{what} must be pure, it uses {seen[0]}")


def _effect(function: Any) -> str:
    """What is forbidden about this C function, or empty."""
    try:
        if name := _FORBIDDEN.get(function):
            return name
    except TypeError:  # a method of an unhashable object
        pass
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, datetime.date):
        name = getattr(function, "__name__", "")
        return f"{owner.__name__}.{name}" if name in _DATES else ""
    if owner is random.random.__self__:  # type: ignore[attr-defined]
        return "the random module (a random.Random with a seed of the view's is allowed)"
    return ""


def _install_hook() -> None:
    """Install the audit hook once for the process; it can't be removed, so it asks ``_shut``."""
    global _hook_installed
    if _hook_installed:
        return
    _hook_installed = True

    def audit(event: str, args: tuple[Any, ...]) -> None:
        refuse = getattr(_shut, "refuse", None)
        if refuse is not None and event.startswith(_EVENTS):
            _shut.refuse = None  # making the message must not be refused
            try:
                refuse(f"{event}({', '.join(repr(arg)[:60] for arg in args[:1])})")
            finally:
                _shut.refuse = refuse

    sys.addaudithook(audit)
