"""Question: what does a ring of real members cost, and how fast is it, on this machine?

N members in one process on uvloop, each with UDP and TCP sockets of its own on loopback, the real
node, the real hub and the real streams, at the default timing. Whoever measures drains the events
in C, because N members of one process make N² of them.

    python bench/real_rings.py --members 200 --measure join,steady,crash,crash10,rumor --json -
    python bench/real_rings.py --members 1000 --measure join,steady --soak 600

- join: all start at once and know one seed; wall and CPU time until everybody shows everybody, in a
  ring of its own after the others, with a stream client for each member as supervisors have;
- steady: CPU, datagrams and bytes (with 28 of IP and UDP) per member and second, memory per member;
- rumor: 256 bytes from one member; until the median and the last member have it, copies each;
- crash, crash10: one member, or a tenth of them, falls silent; until the last survivor knows;
- soak: that long in peace; nobody may be declared dead.

CPU time is user and system of the whole process, so the kernel's loopback is in it. Exit 1 if a
measurement did not end in its time or the soak had a false positive.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import platform
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sup.edge.addresses import HostPort, pack_address
from sup.edge.datagram_ports import NodePort, clock_us
from sup.edge.datagrams import Hub
from sup.edge.sockets import bind_pair
from sup.edge.streams import StreamClient, StreamCounters, StreamServer
from sup.ring import RING_HASH_OFFSET, ring_magic
from sup_core.bench_hooks import Watch, smallest_view, stale_rumors
from sup_core.card_pool import CardPool
from sup_core.config import Config
from sup_core.events import MemberChange
from sup_core.identity import ring_hash
from sup_core.node import Node

RING = "real-rings"
MEASURES = ("join", "steady", "rumor", "crash", "crash10")
POLL_S = 0.01
SETTLE_S = 3.0
"""Between measurements: news of the last one have been told by then."""
IP_AND_UDP_BYTES = 28
RUMOR_KIND = 1
RUMOR_BYTES = 256
SPARE_DESCRIPTORS = 128
WAITING_PER_RING = 4000
"""Exchanges that wait for the shared client: two for each of the most members there can be."""
BOUNDS_S = {"join": 60.0, "rumor": 20.0, "crash": 60.0, "crash10": 90.0}
CHANGES = list(MemberChange)


class TooLate(Exception):
    """A measurement did not end in its time."""


@dataclass(slots=True)
class Member:
    """One member: node, place on the hub, streams."""

    number: int
    node: Node
    address: bytes
    handle: int = 0
    alive: bool = True
    server: StreamServer | None = None


@dataclass
class Ring:
    """All members of the process, and what was seen of them."""

    hub: Hub
    config: Config = field(default_factory=Config)
    seed: int = 1
    members: list[Member] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    streams: StreamCounters = field(default_factory=StreamCounters)
    cards: CardPool = field(default_factory=partial(CardPool, 1))
    shares_client: bool = True
    """One stream client for all: exchanges under way are bounded for the process, as its memory is.

    Without it what up to N exchanges at once leave in the allocator counts as the members' memory:
    22.5 KiB instead of 19.5 at 100. With it a join takes a tenth of the time (0.06 to 0.28 s
    against 1.3 to 2.6 s at 200); no exchange is refused either way, the cause is not known. So the
    join is measured without.
    """
    clients: list[StreamClient] = field(init=False, default_factory=list)

    async def start(self, count: int) -> None:
        """Open ``count`` members; nobody speaks before all sockets are open."""
        rng = random.Random(self.seed)
        for number in range(count):
            datagrams, listening = bind_pair(HostPort("127.0.0.1", 0))
            address = pack_address("127.0.0.1", datagrams.getsockname()[1])
            node = Node(
                self.config,
                member_id=rng.randbytes(16),
                name=f"m{number}",
                ring=RING,
                address=address,
                epoch=1,
                seed=rng.getrandbits(64),
                now=clock_us(),
                wall_us=time.time_ns() // 1000,
                cards=self.cards,
            )
            member = Member(number, node, address)
            self.members.append(member)
            if not self.shares_client:
                self.clients.append(StreamClient(self.streams))
            elif not self.clients:
                self.clients.append(StreamClient(self.streams, WAITING_PER_RING))
            member.server = StreamServer(partial(self._request, member), self.streams)
            await member.server.open(listening)
            member.handle = self.hub.add(
                NodePort(node, ring_hash(RING)),
                datagrams,
                partial(self._activity, member),
                ring_magic(RING),
                RING_HASH_OFFSET,
            )

    def join(self) -> None:
        """All but the first greet the first."""
        for member in self.members[1:]:
            member.node.join((self.members[0].address,), clock_us())
            self.hub.pump(member.handle)

    async def kill(self, member: Member) -> None:
        """Fall silent without a word."""
        member.alive = False
        self.hub.remove(member.handle)
        assert member.server is not None
        await member.server.close()

    async def close(self) -> None:
        """End all that is left."""
        for member in self.members:
            if member.alive:
                await self.kill(member)
        for client in self.clients:
            await client.close()

    def living(self) -> list[Member]:
        """Those that run."""
        return [member for member in self.members if member.alive]

    def nodes(self) -> list[Node]:
        """Their nodes."""
        return [member.node for member in self.members if member.alive]

    def sent(self) -> tuple[int, int]:
        """(datagrams, bytes with headers) that the living have sent."""
        counters = [self.hub.counters(member.handle) for member in self.living()]
        packets = sum(one["sent"] for one in counters)
        return packets, sum(one["sent_bytes"] for one in counters) + IP_AND_UDP_BYTES * packets

    def faults(self) -> dict[str, int]:
        """What the sockets lost or refused, over all living members; nought is left out."""
        names = ("kernel_drops", "send_dropped", "send_refused", "truncated", "damaged")
        counters = [self.hub.counters(member.handle) for member in self.living()]
        totals = {name: sum(one[name] for one in counters) for name in names}
        return {name: total for name, total in totals.items() if total}

    def _activity(self, member: Member) -> None:
        self.watch.drain(member.node, member.number, clock_us())
        while (request := member.node.poll_request()) is not None:
            number, address, data = request
            client = self.clients[0 if self.shares_client else member.number]
            client.ask(address, data, partial(self._response, member, number))

    def _request(self, member: Member, data: bytes, source: bytes) -> bytes:
        try:
            return member.node.handle_request(data, source, clock_us())
        finally:
            self.hub.pump(member.handle)

    def _response(self, member: Member, number: int, data: bytes | None) -> None:
        if member.alive:  # else its question outlived it
            member.node.handle_response(number, data, clock_us())
            self.hub.pump(member.handle)


@dataclass
class Bench:
    """One run: what is measured, and how it shows its progress."""

    ring: Ring
    options: argparse.Namespace
    progress: Progress
    results: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    async def until(
        self, what: str, condition: Callable[[], bool], progress: Callable[[], float]
    ) -> None:
        """Wait, with a bar; raises TooLate."""
        end = time.monotonic() + BOUNDS_S[what]
        bar = self.progress.add_task(what, total=1.0)
        try:
            while not condition():
                if time.monotonic() > end:
                    raise TooLate(f"{what}: not done after {BOUNDS_S[what]:.0f} s")
                self.progress.update(bar, completed=progress())
                await asyncio.sleep(POLL_S)
        finally:
            self.progress.remove_task(bar)

    async def rest(self, what: str, seconds: float) -> None:
        """Let the ring run, with a bar."""
        bar = self.progress.add_task(what, total=seconds)
        start = time.monotonic()
        while (gone := time.monotonic() - start) < seconds:
            self.progress.update(bar, completed=gone)
            await asyncio.sleep(min(0.5, seconds - gone))
        self.progress.remove_task(bar)

    def note(self, name: str, value: float) -> None:
        """One more sample; the figure is the median of all."""
        self.samples.setdefault(name, []).append(round(value, 5))
        self.results[name] = statistics.median(self.samples[name])

    async def all_shown(self) -> None:
        """Until everybody shows everybody."""
        count, nodes = self.options.members, self.ring.nodes()
        await self.until(
            "join",
            lambda: smallest_view(nodes) == count,
            lambda: smallest_view(nodes) / count,
        )

    async def join(self) -> None:
        """From the first greeting until everybody shows everybody."""
        await self.ring.start(self.options.members)
        cpu, start = cpu_s(), time.perf_counter()
        self.ring.join()
        await self.all_shown()
        self.note("join_wall_s", time.perf_counter() - start)
        self.note("join_cpu_s", cpu_s() - cpu)
        await self.rest("settle", SETTLE_S)
        self.note("join_and_settle_cpu_s", cpu_s() - cpu)

    async def steady(self) -> None:
        """What peace costs."""
        gc.collect()
        packets, size = self.ring.sent()
        wakeups = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        cpu, start = cpu_s(), time.perf_counter()
        await self.rest("steady", self.options.steady_s)
        wall = time.perf_counter() - start
        seconds = wall * len(self.ring.living())
        spent = cpu_s() - cpu
        wakeups = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - wakeups
        self.note("steady_wakeups_s", wakeups / wall)
        more_packets, more_size = self.ring.sent()
        self.note("steady_cpu_ms_per_member_s", 1e3 * spent / seconds)
        self.note("steady_packets_per_member_s", (more_packets - packets) / seconds)
        self.note("steady_bytes_per_member_s", (more_size - size) / seconds)

    def memory(self, before_kb: float, name: str) -> None:
        """Resident memory per member, over what the process had with one tiny ring behind it.

        The heap that start-up left free counts as had: at 100 members it hides 4 to 5 KiB of each
        (25.4 instead of 20.2 if it is given back before), at 300 0.3 to 0.6 KiB.
        """
        self.note(name, (rss_kb() - before_kb) / self.options.members)

    async def rumor(self) -> None:
        """One rumor to all."""
        living = self.ring.living()
        source = random.Random(len(self.samples.get("rumor_last_s", ()))).choice(living)
        others = len(living) - 1
        stale = stale_rumors(self.ring.nodes())
        self.ring.watch.take()
        start = clock_us()
        source.node.publish(RUMOR_KIND, b"bench", random.randbytes(RUMOR_BYTES), start)
        self.ring.hub.pump(source.handle)
        await self.until(
            "rumor",
            lambda: self.ring.watch.mark_total() >= others,
            lambda: self.ring.watch.mark_total() / others,
        )
        times = sorted(
            at - start
            for is_rumor, _, reporter, _, at in self.ring.watch.take()
            if is_rumor and reporter != source.number
        )
        self.note("rumor_median_s", statistics.median(times) / 1e6)
        self.note("rumor_last_s", times[-1] / 1e6)
        await self.rest("settle", SETTLE_S)
        copies = stale_rumors(self.ring.nodes()) - stale
        self.note("rumor_copies", (others + copies) / len(living))

    async def crash(self, what: str, count: int) -> None:
        """Silence ``count`` members; until the last survivor holds each of them for dead."""
        rng = random.Random(len(self.samples.get(f"{what}_all_know_s", ())))
        victims = rng.sample(self.ring.living()[1:], count)
        self.ring.watch.take()
        start = clock_us()
        for victim in victims:
            await self.ring.kill(victim)
        silent = {int.from_bytes(victim.node.local().id[:8], "big") for victim in victims}
        survivors = len(self.ring.living())
        died = CHANGES.index(MemberChange.DIED)
        before = self.ring.watch.count(died)
        wanted = survivors * count
        await self.until(
            what,
            lambda: self.ring.watch.count(died) - before >= wanted,
            lambda: (self.ring.watch.count(died) - before) / wanted,
        )
        known = [
            (subject, at)
            for is_rumor, change, _, subject, at in self.ring.watch.take()
            if not is_rumor and change == died
        ]
        if wrong := {subject for subject, _ in known} - silent:
            raise TooLate(f"{what}: {len(wrong)} members that run were declared dead")
        self.note(f"{what}_all_know_s", (max(at for _, at in known) - start) / 1e6)
        self.note(f"{what}_first_knows_s", (min(at for _, at in known) - start) / 1e6)
        await self.rest("settle", SETTLE_S)

    async def soak(self, seconds: float) -> bool:
        """A long peace; True if nobody was declared dead."""
        watch = self.ring.watch
        before = [watch.count(number) for number in range(len(CHANGES))]
        memory, start, cpu = rss_kb(), time.perf_counter(), cpu_s()
        await self.rest("soak", seconds)
        wall = time.perf_counter() - start
        changes = {
            change.value: watch.count(number) - before[number]
            for number, change in enumerate(CHANGES)
            if watch.count(number) != before[number]
        }
        died = changes.get(MemberChange.DIED.value, 0)
        self.results["soak"] = {
            "seconds": round(wall, 1),
            "false_positives": died,
            "changes": changes,
            "self_events": watch.self_events,
            "cores": round((cpu_s() - cpu) / wall, 3),
            "rss_kb_before": memory,
            "rss_kb_after": rss_kb(),
            "socket_faults": self.ring.faults(),
            "smallest_view": smallest_view(self.ring.nodes()),
        }
        return died == 0

    async def run(self, before_kb: float) -> bool:
        """All that was asked for, in an order that lets one follow the other."""
        wanted, options = self.options.measure, self.options
        await self.ring.start(options.members)
        self.ring.join()
        await self.all_shown()
        await self.rest("settle", SETTLE_S)
        if "steady" in wanted:
            await self.steady()
        self.memory(before_kb, "rss_kb_per_member")
        trim()
        self.memory(before_kb, "rss_trimmed_kb_per_member")
        for _ in range(options.repeats if "rumor" in wanted else 0):
            await self.rumor()
        is_good = await self.soak(options.soak) if options.soak else True
        for _ in range(options.repeats if "crash" in wanted else 0):
            await self.crash("crash", 1)
        if "crash10" in wanted:
            await self.crash("crash10", max(1, len(self.ring.living()) // 10))
        if faults := self.ring.faults():
            self.results["socket_faults"] = faults
        if "join" in wanted:
            await self.close()
            self.ring = Ring(
                Hub(asyncio.get_running_loop()), seed=options.seed, shares_client=False
            )
            await self.join()
        return is_good

    async def close(self) -> None:
        """End the ring."""
        await self.ring.close()
        self.ring.hub.close()


def cpu_s() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_kb() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * (resource.getpagesize() // 1024)


def trim() -> None:
    """Give freed memory back, where the C library can."""
    gc.collect()
    with_trim = ctypes.CDLL(None)
    if hasattr(with_trim, "malloc_trim"):
        with_trim.malloc_trim(0)


def raise_descriptor_limit(members: int) -> None:
    """Two sockets per member and room for streams, or one line that says what to do."""
    needed = 3 * members + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(
            f"error: {members} members need {needed} file descriptors, the hard limit is {hard};"
            f" run: ulimit -Hn {needed} (as root), or give fewer --members"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def machine() -> dict[str, Any]:
    """Where this ran; load average, because a busy machine shows in every figure."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


