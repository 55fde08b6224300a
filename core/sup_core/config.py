"""What an operator may tune in the core: one frozen value, validated once, in microseconds
throughout.

The defaults suit a local network and a wide one alike: waits that depend on the network are
multiples of the measured retransmission time-out, so only the tolerance for pauses is a matter of
taste.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

_SECOND = 1_000_000

_BOUNDS = {
    "probe_interval_us": (10_000, 60 * _SECOND),
    "gossip_interval_us": (1_000, 10 * _SECOND),
    "gossip_fanout": (1, 16),
    "packets_per_tick_max": (1, 64),
    "indirect_probes": (0, 5),
    "last_check_probes": (0, 5),
    "rto_min_us": (1_000, 10 * _SECOND),
    "rto_max_us": (1_000, 60 * _SECOND),
    "second_look_us": (0, 60 * _SECOND),
    "pause_tolerance_us": (0, 3_600 * _SECOND),
    "bystander_wait_us": (0, 3_600 * _SECOND),
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
    """Helpers asked when a direct ping stays unanswered, 0..5 (SWIM's k). At 5 % loss three leave 6
    false failed probes in 10,000. Fewer are asked when fewer are alive."""

    last_check_probes: int = 5
    """Helpers asked before a member is declared dead, 0..5; only members that suspect are affected.
    """

    rto_min_us: int = 20_000
    """Floor of the retransmission time-out, smoothed round trip + 4 deviations. Lower than a
    scheduler's hiccup makes every hiccup a failed probe."""

    rto_max_us: int = 500_000
    """Ceiling of the retransmission time-out. A probe takes three of them at most."""

    second_look_us: int = _SECOND
    """After a failed probe the prober asks again, privately, for this long (three pings) before it
    gossips a suspicion. It is part of the pause tolerance. 0 makes every short pause a rumor."""

    pause_tolerance_us: int = 2 * _SECOND
    """A member that stops for less than this is never declared dead; a crash is declared this long
    (plus 6 time-outs) after its first failed probe. A pause of length P cannot be told from a crash
    sooner than P: raise it where long pauses are normal, and detection slows by the same amount."""

    bystander_wait_us: int = 3 * _SECOND
    """Members that did not fail to reach the suspect themselves wait this much longer, plus up to
    two thirds of it at random, before they check and declare: a safety net if all accusers die."""

    contact_min_us: int = 10 * _SECOND
    """First wait between contacts with a dead member or a silent seed; doubles up to
    ``contact_max_us``, each time with ±25 % of jitter so that contacts do not clump. Decides how
    soon a split heals."""

    contact_max_us: int = 30 * _SECOND
    """Longest wait between contacts with a dead member or a silent seed."""

    questions_per_second: int = 20
    """Pings sent to members that a synchronisation says are dead, or that nobody has shown yet."""

    exchanges_per_second: int = 3
    """Anti-entropy exchanges started per second when digests differ."""

    tombstone_floor_us: int = 24 * 3_600 * _SECOND
    """Dead members, leavers and retracted rumors are remembered for this long. A member away for
    longer must start afresh. Past half of it they are no longer part of the digest."""

    stamp_ahead_us: int = 60 * _SECOND
    """A last-writer rumor stamped further than this ahead of the wall clock is refused and
    reported: one wrong clock must not win for ever."""

    leave_timeout_us: int = 3 * _SECOND
    """``has_left`` turns true after this long even if too few members could be told."""

    def __post_init__(self) -> None:
        """Check every field against its range."""
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
