"""The ends of one service: what follows from each, when the next start is, and the tally of them
(floor 8).

``sup.model.restart`` judges an end, ``sup.model.backoff`` draws the wait, ``sup.model.death_tally``
remembers. The tally is a sealed file beside ``process.json``: it outlives the supervisor, and a
damaged one is set aside with a warning. A disk that refuses costs the record, never the service.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from sup.edge.process_tree import boot_id
from sup.edge.processes import Exit
from sup.edge.state_files import read_sealed, write_sealed
from sup.model.backoff import Backoff
from sup.model.death_tally import (
    HOW_CHARS_MAX,
    Death,
    DeathTally,
    Outcome,
    decode_tally,
    encode_tally,
)
from sup.model.next_step import Fault, after_end
from sup.model.plan import ServicePlan
from sup.model.process_state import Event
from sup.model.restart import Cause, End, RestartPolicy, over_limit
from sup.service_render import Fingerprint

logger = logging.getLogger("sup.service")

STARTS_MAX = 1000
"""Starts remembered for the start limit, whose burst has the same bound."""


@dataclass(frozen=True, slots=True)
class After:
    """What follows from an end: an event, and the reason to show."""

    event: Event
    reason: str


class Ends:
    """Policy, backoff and tally of one service. Called from its task only."""

    def __init__(
        self, name: str, plan: ServicePlan, file: Path, backoff: Backoff, rng: random.Random
    ) -> None:
        self.tally = DeathTally()
        self.retry_at_s = 0.0
        """When the backoff is over, of the loop's clock."""
        self.cause: Cause | None = None
        """Of the last end."""
        self._dirty = False
        self._name = name
        self._plan = plan
        self._policy = RestartPolicy.of(plan)
        self._file = file
        self._backoff = backoff
        self._rng = rng
        self._starts_s: deque[float] = deque(maxlen=STARTS_MAX if plan.start_limit_burst else 0)

    async def load(self) -> None:
        """Read the tally that an earlier supervisor left."""
        data, problem = await asyncio.to_thread(read_sealed, self._file, "tally")
        tally = None if data is None else decode_tally(data)
        if data is not None and tally is None:
            problem = "it is no tally"
        if problem:
            logger.warning("tally set aside name=%s: %s", self._name, problem)
        self.tally = tally or DeathTally()
        if self.tally.deaths:
            self.cause = self.tally.deaths[-1].cause

    def starts(self) -> None:
        """A start begins: count it."""
        self._starts_s.append(self._now())

    async def wanted(self) -> None:
        """It is tried again, or wanted down: what it was left at does not count any more."""
        if self.tally.outcome is not None:
            self.tally = self.tally.left(None)
            self._dirty = True
            await self.save()

    def forgive(self) -> None:
        """The next start is due now, and backoff and start limit begin anew."""
        self._backoff.reset()
        self._starts_s.clear()
        self.retry_at_s = 0.0

    async def reset(self) -> None:
        """Forget all deaths."""
        self.forgive()
        self.tally = DeathTally(outcome=self.tally.outcome)
        self._dirty = True
        await self.save()

    def outcome(self, fingerprint: Fingerprint) -> Outcome | None:
        """What the same start was left at in this boot of the host, if it was left at anything."""
        left = self.tally.outcome
        if left is None or left.boot_id != boot_id() or left.start != self._key(fingerprint):
            return None
        return left

    def ended(
        self, exit: Exit, up_s: float, fingerprint: Fingerprint, fault: Fault | None = None
    ) -> After:
        """A process ended by itself, or was ended for ``fault``: judge, remember, draw the wait.

        The tally reaches the disk with ``save``: nobody waits for it to see the end.
        """
        how = f"ended with {exit} after {up_s:.1f} s"
        if fault is not None:
            how = f"was ended: {fault.text} ({exit})"
        elif exit.code is None and exit.signal is None:
            how = f"ended after {up_s:.1f} s, nobody saw how: taken for a failure"
        end = End(exit.code, exit.signal, exit.core)
        return self._follow(end, how, up_s, fingerprint, fault, fault.cause if fault else None)

    def start_failed(self, reason: str, fingerprint: Fingerprint) -> After:
        """There never was a process."""
        return self._follow(End(), reason, 0.0, fingerprint, None, Cause.INIT)

    def _follow(
        self,
        end: End,
        how: str,
        up_s: float,
        fingerprint: Fingerprint,
        fault: Fault | None,
        cause: Cause | None,
    ) -> After:
        verdict = self._policy.judge(end, cause)
        self.cause = verdict.cause
        plan, now_s = self._plan, self._now()
        limited = verdict.restart and over_limit(
            self._starts_s, now_s, plan.start_limit_burst, plan.start_limit_interval
        )
        event = after_end(verdict, ended=fault is not None, limited=limited)
        if verdict.cause is not Cause.SUCCESS:
            self.tally = self.tally.add(Death(verdict.cause, how, int(time.time()), round(up_s, 3)))
        if event is Event.COMPLETED:
            reason = f"completed: {how}"
        elif limited:
            reason = (
                f"{how}; failed (limit): {plan.start_limit_burst} starts within"
                f" {plan.start_limit_interval:g} s; see: sup svc reset-failed {self._name}"
            )
        elif event is Event.GIVE_UP:
            reason = f"{how}; not started again ({verdict.why})"
        else:
            wait_s = self._backoff.next(self._rng, up_s=up_s)
            self.retry_at_s = now_s + wait_s
            reason = f"{how}; next start in {wait_s:.1f} s"
        if event in (Event.COMPLETED, Event.GIVE_UP):
            self.tally = self.tally.left(
                Outcome(
                    event is Event.COMPLETED,
                    reason[:HOW_CHARS_MAX],
                    boot_id(),
                    self._key(fingerprint),
                )
            )
        if verdict.cause is not Cause.SUCCESS or self.tally.outcome is not None:
            self._dirty = True
        return After(event, reason)

    async def save(self) -> None:
        """Bring the tally to the disk, if it is another one."""
        if not self._dirty:
            return
        self._dirty = False
        try:
            await asyncio.to_thread(write_sealed, self._file, encode_tally(self.tally), "tally")
        except OSError as error:
            logger.warning("tally unrecorded name=%s: %s", self._name, error)

    def _key(self, fingerprint: Fingerprint) -> str:
        """What an outcome holds for: another hook, command or policy is another matter."""
        return f"{fingerprint.start} {self._policy.word}"

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