async def warm_up(loop: asyncio.AbstractEventLoop) -> None:
    """Let a ring of three come and go: code and caches are there before memory counts."""
    ring = Ring(Hub(loop))
    await ring.start(3)
    ring.join()
    end = time.monotonic() + 5
    while smallest_view(ring.nodes()) < 3 and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    await ring.close()
    ring.hub.close()
    gc.collect()


async def main_async(options: argparse.Namespace, console: Console) -> tuple[dict[str, Any], bool]:
    loop = asyncio.get_running_loop()
    where = machine()
    await warm_up(loop)
    before_kb = rss_kb()
    with Progress(
        *Progress.get_default_columns()[:3],
        TimeElapsedColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        console=console,
        transient=True,
        auto_refresh=False,
    ) as progress:
        bench = Bench(Ring(Hub(loop), seed=options.seed), options, progress)
        refresh = loop.create_task(_refresh(progress))
        try:
            is_good = await bench.run(before_kb)
        except TooLate as late:
            bench.results["error"] = str(late)
            bench.results["smallest_view"] = smallest_view(bench.ring.nodes())
            is_good = False
        finally:
            refresh.cancel()
            await bench.close()
    return {
        "members": options.members,
        **bench.results,
        "samples": bench.samples,
        "machine": where,
    }, is_good


