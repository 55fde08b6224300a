"""Turns the peers an operator named into addresses, for ever.

A name that does not resolve is normal at boot and in containers: it is asked again with
decorrelated jitter (1 s to 60 s) until it answers, again while none of its addresses is alive in
the ring, and every 60 s in any case, because a restarted container has a new address under the
old name. All addresses of a name are candidates. A change of state is one line in the log; a
repetition is none. It never ends the program and never decides who is a member.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sup.edge.addresses import HostPort, format_address, pack_address, parse_host_port
from sup.errors import OperatorError

RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
REFRESH_S: Final = 60.0
LOOKUP_TIMEOUT_S: Final = 20.0
"""glibc gives up after 10 s with one name server and its defaults; twice that is hopeless."""
PEERS_MAX: Final = 64
ADDRESSES_PER_PEER_MAX: Final = 16
"""A seed name with more than 16 addresses needs no more of them to be found."""

Lookup = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]
log = logging.getLogger("sup.resolver")


@dataclass(slots=True)
class Peer:
    """One configured peer: what it resolved to last, and the error if it did not."""

    target: HostPort
    addresses: tuple[bytes, ...] = ()
    error: str = "not resolved yet"
    known: bool = field(default=False)
    """False until the first line about it has been logged."""

    def as_dict(self) -> dict[str, Any]:
        """For ``status``: the name, its addresses, and the last error (empty when resolved)."""
        return {
            "peer": str(self.target),
            "addresses": [format_address(address) for address in self.addresses],
            "error": self.error,
        }


def parse_peers(texts: Sequence[str]) -> tuple[HostPort, ...]:
    """Parse and deduplicate peers. Raises OperatorError (exit 2) for a bad or a surplus one."""
    peers = tuple(dict.fromkeys(parse_host_port(text, "peer") for text in texts))
    if len(peers) > PEERS_MAX:
        raise OperatorError(f"{len(peers)} peers given, limit {PEERS_MAX}; a few suffice")
    return peers


def next_delay(previous_s: float, rng: random.Random) -> float:
    """Decorrelated jitter: uniform from the minimum to three times the last delay, capped."""
    return min(RETRY_MAX_S, rng.uniform(RETRY_MIN_S, max(RETRY_MIN_S, previous_s * 3)))


class Resolver:
    """Keeps the candidate addresses of all peers up to date; one task per peer."""

    def __init__(
        self,
        peers: Sequence[HostPort],
        *,
        on_change: Callable[[tuple[bytes, ...]], None],
        is_alive: Callable[[bytes], bool],
        rng: random.Random,
        lookup: Lookup | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._peers = tuple(Peer(target) for target in peers)
        self._on_change = on_change
        self._is_alive = is_alive
        self._rng = rng
        self._lookup = lookup or _lookup_on_loop
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start one task per peer on the running loop."""
        self._tasks = [asyncio.create_task(self._keep_resolving(peer)) for peer in self._peers]

    async def close(self) -> None:
        """Cancel the tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def addresses(self) -> tuple[bytes, ...]:
        """All candidates, in the order of the peers, without repetition."""
        return tuple(dict.fromkeys(one for peer in self._peers for one in peer.addresses))

    def status(self) -> list[dict[str, Any]]:
        """One entry per peer, in the operator's order."""
        return [peer.as_dict() for peer in self._peers]

    async def _keep_resolving(self, peer: Peer) -> None:
        delay_s = RETRY_MIN_S
        while True:
            await self._resolve(peer)
            if peer.target.ip is not None and not peer.error:
                return  # a literal address never changes
            alive = not peer.error and any(self._is_alive(one) for one in peer.addresses)
            if alive:
                delay_s = RETRY_MIN_S
                await self._sleep(REFRESH_S)
            else:
                delay_s = next_delay(delay_s, self._rng)
                await self._sleep(delay_s)

    async def _resolve(self, peer: Peer) -> None:
        try:
            # not wait_for: in Python 3.11 it can swallow a cancellation
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                found = await self._lookup(peer.target.host, peer.target.port)
            addresses = _candidates(found)
            error = "" if addresses else "the name has no usable address"
        except TimeoutError:
            addresses, error = (), f"no answer in {LOOKUP_TIMEOUT_S:.0f} s"
        except (OSError, UnicodeError) as failure:  # UnicodeError: labels the IDNA codec refuses
            addresses, error = (), getattr(failure, "strerror", None) or str(failure)
        self._settle(peer, addresses, error)

    def _settle(self, peer: Peer, addresses: tuple[bytes, ...], error: str) -> None:
        """Keep the last good addresses when a look-up fails: stale beats none."""
        if error and (not peer.known or not peer.error):
            log.warning("peer unresolved name=%s error=%r retrying=yes", peer.target, error)
        elif not error and peer.known and peer.error:
            log.info("peer resolved name=%s", peer.target)
        peer.known = True
        peer.error = error
        if addresses and set(addresses) != set(peer.addresses):
            peer.addresses = addresses
            self._on_change(self.addresses())


def _candidates(found: Sequence[tuple[Any, ...]]) -> tuple[bytes, ...]:
    """Pack what getaddrinfo gave, without repetition and without addresses that need a zone."""
    packed: dict[bytes, None] = {}
    for family, _, _, _, where in found:
        if family == socket.AF_INET6 and len(where) == 4 and where[3] != 0:
            continue
        if family in (socket.AF_INET, socket.AF_INET6):
            packed[pack_address(where[0], where[1])] = None
    return tuple(packed)[:ADDRESSES_PER_PEER_MAX]


async def _lookup_on_loop(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
