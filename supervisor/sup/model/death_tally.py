"""The last deaths of one service, and what it was left at: kept over restarts of the supervisor
(pure).

A tally is a value; ``add`` and ``reset`` give new ones. It is stored beside the service's process
record and read back after a start of the supervisor, so that a crash loop stays visible whatever
else was restarted. ``Outcome`` says that the service is done (a oneshot) or was given up, in which
boot, and what it was started from: the same boot and the same start are not run again without
being asked. After s6's death tally (s6-svdt(1)).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sup.model.restart import Cause

DEATHS_MAX = 32
"""Deaths kept: enough to see a pattern, and one small file."""
HOW_CHARS_MAX = 200
_Text = Annotated[str, Meta(max_length=4 * HOW_CHARS_MAX)]


class Death(msgspec.Struct, frozen=True):
    """One end that nobody asked for. ``at_s`` is Unix seconds, for people; ``up_s`` how long the
    process had run.
    """

    cause: Cause
    how: _Text
    at_s: int
    up_s: float


class Outcome(msgspec.Struct, frozen=True):
    """What a service was left at: ``done``, or given up for ``reason``."""

    done: bool
    reason: _Text
    boot_id: Annotated[str, Meta(max_length=64)]
    start: Annotated[str, Meta(max_length=64)]
    """Fingerprint of what it was started from."""


class DeathTally(msgspec.Struct, frozen=True):
    """Deaths, oldest first; ``total`` counts also those that fell out since the last reset."""

    deaths: Annotated[tuple[Death, ...], Meta(max_length=DEATHS_MAX)] = ()
    total: int = 0
    outcome: Outcome | None = None

    def add(self, death: Death) -> DeathTally:
        """The tally with one more death; the oldest falls out at ``DEATHS_MAX``."""
        kept = (*self.deaths, msgspec.structs.replace(death, how=death.how[:HOW_CHARS_MAX]))
        return DeathTally(kept[-DEATHS_MAX:], self.total + 1, self.outcome)

    def left(self, outcome: Outcome | None) -> DeathTally:
        """The tally with another outcome; None: the service is wanted and tried."""
        return DeathTally(self.deaths, self.total, outcome)


def encode_tally(tally: DeathTally) -> bytes:
    """The bytes that ``decode_tally`` reads."""
    return msgspec.json.encode(tally)


def decode_tally(data: bytes) -> DeathTally | None:
    """The tally in ``data``, or None: it is not one."""
    try:
        return msgspec.json.decode(data, type=DeathTally)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