async def _refresh(progress: Progress) -> None:
    """Twice a second, so that drawing does not count as the members' CPU time."""
    while progress.console.is_terminal:
        progress.refresh()
        await asyncio.sleep(0.5)


def show(result: dict[str, Any], console: Console) -> None:
    """The figures as a table."""
    table = Table(title=f"real ring of {result['members']} members")
    table.add_column("measure")
    table.add_column("median", justify="right")
    table.add_column("samples", justify="right")
    for name, values in result["samples"].items():
        spread = f"{min(values):.4g} – {max(values):.4g} of {len(values)}" if values[1:] else ""
        table.add_row(name, f"{result[name]:.4g}", spread)
    for name, value in result.get("soak", {}).items():
        table.add_row(f"soak {name}", str(value), "")
    console.print(table)
    if faults := result.get("socket_faults"):
        console.print(f"sockets: {faults}")
    if error := result.get("error"):
        console.print(f"[bold red]error:[/] {error}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Rings of real members in one process.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--members", type=int, default=100, help="2 to 2,000")
    parser.add_argument(
        "--measure", default=",".join(MEASURES), help="of join, steady, rumor, crash, crash10"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of rumor and crash, 1 to 20")
    parser.add_argument("--steady-s", type=float, default=10.0, help="seconds of peace measured")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of a long peace")
    parser.add_argument("--seed", type=int, default=1, help="of ids and of the members' chance")
    parser.add_argument("--json", metavar="FILE", help="also write JSON there, - is the output")
    options = parser.parse_args(arguments)
    options.measure = [one for one in options.measure.split(",") if one]
    if unknown := set(options.measure) - set(MEASURES):
        parser.error(f"no measure is called {', '.join(sorted(unknown))}; there are {MEASURES}")
    if not 2 <= options.members <= 2000 or not 1 <= options.repeats <= 20:
        parser.error("members are 2..2000, repeats 1..20")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    raise_descriptor_limit(options.members)
    console = Console(stderr=options.json == "-")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result, is_good = runner.run(main_async(options, console))
    show(result, console)
    if options.json == "-":
        print(json.dumps(result))
    elif options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
