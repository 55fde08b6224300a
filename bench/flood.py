"""Question: does a ring stay whole while its UDP ports are flooded?

Starts a ring of three members, in one process or in three, learns what real packets look like by
posing as a seed, and then sends random and mutated datagrams to every port at full speed. Reports
whether any member was ever suspected or declared dead, resident memory before and after, and
packets sent and seen.

    python bench/flood.py --seconds 60 --processes 3

Exit 0 if nobody was declared dead and all members still see all others.
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvloop

from sup.ring import Ring, RingOptions
from sup_core.events import MemberChange, MemberEvent, MemberState

MEMBERS = 3
POOL = 4096
SAMPLES = 64
KEEP_HEADER = 0.5
WORST = (MemberChange.SUSPECTED, MemberChange.DIED)


def rss_kib() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


class Watched:
    """A ring member and what its events said."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.events: dict[str, list[str]] = {change.value: [] for change in WORST}
        self.task = asyncio.get_running_loop().create_task(self.watch())

    async def watch(self) -> None:
        while events := await self.ring.next_events():
            for event in events:
                if isinstance(event, MemberEvent) and event.change in WORST:
                    self.events[event.change.value].append(f"{event.member.name}: {event.why}")

    def report(self) -> dict[str, Any]:
        counters = self.ring.status()["counters"]
        return {
            "name": self.ring.name,
            "port": self.ring.advertised[1],
            "alive": sum(m.state is MemberState.ALIVE for m in self.ring.members()),
            "suspected": self.events["suspected"],
            "died": self.events["died"],
            "datagrams": counters["datagrams"],
            "node": counters["node"],
        }


async def member_process(directory: Path, names: list[str], peers: tuple[str, ...]) -> None:
    """Run members until the standard input ends; answer each line with a report."""
    watched: list[Watched] = []
    for name in names:
        first = watched[0].ring.advertised if watched else None
        seeds = (*peers, f"127.0.0.1:{first[1]}") if first else peers
        options = RingOptions(
            state_dir=directory / name, name=name, listen="127.0.0.1:0", peers=seeds
        )
        watched.append(Watched(await Ring.open(options)))
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        report = {"rss_kib": rss_kib(), "members": [one.report() for one in watched]}
        print(json.dumps(report), flush=True)
    for one in watched:
        await one.ring.close()


