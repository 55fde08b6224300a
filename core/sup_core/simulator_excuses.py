"""Who may be declared dead although it runs: the other side of the protocol's promise.

The promise: a member that answers, or is silent for less than the pause tolerance, is declared dead
by nobody. So a death of a running member is excused only if

- the member was silent (paused, not reading, deaf or mute, in a bad spell of the network) for at
  least the tolerance without a break, or
- a partition stood between it and the viewer, or
- the network lost more than ``LOSS_STRICT``, or
- the viewer does not hear the member (it is silent itself, or one direction between them is cut),
  and holds nobody else for alive or is cut off from, or by, all that could help: of two that don't
  hear each other neither can say whose fault that is, or
- the member has moved, the viewer looks for it where it was, and it holds nobody alive to whom it
  could say so,

now or within a *grace*: after a fault has ended, its consequences are still told for as long as a
last check takes that was under way, and as a death takes to cross the ring. Nothing else excuses: a
start, a restart, a change of address, a single cut link, a slow or a deaf viewer. What a member
does not do, others must not suffer from.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sup_core.config import Config
from sup_core.simulator_network import Network

FOREVER_US = 1 << 62

LOSS_STRICT = 0.05
"""Up to this loss no healthy member may be declared dead at all."""

MOVE_US = 800_000
"""How long the news of an address takes to reach who doubts it: four gossip ticks."""

BACKLOG_US = 1_000_000
"""How long a member that reads again may take for what its socket held: a full buffer of small
packets at 3 ms each."""


def grace_us(config: Config, network: Network, members: int) -> int:
    """How long a fault's consequences may still be told after it has ended.

    A last check that was under way ends within six time-outs, one more try of it (half a second,
    doubled when nothing came of it) within as many; then the verdict crosses the ring in twice the
    rounds that a doubling spread takes, plus two.
    """
    timeout = min(config.rto_max_us, max(config.rto_min_us, 8 * network.latency_us))
    rounds = 2 * math.ceil(math.log2(members + 1)) + 2
    return 12 * timeout + 1_000_000 + rounds * config.gossip_interval_us


class Excuses:
    """The silences of all hosts, the partitions and the weather. Times in microseconds.

    A host's silences are one interval as long as each begins before the last one ends, whatever
    causes them: 1.5 s of pause and then 1.5 s of partition look like 3 s from outside. So do two
    with less between them than the time after which a silent member is asked again.
    """

    def __init__(self, config: Config, grace: Callable[[], int]) -> None:
        self._tolerance_us = config.pause_tolerance_us
        self._grace = grace
        self._unasked_us = config.second_look_us // 3 + config.rto_min_us
        self._since: dict[int, int] = {}
        self._until: dict[int, int] = {}
        self._unread: dict[int, tuple[int, int]] = {}
        self._moved: set[int] = set()  # while it was deaf, mute or parted
        self._isolated: set[int] = set()
        self._parted: set[int] = set()
        self._groups: list[int] = []
        self._links: dict[tuple[int, int], tuple[int, int]] = {}  # since and until when they lose
        self.harsh_until = 0

    def start(self, host: int, now: int, disk: int) -> None:
        """A new process runs there: the pauses of the one before are not its own.

        ``disk``: when the snapshot was written that it starts with (now: it has none).
        """
        self._unread[host] = (disk, now)
        if host in self._isolated or host in self._parted:
            self._until[host] = now
        else:
            self._since.pop(host, None)
            self._until.pop(host, None)

    def silence(self, host: int, now: int, until: int) -> int:
        """The host does not answer until then; return until when its death is excused (0: not)."""
        self._begin(host, now)
        self._until[host] = max(self._until[host], until)
        since, unread = self._unread.get(host, (now, now))
        self._unread[host] = (now if unread < now else since, max(unread, until))
        return self._end(host, self._until[host])

    def spell(self, host: int, now: int, until: int) -> int:
        """The network loses most of what goes to the host until then, as if it did not listen."""
        self._begin(host, now)
        self._until[host] = max(self._until[host], until)
        return self._end(host, self._until[host])

    def move(self, host: int, now: int) -> int:
        """The host has a new address: to all it is silent until they hear of that."""
        if self._open(host):
            self._moved.add(host)
            return 0
        return self.silence(host, now, now + MOVE_US)

    def silent(self, host: int, now: int) -> bool:
        """Return whether the host hears or says nothing at this moment, or less than it should."""
        return host in self._isolated or self._until.get(host, -1) >= now

    def isolate(self, host: int, now: int) -> None:
        """The host is deaf or mute from now on."""
        self._begin(host, now)
        self._isolated.add(host)

    def hear(self, host: int, now: int) -> int:
        """The host is deaf or mute no longer; return until when its death is excused."""
        self._isolated.discard(host)
        return self._close(host, now)

    def split(self, groups: list[int], up: list[int], now: int) -> dict[int, int]:
        """Partitions stand from now on as these groups say; hosts beyond are in group 0.

        Return until when the deaths of which hosts are excused at everybody: those that were parted
        from anybody for long enough, whose deaths the ones from over there tell here now.
        """
        self._groups = groups
        excused = {}
        for host in sorted(self._parted):
            until = self._end(host, now)
            if until:
                excused[host] = until
        whole = len({self.group(host) for host in up}) < 2
        parted = set() if whole else set(range(len(groups)))
        for host in sorted(parted - self._parted):
            self._begin(host, now)
        ended = self._parted - parted
        self._parted = parted
        for host in sorted(ended):
            until = self._close(host, now)
            if until:
                excused[host] = until
        return excused

    def weather(self, now: int, before: float, loss: float) -> None:
        """The network's loss changes."""
        if max(loss, before) > LOSS_STRICT:
            self.harsh_until = FOREVER_US if loss > LOSS_STRICT else now + self._grace()

    def link(self, source: int, target: int, now: int, loss: float) -> None:
        """The loss of one direction between two hosts is this from now on."""
        since, until = self._links.get((source, target), (now, now))
        if loss > LOSS_STRICT:
            self._links[source, target] = (now if until <= now else since, FOREVER_US)
        elif until > now:
            self._links[source, target] = (since, now)

    def unheard(self, viewer: int, host: int, now: int) -> bool:
        """Return whether a viewer does not hear a host, for reasons that are not the host's.

        Also a moment after it did not for the tolerance: the last check, whose questions were
        asked in vain, ends only then.
        """
        if self.silent(viewer, now) or now < self._end(viewer, self._until.get(viewer, now)):
            return True
        return self._apart(viewer, host, now)

    def third(self, viewer: int, host: int, up: list[int], now: int) -> bool:
        """Return whether somebody else of these could carry a question and its answer.

        Not from beyond a partition, and not over links that are cut as well.
        """
        group = self.group(viewer)
        return any(
            i not in (viewer, host)
            and self.group(i) == group
            and not self._apart(i, host, now)
            and not self._apart(i, viewer, now)
            for i in up
        )

    def _apart(self, one: int, other: int, now: int) -> bool:
        # Whether one direction between them loses packets, or did for long until a moment ago.
        for pair in (one, other), (other, one):
            since, until = self._links.get(pair, (now, now))
            if now < until or (until - since >= self._tolerance_us and now < until + self._grace()):
                return True
        return False

    def knew(self, viewer: int, now: int) -> int:
        """Return the moment that what a viewer tells now may be as old as.

        It is now, but for who has just not been reading: its socket hands over old news first.
        """
        since, until = self._unread.get(viewer, (now, now))
        return since if until <= now <= until + BACKLOG_US else now

    def group(self, host: int) -> int:
        """Return the partition that a host is in."""
        return self._groups[host] if host < len(self._groups) else 0

    def _open(self, host: int) -> bool:
        return host in self._isolated or host in self._parted

    def _begin(self, host: int, now: int) -> None:
        if not self._open(host) and self._until.get(host, -FOREVER_US) + self._unasked_us < now:
            self._since[host] = now
            self._until[host] = now
        self._since.setdefault(host, now)
        self._until.setdefault(host, now)

    def _close(self, host: int, now: int) -> int:
        end = now
        if not self._open(host) and host in self._moved:
            self._moved.discard(host)
            end += MOVE_US
        self._until[host] = max(self._until.get(host, end), end)
        return self._end(host, self._until[host])

    def _end(self, host: int, end: int) -> int:
        since = self._since.get(host, end)
        return end + self._grace() if end - since >= self._tolerance_us else 0
