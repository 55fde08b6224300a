"""What an operator may tune in the core: one frozen value, validated once, in microseconds
throughout.

There are three profiles and one dial. A profile (``lan``, the default, ``wan``, ``local``) says
what network the members share; waits that depend on it are multiples of the measured
retransmission time-out, so a profile only bounds them. The dial is the **pause tolerance**: how
long a member may stand still (a collection of garbage, a migration, an overcommitted host) without
being declared dead. The second look, the suspicion and the wait of bystanders follow from it. Why
each rule is as it is: ``docs/decisions/0008-detection-rules.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

_SECOND = 1_000_000

FOLLOWS = -1
"""The value of a field that follows from the pause tolerance."""

_BOUNDS = {
    "probe_interval_us": (10_000, 60 * _SECOND),
    "gossip_interval_us": (1_000, 10 * _SECOND),
    "gossip_fanout": (1, 16),
    "packets_per_tick_max": (1, 64),
    "indirect_probes": (0, 5),
    "last_check_probes": (0, 5),
    "rto_min_us": (1_000, 10 * _SECOND),
    "rto_max_us": (1_000, 60 * _SECOND),
    "pause_tolerance_us": (0, 3_600 * _SECOND),
    "second_look_us": (0, 3_600 * _SECOND),
    "bystander_wait_us": (0, 3 * 3_600 * _SECOND),
    "flap_returns": (1, 8),
    "flap_window_us": (0, 86_400 * _SECOND),
    "flap_hold_us": (0, 3_600 * _SECOND),
    "contact_min_us": (100_000, 3_600 * _SECOND),
    "contact_max_us": (100_000, 3_600 * _SECOND),
    "questions_per_second": (1, 1_000),
    "exchanges_per_second": (1, 100),
    "tombstone_floor_us": (10 * _SECOND, 365 * 86_400 * _SECOND),
    "stamp_ahead_us": (0, 86_400 * _SECOND),
    "leave_timeout_us": (0, 60 * _SECOND),
}


@dataclass(frozen=True, slots=True)
class Config:
    """Timing and fan-out of the protocol; the same on all members of a ring, though nothing breaks
    if not.

    Raises:
        ValueError: a field is out of its range, or a minimum is above its maximum.
    """

    probe_interval_us: int = _SECOND
    """Protocol period: one probe each, 10 ms..60 s. Detection of a single crash starts after one to
    two periods. Lower finds crashes sooner and costs two packets per period and member."""

    gossip_interval_us: int = 200_000
    """Time between gossip ticks while there is news, 1 ms..10 s. First sight is forwarded at once
    after a quiet interval, so this bounds a busy ring's delay per hop. Lower spreads faster in more
    packets."""

    gossip_fanout: int = 3
    """Members that one tick's batch goes to, 1..16. Three inform 1,000 members in eight hops."""

    packets_per_tick_max: int = 4
    """Packets per target and tick while there is a backlog, 1..64: bounds the burst of a mass
    change."""

    indirect_probes: int = 3
    """Helpers asked when a direct ping stays unanswered, 0..5 (SWIM's k), two thirds of them heard
    from lately. At 5 % loss three leave 6 false failed probes in 10,000. Fewer are asked when fewer
    are alive."""

    last_check_probes: int = 5
    """Helpers asked before a member is declared dead, 0..5, three fifths of them heard from lately;
    two must answer that they could not reach it either. Only members that suspect are affected."""

    rto_min_us: int = 20_000
    """Floor of the retransmission time-out, smoothed round trip + 4 deviations, 1 ms..10 s. Lower
    than a scheduler's hiccup makes every hiccup a failed probe; higher adds seven times as much to
    a detection."""

    rto_max_us: int = 500_000
    """Ceiling of the retransmission time-out, 1 ms..60 s. A probe takes three of them at most.
    Below the longest round trip of the network every probe fails; higher lets one bad path slow the
    detection of all."""

    pause_tolerance_us: int = 2 * _SECOND
    """The dial, 0..1 h. A member that stops for less than this is never declared dead; a crash is
    declared this long plus six time-outs after its first failed probe. A pause of length P cannot
    be told from a crash sooner than P: raise it where long pauses are normal, and detection slows
    by the same amount."""

    second_look_us: int = FOLLOWS
    """After a failed probe the prober asks again, privately, for this long (three pings) before it
    gossips a suspicion; part of the pause tolerance, by default 5/8 of it: the rest is time for
    accuser and suspect to talk. Under one pause of up to 95 % of the tolerance per member and
    minute, half of it gives 9 suspicions per member and hour, 5/8 gives 4. 0 makes every short
    pause a rumor; the whole tolerance leaves nobody but the prober time to hear a refutation."""

    bystander_wait_us: int = FOLLOWS
    """Members that did not fail to reach the suspect themselves wait this much longer, plus up to
    two thirds of it at random, before they check and declare; by default 3/2 of the pause
    tolerance. A safety net if all accusers die: shorter makes many check one suspect at once."""

    flap_returns: int = 3
    """A member is a flapping one from this return from the dead on (within ``flap_window_us``, of
    the same start, and not among many at once, as after a split), 1..8."""

    flap_window_us: int = 600 * _SECOND
    """Time in which returns are counted, and without a death after which they are forgotten,
    0..24 h."""

    flap_hold_us: int = 60 * _SECOND
    """A flapping member is shown as dead until it has answered for this long, 0..1 h (0: never
    held); twice as long each further time, up to 16 times. It is asked every tenth of this, and two
    unanswered questions among ten start the time anew. Longer than a repair that does not hold."""

    contact_min_us: int = 10 * _SECOND
    """First wait between contacts with a dead member or a silent seed, 100 ms..1 h; doubles up to
    ``contact_max_us``, each time with ±25 % of jitter so that contacts do not clump. Decides how
    soon a split heals."""

    contact_max_us: int = 30 * _SECOND
    """Longest wait between contacts with a dead member or a silent seed, 100 ms..1 h."""

    questions_per_second: int = 20
    """Pings sent to members that a synchronisation says are dead, or that nobody has shown yet,
    1..1,000."""

    exchanges_per_second: int = 3
    """Anti-entropy exchanges started per second when digests differ, 1..100."""

    tombstone_floor_us: int = 24 * 3_600 * _SECOND
    """Dead members, leavers and retracted rumors are remembered for this long, 10 s..1 year. A
    member away for longer must start afresh. Past half of it they are no longer part of the
    digest."""

    stamp_ahead_us: int = 60 * _SECOND
    """A last-writer rumor stamped further than this ahead of the wall clock is refused and
    reported, 0..24 h: one wrong clock must not win for ever."""

    leave_timeout_us: int = 3 * _SECOND
    """``has_left`` turns true after this long even if too few members could be told, 0..60 s."""

    def __post_init__(self) -> None:
        """Check every field against its range."""
        tolerance = self.pause_tolerance_us
        if isinstance(tolerance, int):
            for name, follows in (
                ("second_look_us", tolerance * 5 // 8),
                ("bystander_wait_us", tolerance * 3 // 2),
            ):
                if getattr(self, name) == FOLLOWS:
                    object.__setattr__(self, name, follows)
        for item in fields(self):
            value = getattr(self, item.name)
            low, high = _BOUNDS[item.name]
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{item.name} is {value!r}, not an integer")
            if not low <= value <= high:
                raise ValueError(f"{item.name} is {value}, allowed is {low}..{high}")
        for low_name, high_name in (
            ("rto_min_us", "rto_max_us"),
            ("contact_min_us", "contact_max_us"),
        ):
            if getattr(self, low_name) > getattr(self, high_name):
                raise ValueError(
                    f"{low_name} is {getattr(self, low_name)}, above {high_name} "
                    f"{getattr(self, high_name)}"
                )

    @classmethod
    def lan(cls, pause_tolerance_us: int = 2 * _SECOND, **changes: Any) -> Self:
        """One site, round trips below 20 ms: the defaults. A crash is known in 3 to 4 s."""
        return cls(pause_tolerance_us=pause_tolerance_us, **changes)

    @classmethod
    def wan(cls, pause_tolerance_us: int = 4 * _SECOND, **changes: Any) -> Self:
        """Several sites, round trips up to half a second, some loss. A crash is known in 8 to 10 s.

        Half as many probes, because a packet costs more, and a longer tolerance, because a route
        that converges looks like a pause.
        """
        values: dict[str, Any] = {
            "probe_interval_us": 2 * _SECOND,
            "gossip_interval_us": 500_000,
            "rto_min_us": 50_000,
            "rto_max_us": 2 * _SECOND,
        }
        return cls(pause_tolerance_us=pause_tolerance_us, **(values | changes))

    @classmethod
    def local(cls, pause_tolerance_us: int = _SECOND, **changes: Any) -> Self:
        """One host, over loopback: round trips are the scheduler's. A crash is known in 2 s."""
        values: dict[str, Any] = {
            "probe_interval_us": 500_000,
            "gossip_interval_us": 100_000,
            "contact_min_us": 5 * _SECOND,
            "contact_max_us": 15 * _SECOND,
        }
        return cls(pause_tolerance_us=pause_tolerance_us, **(values | changes))


PROFILES: dict[str, Callable[..., Config]] = {
    "lan": Config.lan,
    "wan": Config.wan,
    "local": Config.local,
}
"""The profiles by the name that an operator gives."""