class Child:
    """One member process and its pipe."""

    def __init__(self, directory: Path, names: list[str], peers: list[str]) -> None:
        command = [sys.executable, __file__, "--member", str(directory), ",".join(names)]
        self.process = subprocess.Popen(
            [*command, *peers], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def report(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


def learn(bait: socket.socket, seconds: float) -> list[bytes]:
    """Real packets of this ring, sent to us because we are one of its seeds."""
    bait.settimeout(0.2)
    found: list[bytes] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(found) < SAMPLES:
        try:
            found.append(bait.recv(2048))
        except TimeoutError:
            continue
    return found


def make_pool(samples: list[bytes], rng: random.Random) -> list[bytes]:
    """Half random bytes, half real packets with bits flipped, bytes cut or bytes added."""
    pool = []
    for number in range(POOL):
        if number % 2 or not samples:
            pool.append(rng.randbytes(rng.randrange(1, 1400)))
            continue
        packet = bytearray(rng.choice(samples))
        first = 13 if rng.random() < KEEP_HEADER else 0  # behind the ring's hash, or anywhere
        for _ in range(rng.randrange(1, 8)):
            packet[rng.randrange(min(first, len(packet) - 1), len(packet))] = rng.randrange(256)
        if rng.random() < 0.3:
            del packet[rng.randrange(len(packet)) :]
        if rng.random() < 0.3:
            packet += rng.randbytes(rng.randrange(200))
        pool.append(bytes(packet[:1400]))
    return pool


def flood(ports: list[int], samples: list[bytes], seconds: float) -> int:
    """Send at full speed from several sources; the number of packets."""
    rng = random.Random(1)
    sources = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pool = make_pool(samples, rng)
        for _ in range(8):
            source = rng.choice(sources)
            for packet in pool:
                try:
                    source.sendto(packet, ("127.0.0.1", ports[sent % len(ports)]))
                except (BlockingIOError, ConnectionRefusedError):
                    continue
                sent += 1
            if time.monotonic() >= end:
                break
    for source in sources:
        source.close()
    return sent


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, choices=(1, MEMBERS), default=MEMBERS)
    parser.add_argument("--json", action="store_true", help="print the whole reports")
    parser.add_argument("--member", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        directory, names, *seeds = arguments.member
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(member_process(Path(directory), names.split(","), tuple(seeds)))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        return attack(Path(directory), arguments.processes, arguments.seconds, arguments.json)


def attack(directory: Path, processes: int, seconds: float, verbose: bool) -> int:
    """The measurement: a ring, its state before, the flood, its state after."""
    bait = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bait.bind(("127.0.0.1", 0))
    seeds = [f"127.0.0.1:{bait.getsockname()[1]}"]
    names = [f"m{number}" for number in range(MEMBERS)]
    shares = [names] if processes == 1 else [[name] for name in names]
    children: list[Child] = []
    try:
        for share in shares:
            children.append(Child(directory, share, seeds))
            if len(children) == 1:
                seeds.append(f"127.0.0.1:{children[0].report()['members'][0]['port']}")
        samples = learn(bait, 8.0)
        threading.Thread(target=drain, args=(bait,), daemon=True).start()
        before = wait_whole(children)
        sent = flood(ports_of(before), samples, seconds)
        time.sleep(5)  # what the flood caused shows within the suspicion time
        after = [child.report() for child in children]
    finally:
        for child in children:
            child.end()
    if verbose:
        print(json.dumps(after, indent=1))
    return summarize(before, after, sent, seconds, len(samples))


def drain(bait: socket.socket) -> None:
    """The bait stays open, so that members see a silent seed and no refusals."""
    while True:
        try:
            bait.recv(2048)
        except TimeoutError:
            continue
        except OSError:
            return


def wait_whole(children: list[Child]) -> list[dict[str, Any]]:
    """Reports of the moment when every member sees every other."""
    deadline = time.monotonic() + 30
    while True:
        reports = [child.report() for child in children]
        members = [member for report in reports for member in report["members"]]
        if len(members) == MEMBERS and all(member["alive"] == MEMBERS for member in members):
            return reports
        if time.monotonic() > deadline:
            raise SystemExit(f"the ring did not form: {json.dumps(reports)}")
        time.sleep(0.1)


def ports_of(reports: list[dict[str, Any]]) -> list[int]:
    """Every member's port."""
    return [member["port"] for report in reports for member in report["members"]]


def summarize(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    sent: int,
    seconds: float,
    samples: int,
) -> int:
    """Print the answer; 0 if the ring stayed whole."""
    members = [member for report in after for member in report["members"]]
    received = sum(member["datagrams"]["received"] for member in members)
    dropped = sum(member["datagrams"]["kernel_drops"] for member in members)
    died = [line for member in members for line in member["died"]]
    suspected = [line for member in members for line in member["suspected"]]
    whole = all(member["alive"] == MEMBERS for member in members)
    print(
        f"sent {sent} datagrams in {seconds:.0f} s ({sent / seconds:.0f}/s), {samples} real samples"
    )
    print(
        f"seen by the members {received}, refused by the kernel (filter or full) {dropped},"
        f" damaged {sum(member['datagrams']['damaged'] for member in members)}"
    )
    print(f"suspected {len(suspected)}, declared dead {len(died)}, whole afterwards: {whole}")
    for line in [*died, *suspected][:20]:
        print(f"  {line}")
    for old, new in zip(before, after, strict=True):
        names = ",".join(member["name"] for member in new["members"])
        print(f"rss {names}: {old['rss_kib']} -> {new['rss_kib']} KiB")
    return 0 if whole and not died else 1


if __name__ == "__main__":
    sys.exit(main())
